"""Brain masks of scans, with doubts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.brain.grid import GRID_MM, CoarseScan, coarse
from gliodistill.images.background import find_background
from gliodistill.images.bounds import filled_box
from gliodistill.images.volume import Volume
from gliodistill.models.openvino_runtime import OpenVINORuntime

GRAPH = Path(__file__).parent / "network" / "model.xml"
"""The network that ships."""

VOLUME_ML = (700.0, 2200.0)
"""Range of brains with their fluid."""

CUT_CM2 = 15.0
"""Area of the brain on a face of the image above which the field of view cuts it. The cord and the
brainstem, which leave the image at the bottom, have less."""

BIG = 0.05
"""Share of the brain from which another part is worth a flag."""

AIR_MM = 24.0
"""Background around a brain, without which the network takes its rim for scalp. It is added to
an image that was cropped to its brain."""

BESIDE_VOXELS, STRIPPED = 2, 0.93
"""An image is stripped if this share of its foreground is brain, or that near to it."""


@dataclass(frozen=True, eq=False)
class BrainMask:
    """The brain in a scan.

    Attributes:
        mask: bool on X Y Z, the scan's own grid.
        volume_ml: of the mask.
        flags: doubts, in words; empty if there are none.
        stripped: whether the scan was skull-stripped already; then the mask is its foreground.
    """

    mask: NDArray[np.bool_]
    volume_ml: float
    flags: tuple[str, ...] = ()
    stripped: bool = False


def extract_brain(
    volume: Volume, *, threads: int | None = None, graph: Path | None = None
) -> BrainMask:
    """Find the brain in a scan.

    Args:
        volume: an MR scan of a head, any contrast, orientation and slice thickness; what is not
            finite counts as 0. The affine must be right: it tells which axis points where.
        threads: processor threads; None = all cores.
        graph: OpenVINO graph of another network for this grid; None = the one that ships.

    Returns:
        the mask on the scan's grid. A brain that the field of view cuts, of an unusual volume, or
        in several large parts is flagged.

    Example:
        >>> from gliodistill.brain import extract_brain
        >>> from gliodistill.phantom.raw import make_raw
        >>> scan = make_raw(seed=1, index=0, spacing=2.0).images["FLAIR"]
        >>> brain = extract_brain(scan)
        >>> brain.mask.shape == scan.shape, 1000 < brain.volume_ml < 2000
        (True, True)
    """
    from scipy import ndimage

    foreground = _foreground(volume)
    small = _coarse(volume, foreground)
    logits = _logits(small, threads, graph)
    if foreground is not None and _is_brain_only(volume, foreground, small, logits):
        filled = ndimage.binary_fill_holes(foreground)
        return BrainMask(filled, float(filled.sum()) * volume.voxel_ml, (), True)
    kept, flags = _one_part(logits)
    mask = small.back(kept) > 0
    ml = float(mask.sum()) * volume.voxel_ml
    return BrainMask(mask, ml, (*flags, *_doubts(volume, mask, ml)))


def is_stripped(
    volume: Volume, *, foreground: NDArray[np.bool_] | None = None, threads: int | None = None
) -> bool:
    """Whether a scan is skull-stripped: a constant around the brain, and hardly anything but brain.

    Args:
        volume: as for :func:`extract_brain`.
        foreground: bool on X Y Z, what is not background, where that is known; None = found here.
        threads: processor threads; None = all cores.
    """
    some = _every_so_many(volume)
    steps = [side.step for side in some]
    volume = Volume(volume.data[some], volume.affine @ np.diag([*steps, 1]))
    foreground = _foreground(volume) if foreground is None else foreground[some]
    if foreground is None or not _fits(volume, foreground):  # without the network
        return False
    small = _coarse(volume, foreground)
    logits = _logits(small, threads)
    return _is_brain_only(volume, foreground, small, logits)


def _coarse(volume: Volume, foreground: NDArray[np.bool_] | None) -> CoarseScan:
    """The scan on the network's grid, with air around a foreground that was cropped."""
    if foreground is None or (box := filled_box(foreground)) is None:
        return coarse(volume)
    air = min(
        step * min(side.start, length - side.stop)
        for side, length, step in zip(box, foreground.shape, volume.spacing, strict=True)
    )
    margin = max(0, int(np.ceil((AIR_MM - air) / GRID_MM)))
    return coarse(volume, margin, float(volume.data[~foreground][0]))


