"""From the planes of a series to regular grids: a series with several volumes is split, and what
forms no regular grid is refused with the reason.

Standard: DICOM PS3.3 C.7.6.2 (image plane). The direction of the slices and their distance are
those of the positions; SliceThickness, SpacingBetweenSlices and SliceLocation are not believed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.frames import Frame
from gliodistill.dicom.grids import Grid, Slice
from gliodistill.errors import ImageError

TURNED = 2e-3
"""Directions that differ by more, in any component, are two orientations."""

UNIT = 1e-2
"""By how much a direction may miss length 1, and two directions a right angle."""

SAME_PLACE_MM = 0.01
UNEVEN = 0.05
"""Of the distance between slices: positions may miss the regular grid by that much."""

SHEAR = 0.05
"""Of a pixel, for each slice: how far a slice may lie beside the one below it."""

MOST_VOXELS = 2**29
SPACING_MM = (0.05, 50.0)
RELATIVE = 0.05
"""Numbers (echo times, b-values) that differ by a smaller share are one."""

KINDS = (
    "echo",
    "b",
    "image type",
    "inversion",
    "diffusion",
    "stack",
    "repetition in time",
    "acquisition",
    "trigger",
    "time",
    "content time",
)
"""What may tell planes at one place from each other, the most telling first."""
ALWAYS = ("frame of reference", "echo", "b", "image type", "stack")
"""What is never mixed in one volume, even where no two planes share a place."""


@dataclass(frozen=True)
class Part:
    """Planes that belong together.

    Attributes:
        name: what tells them from the other parts; "" where there is one part.
        slices: in the order of the grid.
        grid: None where they are on none.
        refused: why.
    """

    name: str
    slices: tuple[Slice, ...]
    grid: Grid | None
    refused: ImageError | None


def parts_of(frames: Iterable[Frame], where: str) -> list[Part]:
    """The volumes that a series holds, largest first.

    Args:
        frames: of the series.
        where: what errors call it, e.g. ``"series 4"``.
    """
    groups: list[tuple[str, list[Frame]]] = [("", list(frames))]
    for name, split in (
        ("size", _by_size),
        ("orientation", _by_orientation),
        ("voxel size", _by_spacing),
    ):
        groups = [
            (_joined(before, label), some)
            for before, all_of in groups
            for label, some in _named(name, split(all_of))
        ]
    for kind in ALWAYS:
        groups = [
            (_joined(before, label), some)
            for before, all_of in groups
            for label, some in _by_kind(kind, all_of)
        ]
    parts = []
    for before, all_of in groups:
        parts += [_part(_joined(before, label), some, where) for label, some in _unstack(all_of)]
    return sorted(parts, key=lambda part: (part.grid is None, -len(part.slices)))


def _joined(*names: str) -> str:
    return ", ".join(name for name in names if name)


def _named(name: str, groups: list[list[Frame]]) -> list[tuple[str, list[Frame]]]:
    if len(groups) == 1:
        return [("", groups[0])]
    return [(f"{name} {number}", some) for number, some in enumerate(groups, 1)]


def _by_size(frames: list[Frame]) -> list[list[Frame]]:
    return _alike(frames, lambda one, other: one.size == other.size)


def _by_orientation(frames: list[Frame]) -> list[list[Frame]]:
    return _alike(frames, lambda one, other: _close(one.orientation, other.orientation, TURNED))


def _by_spacing(frames: list[Frame]) -> list[list[Frame]]:
    return _alike(frames, lambda one, other: _close(one.spacing, other.spacing, TURNED))


def _close(one: Sequence[float] | None, other: Sequence[float] | None, reach: float) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= reach


def _alike(frames: list[Frame], same: Callable[[Frame, Frame], bool]) -> list[list[Frame]]:
    """Groups by likeness to the first of each, the largest first."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if same(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return sorted(groups, key=len, reverse=True)


