"""Augmentation, drawn first and applied after: a teacher and a student see the same patch, and a
run can be replayed.

All of space is one interpolation: rotation, scale and elastic displacement move the points where
the patch is read in the study, so nothing is cut off at the patch's border and nothing is smoothed
twice.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.recipes.schema import AugmentationPart


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
class IntensityDraw:
    """What happens to each channel's z-scores; None = nothing. Arrays have one entry a channel.

    Attributes:
        multiply, add: contrast and brightness.
        gamma: exponent on the channel's own range.
        noise: standard deviation, and the seed of the noise.
        blur: Gaussian sigma in voxels (0 = none).
        zoom: low-resolution factor in (0, 1] (1 = none).
    """

    multiply: NDArray[np.float64] | None
    add: NDArray[np.float64] | None
    gamma: NDArray[np.float64] | None
    noise: tuple[float, int] | None
    blur: NDArray[np.float64] | None
    zoom: NDArray[np.float64] | None


def draw_spatial(part: AugmentationPart, random: np.random.Generator) -> SpatialDraw:
    """Draw where a patch is read."""
    flips = tuple(bool(random.random() < part.flip) for _ in range(3))
    matrix = elastic = None
    if random.random() < part.spatial:
        angles = np.deg2rad(random.uniform(-part.rotate_degrees, part.rotate_degrees, 3))
        matrix = _rotation(angles) / random.uniform(*part.scale)
        if part.elastic_voxels > 0:
            elastic = random.normal(0.0, part.elastic_voxels, (3, 4, 4, 4))
    return SpatialDraw((flips[0], flips[1], flips[2]), matrix, elastic)


def draw_intensity(
    part: AugmentationPart, channels: int, random: np.random.Generator
) -> IntensityDraw:
    """Draw what happens to the intensities of a patch."""
    multiply = _maybe(part.contrast, 0.75, 1.25, channels, random)
    add = _maybe(part.brightness, -0.3, 0.3, channels, random)
    gamma = _maybe(part.gamma, 0.7, 1.5, channels, random)
    noise = (
        (float(random.uniform(0.0, 0.25)), int(random.integers(2**31)))
        if random.random() < part.noise
        else None
    )
    blur = _maybe(part.blur, 0.3, 1.0, channels, random)
    zoom = _maybe(part.low_resolution, 0.5, 1.0, channels, random)
    return IntensityDraw(multiply, add, gamma, noise, blur, zoom)


def draw_kept(
    part: AugmentationPart, present: tuple[bool, ...], random: np.random.Generator
) -> tuple[bool, ...]:
    """Draw which of the ``present`` sequences a patch keeps: each is dropped alike, but never all
    of them.

    A draw without any is thrown away, so with ``p: 0.5`` every subset is as likely as any other,
    but for the patches that ``keep_all`` spares.
    """
    dropout = part.modality_dropout
    if dropout.keep_all and random.random() < dropout.keep_all:
        return present
    there = np.flatnonzero(present)
    if dropout.p == 1:
        kept = random.choice(there, 1)
    else:
        while not len(kept := there[random.random(len(there)) >= dropout.p]):
            pass
    return tuple(channel in kept for channel in range(len(present)))


def _maybe(
    probability: float, low: float, high: float, channels: int, random: np.random.Generator
) -> NDArray[np.float64] | None:
    return random.uniform(low, high, channels) if random.random() < probability else None


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
        draw: of :func:`draw_spatial`.
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


def apply_intensity(
    values: Float[Tensor, "C X Y Z"], inside: Bool[Tensor, "C X Y Z"], draw: IntensityDraw
) -> Float[Tensor, "C X Y Z"]:
    """Change z-scores as ``draw`` says; sequences are not dropped here.

    Args:
        values: z-scores.
        inside: where there is brain (a z-score of 0.0 alone does not tell); elsewhere the result is
        0.0.
        draw: of :func:`draw_intensity`.
    """
    result = values
    if draw.zoom is not None:
        result = torch.stack(
            [_low_resolution(c, float(z)) for c, z in zip(result, draw.zoom, strict=True)]
        )
    if draw.blur is not None:
        result = torch.stack([_blur(c, float(s)) for c, s in zip(result, draw.blur, strict=True)])
    if draw.noise is not None:
        deviation, seed = draw.noise
        noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(
            tuple(result.shape), dtype=np.float32
        )
        result = result + deviation * torch.from_numpy(noise)
    if draw.gamma is not None:
        result = torch.stack([_gamma(c, float(g)) for c, g in zip(result, draw.gamma, strict=True)])
    if draw.multiply is not None:
        result = result * _per_channel(draw.multiply)
    if draw.add is not None:
        result = result + _per_channel(draw.add)
    return torch.where(inside, result, 0.0)


def _per_channel(values: NDArray[np.float64]) -> Float[Tensor, "C 1 1 1"]:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def _low_resolution(channel: Float[Tensor, "X Y Z"], zoom: float) -> Float[Tensor, "X Y Z"]:
    sides = [max(2, round(side * zoom)) for side in channel.shape]
    small = F.interpolate(channel[None, None], size=sides, mode="nearest-exact")
    return F.interpolate(small, size=channel.shape, mode="trilinear")[0, 0]


def _blur(channel: Float[Tensor, "X Y Z"], sigma: float) -> Float[Tensor, "X Y Z"]:
    steps = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    result = channel[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 5, 2
        result = F.conv3d(result, kernel.view(shape), padding=padding)
    return result[0, 0]


def _gamma(channel: Float[Tensor, "X Y Z"], gamma: float) -> Float[Tensor, "X Y Z"]:
    low, high = channel.min(), channel.max()
    span = (high - low).clamp_min(1e-6)
    return ((channel - low) / span) ** gamma * span + low


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result
