"""An aligned study as files: BraTS layout, brain mask, transforms, a record of every decision."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gliodistill.alignment.transforms import write_transform
from gliodistill.files import atomic_folder, write_text
from gliodistill.images import write_nifti

if TYPE_CHECKING:
    from gliodistill.alignment.aligned import AlignedStudy
    from gliodistill.images.volume import Volume

RECORD = "study.json"
BRAIN = "brainmask"


def write_study(
    study: "AlignedStudy",
    folder: str | os.PathLike[str],
    labels: "Volume | None" = None,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write ``folder``, whole or not at all; its name is the id of the study.

    Args:
        study: aligned.
        folder: new or empty.
        labels: label map on the common grid, as ``<id>_seg.nii.gz``.
        facts: more for ``study.json``.

    Raises:
        OutputError: the folder is there and not empty, or cannot be written.
    """
    target = Path(folder)
    with atomic_folder(target) as temporary:
        stem = str(temporary / target.name)
        for sequence, image in study.images.items():
            write_nifti(image, Path(f"{stem}_{sequence.lower()}.nii.gz"))
            write_transform(study.matrices[sequence], temporary / f"{sequence.lower()}.tfm")
        write_nifti(study.brain, Path(f"{stem}_{BRAIN}.nii.gz"))
        if labels is not None:
            write_nifti(labels, Path(f"{stem}_seg.nii.gz"))
        told = (facts or {}) | study.as_dict()
        write_text(temporary / RECORD, json.dumps(told, indent=1) + "\n")