def _logits(
    small: CoarseScan, threads: int | None, graph: Path | None = None
) -> NDArray[np.float32]:
    """The network's answer, on the network's grid; nothing where the image is all the same."""
    data = small.scan.data
    if data.min() == data.max() or not np.ptp(small.inner(small.levels)):
        return np.full(small.levels.shape, -1, np.float32)
    logits: NDArray[np.float32] = _network(graph or GRAPH, threads)(small.levels[None, None])[0, 0]
    return logits


def _every_so_many(volume: Volume) -> tuple[slice, ...]:
    """Every so many voxels, where they are smaller than 1 mm: time and memory of a verdict do not
    grow with them.
    """
    return tuple(slice(None, None, max(1, int(1 / spacing))) for spacing in volume.spacing)


def load_network(threads: int | None = None) -> None:
    """Begin to load the network that ships; what needs it waits for it.

    Args:
        threads: as for :func:`extract_brain`; the network is loaded for each number of threads.
    """
    _network(GRAPH, threads)


@cache
def _network(graph: Path, threads: int | None) -> OpenVINORuntime:
    return OpenVINORuntime(graph, threads=threads)


def _one_part(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
    """Logits of the largest part, its holes filled; and what else there was."""
    from scipy import ndimage

    parts, count = ndimage.label(logits > 0)
    if not count:
        return logits, []
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = parts == sizes.argmax()
    others = int((np.delete(sizes, sizes.argmax()) > BIG * sizes.max()).sum())
    far = np.float32(np.abs(logits).max())
    kept = np.where((parts > 0) & ~largest, -far, logits)
    kept[ndimage.binary_fill_holes(largest) & ~largest] = far
    flags = [f"the brain is in {others + 1} parts; the largest is kept"] if others else []
    return kept, flags


def _doubts(volume: Volume, mask: NDArray[np.bool_], ml: float) -> Iterator[str]:
    if not ml:
        yield "no brain found"
        return
    cut = [side for side, area in _faces(volume, mask) if area > CUT_CM2]
    if cut:
        yield f"the brain reaches the edge of the image: {', '.join(cut)}"
    low, high = VOLUME_ML
    if ml > high or (ml < low and not cut):
        yield f"brain volume {ml:.0f} ml; {low:g} to {high:g} ml expected"


def _faces(volume: Volume, mask: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    """Side of the patient → area in cm² of the brain on that face of the image."""
    ras = volume.with_data(mask).canonical()
    x, y, z = ras.spacing
    areas = (y * z / 100, x * z / 100, x * y / 100)
    sides = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    for axis, (names, area) in enumerate(zip(sides, areas, strict=True)):
        for name, place in zip(names, (0, -1), strict=True):
            yield name, float(ras.data.take(place, axis).sum()) * area


def _foreground(volume: Volume) -> NDArray[np.bool_] | None:
    """What is not background, where that is constant and the rest no larger than a brain."""
    data = np.asarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        return None
    background = find_background(data, volume.voxel_ml)
    if background.doubt or not background.values or not background.filled:
        return None
    foreground = ~background.of(data)
    return foreground if _fits(volume, foreground) else None


def _fits(volume: Volume, foreground: NDArray[np.bool_]) -> bool:
    """Whether the foreground is no larger than a brain."""
    return bool(np.count_nonzero(foreground) * volume.voxel_ml <= VOLUME_ML[1])


def _grown(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """A mask and what is within so many steps along the axes of it; without SciPy, whose import
    takes as long as the network.
    """
    for _ in range(voxels):
        grown = mask.copy()
        for axis in range(3):
            old, new = np.moveaxis(mask, axis, 0), np.moveaxis(grown, axis, 0)
            new[1:] |= old[:-1]
            new[:-1] |= old[1:]
        mask = grown
    return mask


def _is_brain_only(
    volume: Volume, foreground: NDArray[np.bool_], small: CoarseScan, logits: NDArray[np.float32]
) -> bool:
    """Whether the foreground is the brain and nothing else, judged by the network."""
    brain = logits > 0
    if not brain.any():
        return False
    beside = small.inner(_grown(brain, BESIDE_VOXELS))
    ras = volume.with_data(foreground).canonical()
    places = [
        np.minimum(((np.arange(side) + 0.5) * spacing / GRID_MM).astype(np.intp), most - 1)
        for side, spacing, most in zip(ras.shape, ras.spacing, small.shape, strict=True)
    ]
    some = [max(1, round(GRID_MM / spacing)) for spacing in ras.spacing]
    thin = ras.data[:: some[0], :: some[1], :: some[2]]
    near = beside[np.ix_(*(place[::step] for place, step in zip(places, some, strict=True)))]
    return bool((thin & near).sum() >= STRIPPED * thin.sum())
