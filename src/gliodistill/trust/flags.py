"""Flags: reasons to distrust a segmentation, found without a reference or another model.

A flag never changes the segmentation, and a flagged study is not a failure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.preparation.prepared import Prepared
from gliodistill.studies.image_checks import size_note
from gliodistill.tasks.task import Task
from gliodistill.trust.appearance import appearance_of, thinned
from gliodistill.trust.appearance_model import AppearanceModel
from gliodistill.trust.expected_quality import QualityModel
from gliodistill.trust.facts import ModelFacts

SAME = 0.98
"""Correlation above which two sequences are the same image, perhaps re-encoded. No pair of training
patients reaches 0.9.
"""

COVERED = 0.95
"""Share of the brain that each sequence should cover."""

COARSE = 2.5
"""Voxels this many times larger than the model's are flagged as thick slices."""


@dataclass(frozen=True)
class Flag:
    """One reason to distrust a segmentation.

    Attributes:
        code: for scripts, e.g. ``no_tumour_found``.
        text: what was found and what was expected.
    """

    code: str
    text: str


def study_flags(prepared: Prepared, spec: ModelFacts) -> list[Flag]:
    """Flags of a prepared study, before segmentation."""
    sequences = [str(s) for s in spec.sequences]
    thin, each = thinned(prepared.image)
    filled: NDArray[np.bool_] = thin > 0
    flags = [Flag(note.code, note.text) for note in prepared.notes]
    volume = np.count_nonzero(filled.any(axis=0)) * each * float(np.prod(prepared.spacing)) / 1000
    if size := size_note(volume, prepared.native.spacing):
        flags.append(Flag(size.code, size.text))
    flags += _coverage(
        filled,
        [name for name, there in zip(sequences, prepared.present, strict=True) if there],
        prepared.present,
    )
    flags += _spacing(prepared.native.spacing, spec.preparation.spacing)
    if spec.reference:
        flags += _sequences(prepared, spec, spec.reference)
    return flags


def answer_flags(
    depth: NDArray[np.uint8],
    prepared: Prepared,
    whole_ml: float,
    dropped: Mapping[str, float],
    predicted: Mapping[str, float],
    quality: QualityModel | None,
    task: Task,
) -> list[Flag]:
    """Flags of a segmentation.

    Args:
        depth: a painting of the task (uint8 X Y Z), the part of the brain's box that is on the
            grid; for gliomas 0 outside, 1 in WT only, 2 in TC, 3 in ET.
        prepared: the study.
        whole_ml: volume of the task's first region, the whole tumour, ml.
        dropped: region → ml before clean-up, of regions that clean-up removed completely.
        predicted: region → predicted Dice.
        quality: the model that predicted it.
        task: of the model.
    """
    if whole_ml < task.least_ml:
        text = (
            f"no tumour found: the segmented {task.regions[0].look.words} is {whole_ml:.2f} ml;"
            f" expected at least {task.least_ml:g} ml in {task.patient}"
        )
        return [Flag("no_tumour_found", text)]
    flags = []
    for region, volume in dropped.items():
        text = (
            f"{volume:.2f} ml of {region} were segmented and then removed by a clean-up rule;"
            " --no-postprocessing keeps them for inspection"
        )
        flags.append(Flag("region_dropped", text))
    if ends := ", ".join(_ends(depth, prepared)):
        flags.append(
            Flag(
                "tumour_at_edge",
                f"the tumour reaches the border of the images ({ends}); expected all of it inside",
            )
        )
    if quality and (
        low := {region: dice for region, dice in predicted.items() if dice < quality.low}
    ):
        said = ", ".join(
            f"{region} {round(dice, 3):.2f}" for region, dice in low.items()
        )  # rounded as in the summary
        flags.append(
            Flag("low_quality", f"predicted Dice is low: {said}; expected {quality.low:g} or more")
        )
    return flags


def _coverage(
    filled: NDArray[np.bool_], names: list[str], present: tuple[bool, ...]
) -> Iterator[Flag]:
    """``filled``: non-zero voxels of each channel (C X Y Z); ``names`` of those that are
    ``present``.
    """
    there = filled[list(present)]
    brain = max(int(np.count_nonzero(there.any(axis=0))), 1)
    for name, part in zip(names, there, strict=True):
        if (share := np.count_nonzero(part) / brain) < COVERED:
            text = (
                f"{name} covers {share:.0%} of the brain that all sequences cover together;"
                " expected"
                f" {COVERED:.0%} or more"
            )
            yield Flag("field_of_view_cut", text)


def _spacing(
    native: tuple[float, float, float], model: tuple[float, float, float] | None
) -> Iterator[Flag]:
    if model and max(native) > COARSE * max(model):
        got, trained = (" × ".join(f"{side:.3g}" for side in sides) for sides in (native, model))
        text = (
            f"thick slices: voxels of {got} mm; the model was trained on {trained} mm, expected at"
            " most"
            f" {COARSE * max(model):g} mm"
        )
        yield Flag("thick_slices", text)


def _sequences(prepared: Prepared, spec: ModelFacts, reference: AppearanceModel) -> Iterator[Flag]:
    appearance = appearance_of(prepared.image, spec.sequences)
    same = {pair: facts[0] for pair, facts in appearance.pairs.items() if facts[0] > SAME}
    for (one, other), correlation in same.items():
        yield Flag(
            "same_image",
            f"{one} and {other} are the same image (correlation {correlation:.3f}); expected two"
            " sequences",
        )
    if not same and (names := reference.exchanged(appearance)):
        said = ", ".join(f"{given} resembles {likely}" for given, likely in names.items())
        yield Flag(
            "sequences_exchanged",
            f"{said}; expected each image under its own name; check the files",
        )
    for name, distance in reference.unusual(appearance).items():
        text = (
            f"{name} resembles none of the sequences of the training data (distance"
            f" {distance:.0f}; expected at most "
        )
        yield Flag("unusual_image", f"{text}{reference.farthest:.0f})")


def _ends(depth: NDArray[np.uint8], prepared: Prepared) -> Iterator[str]:
    """Sides of the grid that the tumour touches."""
    place, _ = prepared.on_grid
    shape = prepared.native.canonical().shape
    for axis, (first, last) in enumerate((("left", "right"), ("back", "front"), ("bottom", "top"))):
        planes = np.moveaxis(depth, axis, 0)
        if place[axis].start == 0 and planes[0].any():
            yield first
        if place[axis].stop == shape[axis] and planes[-1].any():
            yield last
