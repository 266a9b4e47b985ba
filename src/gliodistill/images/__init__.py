"""Images on axes X, Y, Z with their geometry; strict NIfTI reading and anonymous writing."""

from gliodistill.images.nifti import read_labels, read_nifti, write_nifti
from gliodistill.images.volume import Volume

__all__ = ["Volume", "read_labels", "read_nifti", "write_nifti"]
