"""Images on axes X, Y, Z with their geometry: reading that trusts nothing, writing that leaks
nothing.
"""

from gliodistill.images.nifti import read_labels, read_nifti, write_nifti
from gliodistill.images.volume import Volume

__all__ = ["Volume", "read_labels", "read_nifti", "write_nifti"]
