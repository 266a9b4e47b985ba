"""UNet++: a U-Net whose skips pass through nested, densely joined stages."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import Network, check_option
from gliodistill.networks.layers.instance_norm import InstanceNorm
from gliodistill.networks.registry import register

LEVELS = 5


class UNetPlusPlus(Network):
    """MONAI's ``BasicUNetPlusPlus`` behind the interface of the toolkit.

    Args:
        body: a MONAI ``BasicUNetPlusPlus`` with deep supervision: four heads, all on the finest
            grid.
        deep_supervision: number of heads besides the last that also give logits in training.
    """

    divisor = 2 ** (LEVELS - 1)

    def __init__(self, body: nn.Module, deep_supervision: int) -> None:
        super().__init__()
        self.body: Any = body
        self.deep_supervision = deep_supervision
        self._drop_heads(LEVELS - 2 - deep_supervision)
        module: Any
        for module in list(body.modules()):
            for name, child in module.named_children():
                if isinstance(
                    child, nn.InstanceNorm3d
                ):  # does not keep channels-last; ours computes the same
                    setattr(module, name, InstanceNorm(child.num_features))
            if hasattr(module, "is_pad"):
                module.is_pad = False  # grids always fit, as sides are multiples of the divisor

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) to ``encoder3``, ``bottleneck``, then ``decoder3`` to ``decoder0``,
        the last stage of each level.
        """
        body = self.body
        encoder = {
            f"encoder{level}": getattr(body, f"conv_{level}_0") for level in range(LEVELS - 1)
        }
        decoder = {
            f"decoder{level}": getattr(body, f"upcat_{level}_{LEVELS - 1 - level}")
            for level in reversed(range(LEVELS - 1))
        }
        return encoder | {"bottleneck": body.conv_4_0} | decoder

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits of the deepest head; while training with deep supervision also of shallower ones,
        on the same grid.
        """
        self.check_sides(x)
        logits = self.body(x)[::-1]
        return tuple(logits[: 1 + self.deep_supervision]) if self.training else (logits[0],)

    def strip(self) -> None:
        """Drop the heads of deep supervision."""
        self._drop_heads(LEVELS - 2)

    def _drop_heads(self, count: int) -> None:
        for column in range(1, 1 + count):  # MONAI calls them all: an identity costs nothing
            setattr(self.body, f"final_conv_0_{column}", nn.Identity())


@register("unet_plus_plus")
def unet_plus_plus(
    in_channels: int = 4,
    out_channels: int = 3,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    deep_supervision: int = 0,
) -> UNetPlusPlus:
    """Nested U-Net whose skips are densely joined stages: Zhou et al. 2018, in 3-D.

    Z. Zhou et al., *UNet++: A Nested U-Net Architecture for Medical Image Segmentation*, DLMIA
    2018, arXiv 1807.10165, on MONAI's ``BasicUNetPlusPlus``. The paper is about 2-D images; its
    widths are the defaults. MONAI's reading: instance norm, LeakyReLU 0.1 and biases, and the
    finest row keeps all channels when it doubles the grid.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of the five levels, finest first; all but the finest even.
        deep_supervision: how many of the three shallower sub-networks also give logits while
            training.

    Raises:
        RecipeError: an option out of range.
    """
    from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus as Body

    check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
    check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
    fits = (
        len(widths) == LEVELS and min(widths) >= 1 and all(width % 2 == 0 for width in widths[1:])
    )
    check_option("widths", widths, fits, "five positive numbers, all but the first even")
    check_option(
        "deep_supervision",
        deep_supervision,
        0 <= deep_supervision <= LEVELS - 2,
        f"0 to {LEVELS - 2}",
    )
    body = Body(3, in_channels, out_channels, (*widths, widths[0]), deep_supervision=True)
    return UNetPlusPlus(body, deep_supervision)
