"""Images as scanned → a study for the model, and the way back to the grid of each series."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gliodistill.alignment import align_study
from gliodistill.alignment.carrying import carry_image
from gliodistill.errors import StudyError
from gliodistill.images.volume import Volume
from gliodistill.inference.cases.base import Preprocessing, Ready
from gliodistill.progress import stage
from gliodistill.studies.image_checks import Note
from gliodistill.studies.records import Sources
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

if TYPE_CHECKING:
    from gliodistill.alignment import AlignedStudy
    from gliodistill.dicom.series import Series
    from gliodistill.inference.segmentation import Segmentation

LEAST_BRAIN_ML = 200.0
"""Half the brain of a newborn."""

THICK_MM = 2.5
"""Slices farther apart are flagged as thick, as those of prepared studies of a model of 1 mm."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """A study as scanned, made ready.

    Attributes:
        aligned: its images on one grid, and the way back.
        preprocessing: what was done.
        series: sequence → the DICOM series that was chosen; empty of NIfTI.
    """

    aligned: "AlignedStudy"
    preprocessing: Preprocessing
    series: Mapping[MRSequence, "Series"]

    def with_settings(self, settings: Mapping[str, Any]) -> "Scanned":
        """The same, with what the user chose on record."""
        return replace(self, preprocessing=replace(self.preprocessing, settings=settings))

    def back(self, answer: "Segmentation") -> "Segmentation":
        """A segmentation on the common grid, on the grid of the reference and of every series.

        Volumes are those of the label map on the reference's grid.

        Args:
            answer: on the common grid.
        """
        began = time.perf_counter()
        stage("return")
        reference = self.aligned.reference
        on_series = {
            sequence: self.aligned.label_map_on(answer.labels, sequence)
            for sequence in self.aligned.images
        }
        labels = on_series[reference]
        regions = answer.task.regions_of(labels.data, answer.convention)
        volumes = {
            region: float(np.count_nonzero(mask)) * labels.voxel_ml
            for region, mask in zip(answer.task.names, regions, strict=True)
        }
        probabilities = None
        if answer.probabilities is not None:
            matrix = np.linalg.inv(self.aligned.matrices[reference]).astype(np.float64)
            maps = [answer.labels.with_data(region) for region in answer.probabilities]
            carried = [carry_image(one, labels, matrix) for one in maps]
            probabilities = np.stack([np.rint(one).astype(np.uint8) for one in carried])
        return replace(
            answer,
            labels=labels,
            volumes_ml=volumes,
            on_series=on_series,
            seconds={**answer.seconds, "return": time.perf_counter() - began},
            preprocessing=self.preprocessing,
            probabilities=probabilities,
        )


def align_scans(
    id: str,
    patient: str,
    images: Mapping[MRSequence, Volume],
    form: str,
    *,
    sources: Sources,
    notes: Sequence[Note] = (),
    choice: Mapping[str, Any] | None = None,
    series: Mapping[MRSequence, "Series"] | None = None,
    identity: str | None = None,
    seconds: Mapping[str, float] | None = None,
    threads: int | None = None,
) -> Ready:
    """Align images as scanned, and extract the brain.

    Args:
        id: of the study.
        patient: whose it is.
        images: each on its own grid, with skull or without.
        form: in which they came, e.g. :data:`~gliodistill.inference.cases.base.DICOM`.
        sources: their files or series, by name.
        notes: doubts about them.
        choice: why these series were chosen (JSON).
        series: the DICOM series of each.
        identity: of the patient, to be told.
        seconds: that the stages before took.
        threads: processor threads; None = all cores.

    Raises:
        GliodistillError: they cannot be aligned, or no brain is found.
    """
    scans = {str(sequence): image for sequence, image in images.items()}
    aligned = align_study(scans, threads=threads)
    doubts = [*notes, *(Note("alignment_doubtful", text) for text in aligned.flags)]
    doubts += _thick(images)
    study = Study(
        id,
        patient,
        aligned.images,
        sources=_kept(sources, aligned.images),
        notes=tuple(doubts),
    )
    brain = _volume(aligned.brain)
    if brain < LEAST_BRAIN_ML:
        raise StudyError(
            "no brain found",
            file=id,
            got=f"{brain:.0f} ml",
            expected=f"a head or a brain, at least {LEAST_BRAIN_ML:.0f} ml",
            hint="if the images are a part of a prepared study, say so with --input prepared",
        )
    done = (
        "none: images are already co-registered and skull-stripped"
        if aligned.untouched
        else f"aligned to {aligned.reference}, brain of {brain:.0f} ml extracted"
    )
    extracted = None if aligned.untouched else brain
    steps = {str(sequence): step for sequence, step in aligned.steps.items()}
    account = Preprocessing(
        form, done, str(aligned.reference), steps, extracted, choice or {}, identity
    )
    taken = {**(seconds or {}), **aligned.seconds}
    kept = {s: one for s, one in (series or {}).items() if s in study.images}
    return Ready(study, Scanned(aligned, account, kept), taken)


def _kept(sources: Sources, aligned: Mapping[MRSequence, Volume]) -> Sources:
    """The sources without those of images that could not be aligned."""
    used = {s: file for s, file in sources.used.items() if s in aligned}
    lost = {
        file or str(s): "could not be aligned"
        for s, file in sources.used.items()
        if s not in aligned
    }
    return Sources(used, {**sources.unused, **lost})


def _volume(mask: Volume) -> float:
    return round(float(np.count_nonzero(mask.data)) * mask.voxel_ml, 1)


def _thick(images: Mapping[MRSequence, Volume]) -> list[Note]:
    thick = {s: max(image.spacing) for s, image in images.items()}
    said = ", ".join(f"{s} {step:.3g} mm" for s, step in thick.items() if step > THICK_MM)
    if not said:
        return []
    text = f"thick slices: {said}; the model was trained on 1 mm, expected at most {THICK_MM:g} mm"
    return [Note("thick_slices", text)]
