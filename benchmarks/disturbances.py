"""Disturbances of a study between patient and network, at several strengths; the truth goes
along where the geometry changes.

Noise, bias, thick slices, shifts and a cut field of view are those of the phantoms
(``phantom/artefacts.py``). Each is applied to one study in memory, deterministically by a seed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import StudyError
from gliodistill.images.bounds import filled_box, union
from gliodistill.images.volume import Volume
from gliodistill.phantom.anatomy import rotation
from gliodistill.phantom.artefacts import degrade
from gliodistill.phantom.fields import Grid
from gliodistill.phantom.parameters import ArtefactParameters
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

ALL = tuple(MRSequence)
NONE = (0.0, 0.0, 0.0)
UNTOUCHED = ArtefactParameters(
    bias=(0.0,) * 4,
    blur_mm=(0.0,) * 4,
    slice_mm=(0.0,) * 4,
    slice_axis=(2,) * 4,
    shift_mm=(NONE,) * 4,
    rotation_deg=(NONE,) * 4,
    noise=(0.0,) * 4,
    cut=(0.0,) * 4,
    cut_axis=(2,) * 4,
    seed=0,
)
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(MRSequence, size)]
"""The 14 subsets that lack something."""

Step = Callable[[Study, int], Study]


@dataclass(frozen=True)
class Disturbance:
    """One thing at one strength.

    Attributes:
        group: what, with its unit; the title of its curve.
        strength: how much; or, where it is not a number, which (the sequences that are left).
        apply: study of :func:`brain_part`, seed → the disturbed study, with its reference.
        needs: sequences that a study must have for it.
        leaves: sequences that are left.
    """

    group: str
    strength: float | str
    apply: Step
    needs: tuple[MRSequence, ...] = ()
    leaves: tuple[MRSequence, ...] = ALL

    @property
    def name(self) -> str:
        """Group and strength."""
        return f"{self.group}: {self.strength}"


def brain_part(study: Study) -> Study:
    """The study on RAS+ axes without the empty space around its brain, which no segmentation
    depends on.

    Raises:
        StudyError: voxels that are not cubes: thick slices and fields need cubes.
    """
    spacing = study.grid.spacing
    if max(spacing) > 1.01 * min(spacing):
        raise StudyError(
            "voxels are no cubes",
            file=study.id,
            field="spacing",
            got=spacing,
            expected="one size along all axes, within 1 %",
        )
    canonical = {sequence: image.canonical() for sequence, image in study.images.items()}
    box = union(
        [box for image in canonical.values() if (box := filled_box(image.data)) is not None]
    )
    affine = study.grid.canonical().affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    images = {
        sequence: Volume(np.ascontiguousarray(image.data[box]), affine)
        for sequence, image in canonical.items()
    }
    truth = (
        None
        if study.truth is None
        else Volume(np.ascontiguousarray(study.truth.canonical().data[box]), affine)
    )
    return replace(study, images=images, truth=truth)


def disturbances() -> Iterator[Disturbance]:
    """Every disturbance at every strength, weakest first."""

    def by_scanner(
        group: str, field: str, strengths: Iterable[float], which: tuple[MRSequence, ...] = ALL
    ) -> Iterator[Disturbance]:
        for strength in strengths:
            yield Disturbance(
                group, strength, _scanner(field, strength, which), () if which == ALL else which
            )

    yield from by_scanner("noise, SD of the brain", "noise", (0.1, 0.25, 0.5, 1.0))
    yield from by_scanner("bias field, SD of its logarithm", "bias", (0.1, 0.2, 0.4, 0.6))
    yield from by_scanner("slice thickness of all, mm", "slice_mm", (2, 3, 4, 5, 6))
    yield from by_scanner(
        "slice thickness of T1 and T2, mm",
        "slice_mm",
        (2, 3, 4, 5, 6),
        (MRSequence.T1, MRSequence.T2),
    )
    for axis, name in enumerate("XYZ"):
        for degrees in (5, 10, 20, 30):
            yield Disturbance(f"head turned about {name}, degrees", degrees, _turned(axis, degrees))
    for sequence in MRSequence:
        for mm in (1, 2, 4):
            yield Disturbance(f"{sequence} shifted, mm", mm, _shifted(sequence, mm), (sequence,))
    yield Disturbance("left and right exchanged", "", _mirrored)
    for exponent in (0.5, 0.7, 1.4, 2.0):
        yield Disturbance("intensities to a power, exponent", exponent, _power(exponent))
    yield from by_scanner("top of the brain cut off, share of its height", "cut", (0.1, 0.2, 0.3))
    yield from by_scanner(
        "top of the brain cut off in FLAIR, share of its height",
        "cut",
        (0.1, 0.2, 0.3),
        (MRSequence.FLAIR,),
    )
    for subset in SUBSETS:
        yield Disturbance("sequences left", "+".join(subset), _only(subset), subset, subset)


def _scanner(field: str, strength: float, which: tuple[MRSequence, ...]) -> Step:
    value = -strength if field == "cut" else strength  # the high end of Z is the top of the head

    def apply(study: Study, seed: int) -> Study:
        return _degraded(study, which, replace(UNTOUCHED, seed=seed, **{field: (value,) * 4}))

    return apply


def _shifted(sequence: MRSequence, mm: float) -> Step:
    """In a direction of the seed's; under the brain's mask, as sequences are stripped together."""

    def apply(study: Study, seed: int) -> Study:
        direction = np.random.default_rng(seed).normal(size=3)
        x, y, z = (float(part) for part in direction * (mm / np.linalg.norm(direction)))
        return _degraded(
            study, (sequence,), replace(UNTOUCHED, seed=seed, shift_mm=((x, y, z),) * 4)
        )

    return apply


def _degraded(study: Study, which: tuple[MRSequence, ...], parameters: ArtefactParameters) -> Study:
    """Artefacts in units of each sequence's standard deviation in the brain."""
    spacing = study.grid.spacing[0]
    x, y, z = (np.arange(length) * spacing for length in study.grid.shape)
    grid, images = Grid((x, y, z), spacing), dict(study.images)
    for channel, sequence in enumerate(MRSequence):
        if sequence in which and sequence in images:
            image, brain = images[sequence].data, images[sequence].data != 0
            unit = image[brain].std() or np.float32(1)
            images[sequence] = images[sequence].with_data(
                unit * degrade(parameters, image / unit, brain, grid, channel)
            )
    return replace(study, images=images, truth=_seen(study.truth, images))


