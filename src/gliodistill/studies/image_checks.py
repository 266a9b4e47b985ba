"""Checks and corrections of a study's images before use.

Networks need brains on a background of 0. Certain problems are corrected with a note: another
constant around the brain is set to 0, and an empty image counts as a missing sequence. Uncertain
ones are refused: noise around the brain, or an edge that fades out.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import StudyError
from gliodistill.images.background import HEAD_ML, Background, find_background
from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence

if TYPE_CHECKING:
    from gliodistill.studies.study import Study

BRAIN_ML = (800.0, HEAD_ML)
"""Range of the volume of a skull-stripped brain with its fluid. Brains of adults have 1000 to 1800
ml, of one-year-old children about 900, of newborns 400 (Dekaban and Sadowsky, Ann Neurol 1978).
"""

HINT = (
    "strip the skull and set voxels outside the brain mask to 0 (e.g. with HD-BET or SynthStrip),"
    " after all resampling and smoothing"
)

IGNORED = "sequence_ignored"
"""Code of the note on an empty image."""

FORMS = "forms_disagree"
"""Code of the note on a header whose qform and sform disagree."""

CENTRED = 0.5
"""An image is in z-scores if the brain's mean is nearer to 0 than this share of its standard
deviation.
"""


class BackgroundError(StudyError):
    """An image whose background cannot be separated from the brain."""


@dataclass(frozen=True)
class Note:
    """A note on a study.

    Attributes:
        code: for scripts, e.g. ``sequence_ignored``.
        text: the note.
    """

    code: str
    text: str


@dataclass(frozen=True, eq=False)
class _Cleaned:
    """An image with a background of 0, or None if empty; and what was corrected, if anything."""

    data: NDArray[np.float32] | None
    done: str | None = None


def usable(study: "Study") -> "Study":
    """The study with a background of 0 around each brain and without empty images; its notes say
    what was corrected. A checked study is returned unchanged.

    Raises:
        BackgroundError: the background of an image cannot be separated from the brain.
        StudyError: all images are empty.
    """
    if study.checked:
        return study
    with ThreadPoolExecutor(max_workers=4) as pool:  # NumPy releases the GIL
        found = dict(
            zip(
                study.images,
                pool.map(
                    lambda image: find_background(image.data, image.voxel_ml),
                    study.images.values(),
                ),
                strict=True,
            )
        )
        if study.normalised:  # it may be a crop of a brain, without background
            found = {s: Background((0.0,), 0) if b.doubt else b for s, b in found.items()}
        if doubts := {s: background.doubt for s, background in found.items() if background.doubt}:
            raise BackgroundError(
                "the brain cannot be separated from its background",
                file=study.id,
                field=", ".join(doubts),
                got="; ".join(dict.fromkeys(doubts.values())),
                expected="a skull-stripped brain and one constant value around it",
                hint=HINT,
            )
        cleaned = dict(
            zip(
                found,
                pool.map(
                    lambda s: _clean(study.images[s].data, found[s], study.normalised),
                    study.images,
                ),
                strict=True,
            )
        )
    images = {
        sequence: image if made.data is image.data else image.with_data(made.data)
        for sequence, image in study.images.items()
        if (made := cleaned[sequence]).data is not None
    }
    if not images:
        raise StudyError(
            "images are empty",
            file=study.id,
            got="; ".join(f"{sequence}: {made.done}" for sequence, made in cleaned.items()),
            expected="a brain on a background of 0",
        )
    files, unused = dict(study.sources.used), dict(study.sources.unused)
    for sequence, made in cleaned.items():
        if made.data is None and (file := files.pop(sequence, None)) is not None:
            unused[file] = str(made.done)
    return replace(
        study,
        images=images,
        sources=replace(study.sources, used=files, unused=unused),
        notes=(*study.notes, *forms_notes(study.images), *_notes(cleaned)),
        checked=True,
    )


def forms_notes(images: Mapping[MRSequence, Volume]) -> Iterator[Note]:
    """A note for each distance between qform and sform."""
    apart: dict[str, list[str]] = defaultdict(list)
    for sequence, image in images.items():
        if image.forms and (distance := image.forms.apart(image.shape)):
            apart[f"{distance:.3g}"].append(str(sequence))
    for distance_mm, sequences in apart.items():
        yield Note(FORMS, forms_text(", ".join(sequences), distance_mm))


def forms_text(name: str, distance_mm: str) -> str:
    """The note on an image whose qform and sform disagree."""
    return (
        f"qform and sform of {name} place voxels up to {distance_mm} mm apart: viewers may show it"
        " in two places; the sform is used, and results carry both"
    )


def brain_volume(study: "Study") -> float:
    """Volume that is not 0 in some image of a study with a background of 0, in ml."""
    first, *others = (image.data != 0 for image in study.images.values())
    for other in others:
        first |= other
    return float(np.count_nonzero(first)) * study.grid.voxel_ml


def size_note(volume_ml: float, spacing: tuple[float, float, float]) -> Note | None:
    """A note on an implausible brain size.

    Args:
        volume_ml: of non-zero voxels.
        spacing: voxel size in mm.
    """
    low, high = BRAIN_ML
    voxel = " × ".join(f"{side:.3g}" for side in spacing)
    if volume_ml > high:
        text = (
            f"not skull-stripped: {volume_ml:.0f} ml are not zero; expected a brain, at most"
            f" {high:.0f} ml, and zeros around it; or the voxel size of {voxel} mm is wrong"
        )
        return Note("not_skull_stripped", text)
    if volume_ml < low:
        text = (
            f"small brain: {volume_ml:.0f} ml are not zero; expected {low:.0f} to {high:.0f} ml (a"
            f" newborn has about 400); the voxel size of {voxel} mm may be wrong, or the brain is"
            " cropped"
        )
        return Note("small_brain", text)
    return None


def _notes(cleaned: Mapping[MRSequence, _Cleaned]) -> Iterator[Note]:
    for sequence, made in cleaned.items():
        if made.data is None:
            yield Note(IGNORED, f"{sequence} counts as missing: {made.done}")
        elif made.done:
            yield Note("background_corrected", f"background of {sequence} is not 0: {made.done}")


def _clean(voxels: NDArray[np.float32], background: Background, normalised: bool) -> _Cleaned:
    """One image with a background of 0; a ``normalised`` one keeps its values elsewhere."""
    if not background.filled:
        said = " or ".join(f"{value:g}" for value in background.values)
        return _Cleaned(None, f"every voxel is {said}")
    if background.ordinary:
        # Some voxels suffice to see that they differ.
        sample = voxels[tuple(slice(None, None, max(1, side // 32)) for side in voxels.shape)]
        some = sample[sample != 0]
        if some.size and np.ptp(some) > 0:
            return _Cleaned(voxels)
    outside = background.of(voxels)
    brain = voxels[~outside]
    low, high = float(brain.min()), float(brain.max())
    if low == high:
        return _Cleaned(None, f"every voxel is {low:g} or background, as in a mask")
    if background.ordinary:
        return _Cleaned(voxels)
    value = background.values[-1]
    # If the brain is above its background, both were shifted, and are shifted back. With a round
    # number below 0 beside scanner units, or z-scores of the brain, only the background was set.
    mean, deviation = brain.mean(dtype=np.float64), brain.std(dtype=np.float64)
    round_below = value < 0 <= low and value == int(value)
    padded = normalised or value > low or round_below or abs(mean) < CENTRED * deviation
    shift = np.float32(0 if padded else value)
    said = " and ".join(f"{value:.4g}" for value in background.values)
    if background.tolerance:
        said += f" within {background.tolerance:.2g}"
    done = f"{said}, set to 0" if padded else f"{said}, and {value:.4g} was subtracted"
    moved: NDArray[np.float32] = voxels - shift
    moved[outside] = 0
    return _Cleaned(moved, done)
