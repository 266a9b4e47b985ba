"""A folder of NIfTI files whose names contain sequences; the fallback layout.

``visit1_FLAIR.nii.gz``, ``T1W.nii``, ``brain-t1-gd-2.nii.gz``; one study in the folder, several
distinguished by the rest of their names, or one per sub-folder.
"""

from pathlib import Path

from gliodistill.studies.layouts.base import Found, folders, gather, nifti_files
from gliodistill.studies.layouts.named import drafts_of, holds_sequence

NAME = "loose"


def matches(root: Path) -> bool:
    """Whether some NIfTI file in ``root`` or its sub-folders names a sequence."""
    return any(holds_sequence(folder) for folder in (root, *folders(root)))


def find(root: Path) -> Found:
    """The studies of ``root``, or of its sub-folders."""
    places = (root,) if nifti_files(root) else folders(root)
    drafts = [draft for place in places for draft in drafts_of(place, place.name)]
    return gather(NAME, [draft for draft in drafts if draft.read])
