"""Trading space for channels: how a network works at a lower resolution and answers at full resolution."""

from jaxtyping import Float
from torch import Tensor


def space_to_depth(x: Float[Tensor, "B C X Y Z"], s: int) -> Float[Tensor, "B D _ _ _"]:
    """Fold each block of s³ voxels into channels: ``B C X Y Z`` → ``B C·s³ X/s Y/s Z/s``. Nothing is lost."""
    b, c, x_side, y_side, z_side = x.shape
    blocks = x.reshape(b, c, x_side // s, s, y_side // s, s, z_side // s, s)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * s**3, x_side // s, y_side // s, z_side // s)


def depth_to_space(x: Float[Tensor, "B D X Y Z"], s: int) -> Float[Tensor, "B K _ _ _"]:
    """The inverse of :func:`space_to_depth` (pixel shuffle, Shi et al. 2016, in 3-D)."""
    b, d, x_side, y_side, z_side = x.shape
    blocks = x.reshape(b, d // s**3, s, s, s, x_side, y_side, z_side)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, d // s**3, x_side * s, y_side * s, z_side * s)
