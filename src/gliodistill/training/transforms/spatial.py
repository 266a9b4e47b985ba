"""Space: mirroring, rotation, scale and elastic displacement, in one interpolation.

They move the points where the patch is read in the study, so nothing is cut off at the patch's
border and nothing is smoothed twice.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpatialDraw:
    """Where a patch is read.

    Attributes:
        flips: per axis.
        matrix: 3×3, patch offset (voxels from its centre) → study offset; None = identity.
        elastic: 3×4×4×4 displacements in voxels at control points over the patch, or None.
    """

    flips: tuple[bool, bool, bool]
    matrix: NDArray[np.float64] | None
    elastic: NDArray[np.float64] | None


@dataclass(frozen=True)
class Spatial:
    """Read a patch mirrored, turned, scaled and bent.

    Args:
        flip: probability of mirroring, for each axis.
        p: probability of rotation, scaling and elastic displacement together.
        rotate_degrees: largest angle about each axis; drawn evenly.
        scale: least and greatest factor; above 1 enlarges the tumour; drawn evenly.
        elastic_voxels: standard deviation of the displacement at 4×4×4 control points.
    """

    flip: float = 0.5
    p: float = 0.3
    rotate_degrees: float = 20.0
    scale: tuple[float, float] = (0.8, 1.25)
    elastic_voxels: float = 3.0

    def draw(self, random: np.random.Generator) -> SpatialDraw:
        """Draw where a patch is read."""
        flips = tuple(bool(random.random() < self.flip) for _ in range(3))
        matrix = elastic = None
        if random.random() < self.p:
            angles = np.deg2rad(random.uniform(-self.rotate_degrees, self.rotate_degrees, 3))
            matrix = _rotation(angles) / random.uniform(*self.scale)
            if self.elastic_voxels > 0:
                elastic = random.normal(0.0, self.elastic_voxels, (3, 4, 4, 4))
        return SpatialDraw((flips[0], flips[1], flips[2]), matrix, elastic)


def read_patch(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None,
    centre: NDArray[np.int64],
    patch: tuple[int, int, int],
    draw: SpatialDraw,
    beyond: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Cut a patch around ``centre`` out of a study as ``draw`` says.

    Args:
        image: levels, uint8 C X Y Z.
        truth: bit mask, uint8 X Y Z; or shares of 255, uint8 K X Y Z; or None.
        centre: voxel index of the patch's centre; a patch of even sides has it just above its
            middle.
        patch: sides in voxels.
        draw: of :meth:`Spatial.draw`.
        beyond: the truth beyond the study.

    Returns:
        levels, uint8 C x y z (0 beyond the study), and the truth in the form it was given. Images
        are interpolated linearly among brain voxels, shares linearly, bit masks by the nearest
        voxel.
    """
    if draw.matrix is None and draw.elastic is None:
        start = centre - np.asarray(patch) // 2
        levels = _cut(image, start, patch)
        mask = (
            None
            if truth is None
            else _cut(truth.reshape(-1, *truth.shape[-3:]), start, patch, beyond).reshape(
                *truth.shape[:-3], *patch
            )
        )
    else:
        levels, mask = _read_warped(image, truth, centre, patch, draw, beyond)
    axes = tuple(axis for axis in range(3) if draw.flips[axis])
    if axes:
        levels = np.flip(levels, tuple(a + 1 for a in axes))
        mask = None if mask is None else np.flip(mask, tuple(a - 3 for a in axes))
    return np.ascontiguousarray(levels), None if mask is None else np.ascontiguousarray(mask)


