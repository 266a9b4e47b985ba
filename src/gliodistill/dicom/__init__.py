"""DICOM: what a scanner or a PACS export holds, read as volumes and told apart by sequence.

Results are written in its form, too: segmentation, report and contours.

The one package that imports pydicom and highdicom, and only when a file is opened, so that the rest
of gliodistill starts without them. ``pip install 'gliodistill[clinical]'`` brings them.
"""
