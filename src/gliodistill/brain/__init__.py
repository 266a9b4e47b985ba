"""Brain extraction: where the brain is in a scan with skull, of any MR contrast and orientation.

A small network of our own, trained on synthetic heads and on the consensus of two published
teachers. Tumours and cavities belong to the brain, also at its surface.
"""

from gliodistill.brain.extraction import BrainMask, extract_brain, is_stripped, load_network

__all__ = ["BrainMask", "extract_brain", "is_stripped", "load_network"]