def lattice(
    patch: tuple[int, int, int],
    draw: SpatialDraw,
    sides: tuple[int, int, int],
    ratio: tuple[float, float, float],
) -> torch.Tensor:
    """Where another lattice about the middle of a patch is read, moved as the patch is.

    Args:
        patch: sides in voxels.
        draw: of :meth:`Spatial.draw`.
        sides: of the other lattice.
        ratio: its points a voxel, along each axis.

    Returns:
        offsets from the patch's ``centre`` in voxels, 3 and ``sides``. With the patch's own sides
        and a ratio of 1, the voxels that :func:`read_patch` reads.
    """
    along = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) / r * (-1 if flipped else 1)
        for n, r, flipped in zip(sides, ratio, draw.flips, strict=True)
    ]
    offsets = torch.stack(torch.meshgrid(*along, indexing="ij"))
    if draw.elastic is not None:
        field = torch.from_numpy(draw.elastic.astype(np.float32))[None]
        half = torch.tensor([max(p - 1, 1) / 2 for p in patch])[:, None, None, None]
        grid = (offsets / half).permute(1, 2, 3, 0).flip(-1)[None]
        moved = F.grid_sample(field, grid, padding_mode="border", align_corners=True)
        offsets = offsets + moved[0]
    if draw.matrix is not None:
        offsets = torch.einsum(
            "ij,jxyz->ixyz", torch.from_numpy(draw.matrix.astype(np.float32)), offsets
        )
    return offsets - torch.tensor([0.0 if p % 2 else 0.5 for p in patch])[:, None, None, None]


def _cut(
    array: NDArray[np.uint8], start: NDArray[np.int64], patch: tuple[int, ...], beyond: int = 0
) -> NDArray[np.uint8]:
    result = np.full((len(array), *patch), beyond, dtype=np.uint8)
    low = np.maximum(start, 0)
    high = np.minimum(start + patch, array.shape[1:])
    if (high > low).all():
        source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        result[(slice(None), *target)] = array[(slice(None), *source)]
    return result


def _read_warped(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None,
    centre: NDArray[np.int64],
    patch: tuple[int, int, int],
    draw: SpatialDraw,
    beyond: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    offsets = torch.stack(
        torch.meshgrid(
            *(torch.arange(p, dtype=torch.float32) - (p - 1) / 2 for p in patch), indexing="ij"
        )
    )
    if draw.elastic is not None:
        field = torch.from_numpy(draw.elastic.astype(np.float32))[None]
        offsets = (
            offsets + F.interpolate(field, size=patch, mode="trilinear", align_corners=True)[0]
        )
    if draw.matrix is not None:
        offsets = torch.einsum(
            "ij,jxyz->ixyz", torch.from_numpy(draw.matrix.astype(np.float32)), offsets
        )
    # The middle of a patch of even sides lies half a voxel below ``centre``, as where nothing is
    # warped.
    offsets = offsets - torch.tensor([0.0 if p % 2 else 0.5 for p in patch])[:, None, None, None]
    # Read a box just large enough, so that grid_sample never sees the whole study.
    reach = offsets.abs().amax(dim=(1, 2, 3)).ceil().to(torch.int64).numpy() + 1
    box = tuple(int(2 * r + 1) for r in reach)
    levels = torch.from_numpy(_cut(image, centre - reach, box)).float()
    unit = offsets / torch.from_numpy(reach.astype(np.float32))[:, None, None, None]
    grid = unit.permute(1, 2, 3, 0).flip(-1)[None]  # grid_sample wants Z, Y, X
    inside = (levels > 0).float()
    moved = F.grid_sample(
        torch.cat([levels, inside])[None], grid, mode="bilinear", align_corners=True
    )[0]
    value, share = moved.chunk(2)
    # Level 0 means "not brain", not "dark": interpolate among brain voxels only.
    warped = (
        torch.where(share > 0.5, (value / share.clamp_min(1e-3)).round().clamp(1, 255), 0.0)
        .to(torch.uint8)
        .numpy()
    )
    if truth is None:
        return warped, None
    shares = truth.ndim == 4
    cut = _cut(truth if shares else truth[None], centre - reach, box, beyond)
    codes = torch.from_numpy(cut).float()
    mask = F.grid_sample(
        codes[None], grid, mode="bilinear" if shares else "nearest", align_corners=True
    )[0].round()
    return warped, (mask if shares else mask[0]).to(torch.uint8).numpy()


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result
