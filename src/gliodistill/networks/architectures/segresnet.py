"""Myronenko's residual encoder–decoder, winner of BraTS 2018, without and with its variational
autoencoder.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.errors import RecipeError
from gliodistill.networks.base import Network, check_option
from gliodistill.networks.registry import register

LATENT = 128  # means and as many deviations: the paper's 256


class SegResNet(Network):
    """MONAI's ``SegResNet`` behind the interface of the toolkit.

    Args:
        body: a MONAI ``SegResNet`` of four levels.
    """

    divisor = 8

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body: Any = body

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) to ``encoder2``, ``bottleneck``, ``decoder2`` to ``decoder0``: sums
        that close the residual blocks.
        """
        down, up = self.body.down_layers, self.body.up_layers
        encoder = {f"encoder{level}": down[level] for level in range(3)}
        return (
            encoder
            | {"bottleneck": down[3]}
            | {f"decoder{2 - step}": up[step] for step in range(3)}
        )

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits on the grid of the input."""
        self.check_sides(x)
        coarse, (*skips, _) = self.body.encode(x)
        self.penalise(x, coarse)
        for up, stage, skip in zip(
            self.body.up_samples, self.body.up_layers, reversed(skips), strict=True
        ):
            coarse = stage(skip + up(coarse))  # in this order the sum stays channels-last
        return (self.body.conv_final(coarse),)

    def penalise(
        self, image: Float[Tensor, "B C X Y Z"], coarse: Float[Tensor, "B D _ _ _"]
    ) -> None:
        """Set ``penalty`` from the coarsest features; here there is none."""


class SegResNetVAE(SegResNet):
    """``SegResNet`` that in training also reconstructs its input from the coarsest features.

    Args:
        body: a MONAI ``SegResNetVAE``.
        weight: of the reconstruction in ``penalty``.
    """

    def __init__(self, body: nn.Module, weight: float) -> None:
        super().__init__(body)
        self.patch, self.weight = tuple(self.body.input_image_size), weight
        self.body.vae_down.append(nn.Flatten())  # MONAI views a tensor that may be channels-last

    def penalise(
        self, image: Float[Tensor, "B C X Y Z"], coarse: Float[Tensor, "B D _ _ _"]
    ) -> None:
        """Set ``penalty`` while training. Called before the decoder, so that taps on it keep the
        features of the segmentation.

        Raises:
            RecipeError: the patch has other sides than those the branch's dense layers were made
                for.
        """
        self.penalty = None
        if not self.training:
            return
        if tuple(image.shape[2:]) != self.patch:
            raise RecipeError(
                "the training patch is not the one the autoencoder was made for",
                field="patch",
                got=tuple(image.shape[2:]),
                expected=self.patch,
                hint="set the network's option patch to sampling.patch",
            )
        self.penalty = self.weight * self.body._get_vae_loss(image, coarse)

    def strip(self) -> None:
        """Remove the autoencoder, which leaves ``segresnet``."""
        for name in [name for name, _ in self.body.named_children() if name.startswith("vae_")]:
            delattr(self.body, name)


@register("segresnet")
def segresnet(
    in_channels: int = 4, out_channels: int = 3, width: int = 32, dropout: float = 0.2
) -> SegResNet:
    """Residual encoder–decoder with group norm, with a deeper encoder: Myronenko 2018 without
    the autoencoder.

    A. Myronenko, *3D MRI brain tumor segmentation using autoencoder regularization*, BrainLes 2018,
    arXiv 1810.11654, on MONAI's ``SegResNet``: pre-activation residual blocks 1-2-2-4 down and
    1-1-1 up, stride-2 convolutions down, 1³ convolution and trilinear doubling up, skips added. The
    defaults are the paper's.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        width: channels of the finest level, doubled at each coarser one; a multiple of 8, the
            groups of the norm.
        dropout: probability with which a channel of the first convolution is dropped while
            training.

    Raises:
        RecipeError: an option out of range.
    """
    from monai.networks.nets.segresnet import SegResNet as Body

    return SegResNet(Body(**_settings(in_channels, out_channels, width, dropout)))


@register("segresnet_vae")
def segresnet_vae(
    in_channels: int = 4,
    out_channels: int = 3,
    width: int = 32,
    dropout: float = 0.2,
    patch: Sequence[int] = (128, 128, 128),
    vae_weight: float = 0.1,
) -> SegResNetVAE:
    """``segresnet`` that reconstructs its input through an autoencoder while training: Myronenko
    2018 in full.

    On MONAI's ``SegResNetVAE``. A branch estimates means and deviations of 128 numbers from the
    coarsest features, draws them and decodes them into the input; ``penalty`` is ``vae_weight`` ·
    (mean squared error + Kullback–Leibler divergence from the normal distribution). In evaluation
    mode the network is ``segresnet``; export drops the branch.

    From the paper: the branch's widths, 0.1 for both terms. MONAI's reading: the branch uses the
    segmentation's decoder (without skips), and the divergence is half a mean over the latent
    numbers, where the paper divides a sum by the number of voxels. Ours: the default patch; the
    paper's is 160×192×128.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        width: as in ``segresnet``.
        dropout: as in ``segresnet``.
        patch: sides of the training patch, multiples of 16; in evaluation mode any size is valid.
        vae_weight: of the penalty.

    Raises:
        RecipeError: an option out of range.
    """
    from monai.networks.nets.segresnet import SegResNetVAE as Body

    fits = len(patch) == 3 and all(side >= 16 and side % 16 == 0 for side in patch)
    check_option("patch", patch, fits, "three multiples of 16")
    check_option("vae_weight", vae_weight, vae_weight >= 0, "0 or more")
    settings = _settings(in_channels, out_channels, width, dropout)
    return SegResNetVAE(
        Body(tuple(patch), vae_estimate_std=True, vae_nz=LATENT, **settings), vae_weight
    )


def _settings(in_channels: int, out_channels: int, width: int, dropout: float) -> dict[str, Any]:
    check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
    check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
    check_option("width", width, width >= 8 and width % 8 == 0, "a multiple of 8")
    check_option("dropout", dropout, 0 <= dropout < 1, "from 0 to below 1")
    channels = {"in_channels": in_channels, "out_channels": out_channels, "init_filters": width}
    return {
        **channels,
        "dropout_prob": dropout,
        "blocks_down": (1, 2, 2, 4),
        "blocks_up": (1, 1, 1),
    }
