"""One folder ``scans`` of all studies: ``<id>__<sequence>.nii.gz``, labels ``<id>__mask.nii.gz``."""

from pathlib import Path

import gliodistill as gd
from gliodistill.studies import ImageFile

NAME = "plug_layout"


def matches(root: Path) -> bool:
    """Whether there is such a folder."""
    return any((root / "scans").glob("*__*.nii.gz"))


def find(root: Path) -> gd.layouts.Found:
    """One study an id."""
    drafts: dict[str, gd.layouts.Draft] = {}
    for file in sorted((root / "scans").glob("*__*.nii.gz")):
        id, _, word = file.name.removesuffix(".nii.gz").partition("__")
        draft = drafts.setdefault(id, gd.layouts.Draft(id, patient=id))
        if word == "mask":
            draft.add_truth(ImageFile(file))
        else:
            draft.add(gd.MRSequence(word), ImageFile(file), word)
    return gd.layouts.gather(NAME, drafts.values())
