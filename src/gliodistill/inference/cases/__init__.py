"""Cases: what a user gives to be segmented, in any form, made ready for the model.

A case comes as a prepared study (co-registered, skull-stripped), as NIfTI as scanned, or as DICOM.
:meth:`~gliodistill.inference.cases.base.Case.ready` gives the study that the model takes and, of
scans, the way back to the grid of every series. Nothing after that asks what form it came in.
"""
