"""Brain mask errors: brain that is cut off, and tissue that is left on."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.preparation.quantise import quantise
from gliodistill.training.transforms.base import Patch, PatchTransform, smooth_field
from gliodistill.training.transforms.registry import register

TEXTURE = 0.7
"""Standard deviation of the intensity within left-on tissue, in those of the brain."""


@dataclass(frozen=True)
class BrainMaskDraw:
    """An error of the brain mask.

    Attributes:
        shift: 4×4×4 control points over the patch, by how many voxels the border lies too far
            outside (below 0: inside).
        brightness: C, mean z-score of the tissue that is left on, in each sequence.
        texture: 8×8×8 control points, deviation from that mean.
    """

    shift: NDArray[np.float64]
    brightness: NDArray[np.float64]
    texture: NDArray[np.float64]


@register("brain_mask")
class BrainMask(PatchTransform[BrainMaskDraw]):
    """Move the border of the brain mask of all sequences, inwards and outwards, smoothly.

    Where it moves inwards, the image is empty and the reference too, as a model predicts nothing
    outside the brain. Where it moves outwards, tissue of another brightness (dura, bone, scalp) is
    left on. What really is there is not known: studies are stored without it.

    Args:
        p: probability that a patch is transformed.
        voxels: least and greatest shift of a patch; drawn evenly. The default of the upper end is
            5 mm at a voxel of 1.5 mm.
        brightness: least and greatest mean of left-on tissue, in standard deviations above the
            brain's mean; drawn evenly, for each sequence.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        voxels: tuple[float, float] = (1.0, 3.3),
        brightness: tuple[float, float] = (-2.0, 5.0),
    ) -> None:
        super().__init__(p=p)
        self.voxels = voxels
        self.brightness = brightness

    def draw(self, channels: int, random: np.random.Generator) -> BrainMaskDraw:
        """Draw the border's shift and what lies beyond it."""
        return BrainMaskDraw(
            random.uniform(*self.voxels) * random.uniform(-1.0, 1.0, (4, 4, 4)),
            random.uniform(*self.brightness, channels),
            random.normal(0.0, TEXTURE, (8, 8, 8)),
        )

    def apply(self, patch: Patch, drawn: BrainMaskDraw) -> None:
        """Cut off and add."""
        brain = torch.from_numpy((patch.levels > 0).any(axis=0))
        moved = _moved(brain, smooth_field(drawn.shift, brain.shape))
        lost, added = (brain & ~moved).numpy(), (moved & ~brain).numpy()
        patch.levels[:, lost] = 0
        patch.clear(None, lost)
        texture = smooth_field(drawn.texture, brain.shape).numpy()[added]
        for levels, mean in zip(patch.levels, drawn.brightness, strict=True):
            if levels.any():
                levels[added] = quantise(mean + texture, np.ones(texture.shape, dtype=np.bool_))


def _moved(mask: Bool[Tensor, "X Y Z"], shift: Float[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """The mask with its border moved outwards by ``shift`` voxels.

    The mean of the mask in a cube of 2·r + 1 voxels is 0.5 at a flat border and changes by
    1 / (2·r + 1) with each voxel of distance.
    """
    reach = int(np.ceil(float(shift.abs().max()))) or 1
    side = 2 * reach + 1
    mean = mask.float()[None, None]
    for axis in range(3):
        window, padding = [1, 1, 1], [0, 0, 0]
        window[axis], padding[axis] = side, reach
        # Beyond the patch nothing is known: the border lies where it lies within.
        mean = F.avg_pool3d(mean, window, 1, padding, count_include_pad=False)
    near = (mean[0, 0] - 0.5) * side > -shift
    return torch.where(shift > 0, mask | near, mask & near)
