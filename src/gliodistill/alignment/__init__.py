"""Rigid registration: the sequences of a study, as scanned, brought onto one grid.

:func:`~gliodistill.alignment.registration.register` aligns two scans,
:func:`~gliodistill.alignment.study.align_study` the scans of a study. A 4×4 ``matrix`` maps points
of the fixed image to points of the moving image, both in mm, RAS+. Optimisation is SimpleITK's:
``pip install 'gliodistill[clinical]'`` brings it, and it is imported when an image is registered.
"""

from gliodistill.alignment.aligned import AlignedStudy
from gliodistill.alignment.registration import Registration, register
from gliodistill.alignment.study import align_study
from gliodistill.alignment.transforms import read_transform, write_transform

__all__ = [
    "AlignedStudy",
    "Registration",
    "align_study",
    "read_transform",
    "register",
    "write_transform",
]
