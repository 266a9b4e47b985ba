"""The attention-fused U-Net of Xu et al. 2022: convolutions, a transformer connection, attention in
the decoder.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gliodistill.networks.architectures.unet import UNet
from gliodistill.networks.base import check_option
from gliodistill.networks.layers.attention import ChannelSpatialAttention
from gliodistill.networks.layers.transformer import VolumetricTransformer
from gliodistill.networks.registry import register

# Side of the reference grid of positions: the bottleneck of a 128³ patch in the default network.
POSITIONS = 4
FEED_FORWARD = 4  # width of a feed-forward's inner layer over the embedding, ViT's
REDUCTION = 4  # of the channel gates: the usual 16 leaves the finest levels one hidden unit
# Initial size of the connection's output, relative to torch's initialisation of a linear layer.
SMALL = 0.1


class TransformerConnection(nn.Module):
    """Features plus a transformer over the whole volume: x +
    up(back(LN(transformer(in(pool x))))).

    The features are averaged over blocks of ``stride``³ voxels, projected to the embedding, passed
    through the transformer, projected back and interpolated trilinearly to their grid. The last
    projection is initialised ten times smaller than usual: an untrained connection is nearly the
    identity, yet all its weights get gradients from the first step.

    Args:
        channels: of the features.
        embedding: numbers per token.
        layers: of the transformer.
        heads: of each layer.
        stride: voxels per token along an axis.
    """

    def __init__(
        self, channels: int, *, embedding: int, layers: int, heads: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.transformer = VolumetricTransformer(
            embedding, layers=layers, heads=heads, hidden=FEED_FORWARD * embedding, grid=POSITIONS
        )
        self.embed = nn.Linear(channels, embedding)
        self.back = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, channels))
        with torch.no_grad():
            for parameter in self.back[1].parameters():
                parameter.mul_(SMALL)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Features of the same shape."""
        blocks = functional.avg_pool3d(x, self.stride) if self.stride > 1 else x
        tokens = self.embed(blocks.permute(0, 2, 3, 4, 1))
        added: Tensor = self.back(self.transformer(tokens)).permute(0, 4, 1, 2, 3)
        if self.stride > 1:
            added = functional.interpolate(added, size=x.shape[2:], mode="trilinear")
        return x + added


class AttentiveDecoder(nn.Module):
    """A U-Net's decoder stage with a connection on its skip and attention on its output."""

    def __init__(self, decoder: nn.Module, connection: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.decoder, self.connection, self.attention = decoder, connection, attention

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        attended: Tensor = self.attention(self.decoder(x, self.connection(skip)))
        return attended


@register("attention_fused")
class AttentionFused(UNet):
    """The attention-fused U-Net: a transformer at the bottleneck, channel and spatial attention in
    the decoder.

    Xu et al. 2022 (doi 10.1007/978-3-031-12053-4_25) fuse attention blocks and a CNN by a
    "transformer connection"; the abstract gives no sizes, so all of this is OUR READING. The trunk
    is :class:`UNet`. The connection is after TransBTS (Wang et al. 2021): projection, learned
    positions, pre-norm layers, projection back; ours are the residual path around it, its small
    start, 1³ projections, and sizes. Attention is Islam et al.'s (2020), put after the convolutions
    of each decoder stage. With ``connection="skips"`` every skip has a transformer of its own
    beside the bottleneck's; it works on averages over blocks, with as many tokens as the bottleneck
    has voxels.

    Taps: ``encoder…`` before the connection on the skip, ``bottleneck`` after the transformer,
    ``decoder…`` after attention.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per trunk voxel along an axis: 1, 2 or 4.
        convs_per_stage: 3³ convolutions of each encoder and decoder stage.
        norm: ``instance``, ``group``, ``batch`` or ``subset``.
        embedding: numbers per token of each transformer.
        layers: of each transformer.
        heads: of each transformer layer; must divide the embedding.
        connection: where transformers are: ``bottleneck``, or ``skips`` (on the skips too).
        deep_supervision: how many coarser decoder levels also give logits while training, at most
            ``len(widths) - 2``.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        stem_stride: int = 1,
        convs_per_stage: int = 2,
        norm: str = "instance",
        embedding: int = 384,
        layers: int = 4,
        heads: int = 8,
        connection: str = "bottleneck",
        deep_supervision: int = 0,
    ) -> None:
        super().__init__(
            in_channels, out_channels, widths, stem_stride, convs_per_stage, norm, deep_supervision
        )
        check_option(
            "connection", connection, connection in ("bottleneck", "skips"), "bottleneck or skips"
        )

        def connect(level: int) -> TransformerConnection:
            stride = 2 ** (len(widths) - 1 - level)
            return TransformerConnection(
                widths[level], embedding=embedding, layers=layers, heads=heads, stride=stride
            )

        self.encoders[-1] = nn.Sequential(self.encoders[-1], connect(len(widths) - 1))
        self.decoders = nn.ModuleList(
            AttentiveDecoder(
                decoder,
                connect(level) if connection == "skips" else nn.Identity(),
                ChannelSpatialAttention(width, REDUCTION),
            )
            for level, (decoder, width) in enumerate(zip(self.decoders, widths, strict=False))
        )


@register("attention_fused_third")
def attention_fused_third(
    in_channels: int = 4,
    out_channels: int = 3,
    norm: str = "instance",
    connection: str = "bottleneck",
    deep_supervision: int = 0,
) -> AttentionFused:
    """``attention_fused`` with every width and the embedding divided by 3: about 11 % of its
    parameters (Xu et al. 2022).
    """
    return AttentionFused(
        in_channels,
        out_channels,
        (11, 21, 43, 85, 107, 107),
        norm=norm,
        embedding=128,
        connection=connection,
        deep_supervision=deep_supervision,
    )
