"""Parts of several networks: initialisation and unfolding head."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.layers.folding import depth_to_space

SLOPE = 0.01  # of LeakyReLU, nnU-Net's


class Head(nn.Conv3d):
    """Features → logits by one convolution, unfolded s times finer (sub-pixel convolution, Shi et
    al. 2016).

    Args:
        channels: of the features.
        out_channels: logits K per voxel.
        unfold: s, voxels of the logits per voxel of the features along an axis.
        kernel: side of the convolution, odd.
    """

    def __init__(
        self, channels: int, out_channels: int, *, unfold: int = 1, kernel: int = 1
    ) -> None:
        super().__init__(channels, out_channels * unfold**3, kernel, padding=kernel // 2)
        self.unfold = unfold

    def forward(self, x: Float[Tensor, "B C _ _ _"]) -> Float[Tensor, "B K _ _ _"]:
        """Logits on a grid ``unfold`` times finer."""
        logits = super().forward(x)
        return depth_to_space(logits, self.unfold) if self.unfold > 1 else logits


def initialise(module: nn.Module) -> None:
    """He initialisation of convolutions, zero biases, heads without checkerboard artefacts; for
    ``network.apply(initialise)``.

    The s³ filters of a class in a folded head start equal (Aitken et al. 2017).
    """
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        if module.weight.is_meta:
            return  # nothing to initialise, and torch would import its compiler
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, Head):
        fold = module.unfold**3
        with torch.no_grad():
            module.weight.copy_(module.weight[::fold].repeat_interleave(fold, dim=0))
