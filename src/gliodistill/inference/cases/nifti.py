"""A study of NIfTI files: prepared, or as scanned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError
from gliodistill.images.stored import StoredImage
from gliodistill.inference.cases.base import SCANNED_NIFTI, Ready
from gliodistill.inference.cases.scanned import align_scans
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import brain_of, read_images

AUTO, AS_PREPARED, AS_SCANNED = FORMS = "auto", "prepared", "scanned"
"""What the images are taken for: what they look like, or what the user says."""


def check_form(form: str) -> str:
    """Raise GliodistillError for an unknown form."""
    if form not in FORMS:
        raise GliodistillError(
            "unknown form of images", field="--input", got=form, expected=", ".join(FORMS)
        )
    return form


@dataclass(frozen=True)
class NiftiCase:
    """A study of NIfTI files.

    Attributes:
        record: its files.
        form: :data:`AUTO`, :data:`AS_PREPARED` or :data:`AS_SCANNED`.
    """

    record: StudyRecord
    form: str = AUTO

    @property
    def id(self) -> str:
        """Of the study."""
        return self.record.id

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Images and reference."""
        files = (*self.record.images.values(), self.record.truth)
        return tuple(file.path for file in files if file is not None)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The form."""
        return {"input": self.form}

    def ready(self) -> Ready:
        """A prepared study as it is, to the same bits; else aligned, and the brain extracted."""
        began = time.perf_counter()
        stored = read_images(self.record)
        if self.form == AS_PREPARED or (self.form == AUTO and self._prepared(stored)):
            return Ready(brain_of(self.record, stored))
        images = {sequence: image.scaled() for sequence, image in stored.items()}
        return align_scans(
            self.record.id,
            self.record.patient,
            images,
            SCANNED_NIFTI,
            sources=self.record.sources,
            seconds={"read": time.perf_counter() - began},
        )

    def _prepared(self, stored: Mapping[MRSequence, StoredImage]) -> bool:
        """Whether all images lie on one grid and none shows a head."""
        from gliodistill.brain import is_stripped

        if self.record.normalised:  # z-scores over a brain, perhaps of a crop
            return True
        first, *others = (image.voxels for image in stored.values())
        if not all(other.same_grid(first) for other in others):
            return False
        return all(is_stripped(image) for image in (first, *others))