def _by_kind(kind: str, frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Groups by a kind of value; numbers that are almost equal count as one."""
    groups: list[tuple[object, list[Frame]]] = []
    for frame in frames:
        own = frame.kinds.get(kind)
        for known, group in groups:
            if known == own or (
                isinstance(known, float)
                and isinstance(own, float)
                and abs(known - own) <= RELATIVE * max(abs(known), abs(own))
            ):
                group.append(frame)
                break
        else:
            groups.append((own, [frame]))
    if len(groups) == 1:
        return [("", frames)]
    return [
        (f"{kind} {number if kind == 'frame of reference' else _written(own)}", group)
        for number, (own, group) in enumerate(groups, 1)
    ]


def _written(own: object) -> str:
    if isinstance(own, tuple):
        return "/".join(map(str, own)) or "not said"
    return "not said" if own in (None, "") else f"{own:g}" if isinstance(own, float) else str(own)


def _unstack(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Groups in which no two planes share a place, by the first kind of value that tells them
    apart, or by two of them; as they are where none does.
    """
    if not _stacked(frames):
        return [("", frames)]
    for kind in KINDS:
        groups = _by_kind(kind, frames)
        if len(groups) > 1 and not any(_stacked(some) for _, some in groups):
            return groups
    for number, first in enumerate(KINDS):
        for second in KINDS[number + 1 :]:
            pairs = [
                (_joined(one, two), some)
                for one, all_of in _by_kind(first, frames)
                for two, some in _by_kind(second, all_of)
            ]
            if len(pairs) > 1 and not any(_stacked(some) for _, some in pairs):
                return pairs
    return [("", frames)]


def _stacked(frames: list[Frame]) -> bool:
    """Whether two planes share a place."""
    places = _places(frames)
    return places is not None and bool((np.diff(np.sort(places)) < SAME_PLACE_MM).any())


def _places(frames: list[Frame]) -> NDArray[np.float64] | None:
    """Millimetres along the normal of the first plane; None where a position is not told."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return None
    directions = np.array(frames[0].orientation)
    normal = np.cross(directions[:3], directions[3:])
    found: NDArray[np.float64] = np.array([frame.position for frame in frames]) @ normal
    return found


def _part(name: str, frames: list[Frame], where: str) -> Part:
    try:
        slices, grid = _grid(frames, where)
    except ImageError as error:
        ordered = sorted(frames, key=lambda frame: (frame.instance, frame.piece.frame))
        return Part(name, tuple(frame.piece for frame in ordered), None, error)
    return Part(name, slices, grid, None)


def _grid(frames: list[Frame], where: str) -> tuple[tuple[Slice, ...], Grid]:
    """Slices in order, and where their voxels lie.

    Raises:
        ImageError: they are on no regular grid.
    """

    def refuse(problem: str, field: str, got: object, expected: object) -> ImageError:
        return ImageError(problem, field=f"{where}, {field}", got=got, expected=expected)

    first = frames[0]
    for field, told in (
        ("ImagePositionPatient", all(frame.position for frame in frames)),
        ("ImageOrientationPatient", all(frame.orientation for frame in frames)),
        ("PixelSpacing", all(frame.spacing for frame in frames)),
    ):
        if not told:
            raise refuse("the place of a slice is not told", field, "none", "numbers")
    assert first.spacing is not None
    directions = np.array(first.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if (np.abs(lengths - 1) > UNIT).any() or abs(directions[0] @ directions[1]) > UNIT:
        raise refuse(
            "directions of rows and columns that cannot be",
            "ImageOrientationPatient",
            first.orientation,
            "two unit vectors at a right angle",
        )
    directions /= lengths[:, None]
    low, high = SPACING_MM
    if not all(low <= step <= high for step in first.spacing):
        raise refuse(
            "a voxel size that cannot be", "PixelSpacing", first.spacing, f"{low} to {high} mm"
        )
    if len(frames) < 2:
        raise refuse("one slice is no volume", "slices", 1, "2 or more")
    rows, columns = first.size
    if rows * columns * len(frames) > MOST_VOXELS:
        raise refuse("too many voxels", "size", rows * columns * len(frames), MOST_VOXELS)

    normal = np.cross(directions[0], directions[1])
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    if np.abs(positions).max() > 1e5:
        raise refuse("a place that cannot be", "ImagePositionPatient", positions.max(), "mm")
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _step(positions, normal, min(first.spacing), refuse)

    affine = np.eye(4)
    affine[:3, 0] = directions[0] * first.spacing[1]
    affine[:3, 1] = directions[1] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # LPS+ to RAS+
    return tuple(frames[index].piece for index in order), Grid((columns, rows, len(frames)), affine)


def _step(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: float,
    refuse: Callable[[str, str, object, object], ImageError],
) -> NDArray[np.float64]:
    """From a slice to the next, mm in LPS+; positions in order along the normal."""
    gaps = np.diff(positions @ normal)
    if gaps.min() < SAME_PLACE_MM:
        raise refuse(
            "several slices at one place, and no attribute tells them apart",
            "ImagePositionPatient",
            f"{int((gaps < SAME_PLACE_MM).sum())} of {len(positions)}",
            "each place once",
        )
    usual = float(np.median(gaps))
    times = gaps / usual
    if (np.abs(times - np.rint(times)) < UNEVEN).all() and np.rint(times).max() > 1:
        lost = int(np.rint(times).sum()) - len(gaps)
        at = int(np.argmax(times))
        raise refuse(
            "slices are missing",
            "ImagePositionPatient",
            f"{lost} missing, first gap of {gaps[at]:.4g} mm after slice {at + 1}",
            f"{usual:.4g} mm between slices",
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    away = positions - (positions[0] + np.arange(len(positions))[:, None] * step)
    along = np.abs(away @ normal).max()
    if along > UNEVEN * float(step @ normal):
        raise refuse(
            "slices at uneven distances",
            "ImagePositionPatient",
            f"{gaps.min():.4g} to {gaps.max():.4g} mm",
            "one distance",
        )
    beside = step - normal * (step @ normal)
    drift = float(np.linalg.norm(beside))
    if drift > SHEAR * pixel:
        angle = np.degrees(np.arctan2(drift, float(step @ normal)))
        raise refuse(
            "slices are sheared (a tilted gantry)",
            "ImagePositionPatient",
            f"{angle:.3g} degrees",
            "each slice straight above the one before",
        )
    across = np.linalg.norm(away - np.outer(away @ normal, normal), axis=1).max()
    if across > UNEVEN * pixel * len(positions):
        raise refuse(
            "slices lie beside each other",
            "ImagePositionPatient",
            f"up to {across:.3g} mm aside",
            "each slice straight above the one before",
        )
    return step
