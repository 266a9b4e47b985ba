"""A study of NIfTI files: prepared, or as scanned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.brain import is_stripped, load_network
from gliodistill.errors import GliodistillError, ImageError, StudyError
from gliodistill.images.background import HEAD_ML, LEAST_HEAD_ML
from gliodistill.inference.cases.base import SCANNED_NIFTI, Ready
from gliodistill.inference.cases.scanned import align_scans
from gliodistill.progress import stage
from gliodistill.studies.image_checks import BackgroundError, usable
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import GridError, Study, brain_of, read_images

AUTO, AS_PREPARED, AS_SCANNED = FORMS = "auto", "prepared", "scanned"
"""What the images are taken for: what they look like, or what the user says."""

ALIKE = 0.01
"""Share of the foreground within which two masks are the same."""


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

    def ready(self, threads: int | None = None) -> Ready:
        """A prepared study as it is, to the same bits; else aligned, and the brain extracted.

        Args:
            threads: processor threads; None = all cores.

        Raises:
            BackgroundError, StudyError: it is neither a prepared study nor can it be aligned.
        """
        began = time.perf_counter()
        stage("read")
        if self.form == AUTO:
            load_network(threads)
        stored = dict(read_images(self.record))
        prepared = False
        why: GliodistillError | None = None
        if self.form != AS_SCANNED:
            try:
                study = usable(brain_of(self.record, stored))
            except (BackgroundError, GridError) as error:
                if self.form == AS_PREPARED:
                    raise
                why = error.with_traceback(None)  # which holds the images
            else:
                if self.form == AS_PREPARED or study.normalised or not _shows_head(study, threads):
                    return Ready(study)
                prepared = True
                del study  # all of its images in memory once more
        images = {sequence: stored.pop(sequence).scaled() for sequence in tuple(stored)}
        try:
            ready = align_scans(
                self.record.id,
                self.record.patient,
                images,
                SCANNED_NIFTI,
                sources=self.record.sources,
                seconds={"read": time.perf_counter() - began},
                threads=threads,
            )
        except (ImageError, StudyError) as error:
            if why is None:
                raise
            raise why from error
        # A brain may look like a head by its volume alone. What needs nothing is prepared.
        if prepared and ready.scan is not None and ready.scan.aligned.untouched:
            return Ready(usable(brain_of(self.record, read_images(self.record))))
        return ready


def _shows_head(study: Study, threads: int | None) -> bool:
    """Whether there is more than a brain in some image of a usable study."""
    masks = {sequence: image.data != 0 for sequence, image in study.images.items()}
    volume = np.count_nonzero(reduce(np.logical_or, masks.values())) * study.grid.voxel_ml
    if not LEAST_HEAD_ML <= volume <= HEAD_ML:
        return bool(volume > HEAD_ML)
    return not all(
        is_stripped(study.images[sequence], foreground=masks[sequence], threads=threads)
        for sequence in _different(masks)
    )


def _different(masks: Mapping[MRSequence, NDArray[np.bool_]]) -> list[MRSequence]:
    """Sequences of which no two have the same foreground, but for :data:`ALIKE` of its voxels: what
    is 0 within a brain differs between sequences, a brain mask does not.
    """
    chosen: list[MRSequence] = []
    for sequence, mask in masks.items():
        most = ALIKE * np.count_nonzero(mask)
        if all(np.count_nonzero(mask != masks[other]) > most for other in chosen):
            chosen.append(sequence)
    return chosen