def _seen(truth: Volume | None, images: Mapping[MRSequence, Volume]) -> Volume | None:
    """Planes of Z without voxels of any sequence cannot be segmented: the truth there
    does not count.
    """
    if truth is None:
        return None
    empty = ~np.any([image.data.any(axis=(0, 1)) for image in images.values()], axis=0)
    return truth.with_data(np.where(empty, 0, truth.data).astype(truth.data.dtype))


def _power(exponent: float) -> Step:
    """Of intensities relative to the brain's 99th percentile: beyond 1 what is bright gets brighter
    still.
    """

    def curve(image: NDArray[Any]) -> NDArray[np.float32]:
        brain = image != 0
        top = np.percentile(image[brain], 99)
        return np.where(brain, top * (np.maximum(image, 1e-6 * top) / top) ** exponent, 0).astype(
            np.float32
        )

    return lambda study, _: replace(
        study, images={s: image.with_data(curve(image.data)) for s, image in study.images.items()}
    )


def _mirrored(study: Study, seed: int) -> Study:
    """The anatomy, not the header: the tumour is in the other half of the brain."""
    images = {
        sequence: image.with_data(np.flip(image.data, 0).copy())
        for sequence, image in study.images.items()
    }
    return replace(
        study,
        images=images,
        truth=study.truth and study.truth.with_data(np.flip(study.truth.data, 0).copy()),
    )


def _only(subset: tuple[MRSequence, ...]) -> Step:
    return lambda study, _: replace(
        study, images={sequence: study.images[sequence] for sequence in subset}
    )


def _turned(axis: int, degrees: float) -> Step:
    """The head in its grid, which grows so that nothing is lost; images linearly, the truth region
    by region at one half.
    """
    x, y, z = (float(degrees) if turned == axis else 0.0 for turned in range(3))
    matrix = rotation((x, y, z))

    def apply(study: Study, seed: int) -> Study:
        from scipy import ndimage

        sides = np.array(study.grid.shape)
        shape = tuple(int(n) for n in np.ceil(np.abs(matrix) @ sides) + 2)
        offset = (sides - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)

        def turn(values: NDArray[Any]) -> NDArray[np.float32]:
            moved: NDArray[np.float32] = ndimage.affine_transform(
                np.asarray(values, np.float32), matrix, offset, shape, order=1
            )
            return moved

        shares: dict[bytes, NDArray[np.float32]] = {}

        def turn_image(image: NDArray[Any]) -> NDArray[np.float32]:
            # Of voxels at the rim only the brain's part counts, so that they do not darken. Most
            # sequences have one brain.
            brain = np.packbits(image != 0).tobytes()
            if brain not in shares:
                shares[brain] = turn(image != 0)
            share = shares[brain]
            return np.where(share > 0.5, turn(image) / np.maximum(share, 0.5), 0).astype(np.float32)

        affine = study.grid.affine.copy()
        images = {
            sequence: Volume(turn_image(image.data), affine)
            for sequence, image in study.images.items()
        }
        truth = study.truth
        if study.truth is not None and study.convention is not None:
            regions = np.stack(
                [turn(region) > 0.5 for region in study.convention.to_regions(study.truth.data)]
            )
            truth = Volume(study.convention.from_regions(regions), affine)
        return replace(study, images=images, truth=truth)

    return apply
