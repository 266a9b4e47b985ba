"""Space-to-depth folding, with which a network works at a lower resolution and predicts at full
resolution.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def space_to_depth(x: Float[Tensor, "B C X Y Z"], s: int) -> Float[Tensor, "B D _ _ _"]:
    """Fold each block of s³ voxels into channels: ``B C X Y Z`` → ``B C·s³ X/s Y/s Z/s``. Nothing
    is lost.

    A channels-last input gives a channels-last output.
    """
    b, c, x_side, y_side, z_side = x.shape
    blocks = x.reshape(b, c, x_side // s, s, y_side // s, s, z_side // s, s)
    if x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous():
        rows = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(
            b, x_side // s, y_side // s, z_side // s, c * s**3
        )
        return rows.permute(0, 4, 1, 2, 3)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(
        b, c * s**3, x_side // s, y_side // s, z_side // s
    )


def depth_to_space(x: Float[Tensor, "B D X Y Z"], s: int) -> Float[Tensor, "B K _ _ _"]:
    """Inverse of :func:`space_to_depth` (3-D pixel shuffle, Shi et al. 2016); contiguous."""
    b, d, x_side, y_side, z_side = x.shape
    blocks = x.reshape(b, d // s**3, s, s, s, x_side, y_side, z_side)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(
        b, d // s**3, x_side * s, y_side * s, z_side * s
    )
