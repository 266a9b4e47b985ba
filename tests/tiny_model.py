"""A study and two models small enough for every test: one whose right answer is known, one real
U-Net.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gliodistill.images.volume import Volume
from gliodistill.models import (
    InferenceSettings,
    ModelPackage,
    ModelSpec,
    NetworkSpec,
    OutputChannels,
    TrainingSummary,
)
from gliodistill.models.export import DEFAULT_FORMATS, export_package
from gliodistill.networks import Network, build, register
from gliodistill.preparation import Preparation
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

SHAPE = (50, 53, 46)
RADII = {MRSequence.FLAIR: 8.0, MRSequence.T2: 6.5, MRSequence.T1CE: 5.0}


@register("test_voxelwise")
class Voxelwise(Network):
    """Draws WT where FLAIR is bright, TC where T2 is, ET where T1CE is; as classes ED, NCR, ET,
    each outdoing the last.
    """

    divisor = 4

    def __init__(self, out_channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, out_channels, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.fill_(-1.5)
            for channel, sequence in enumerate((3, 2, 1), start=out_channels - 3):
                self.conv.weight[channel, sequence] = 1.0 + (out_channels - 3) * channel
            if out_channels == 4:
                self.conv.bias.copy_(torch.tensor([0.0, -3.0, -4.5, -6.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(x),)


def blob(sequence: MRSequence) -> NDArray[np.bool_]:
    """Where the tumour is bright on a sequence: a ball off the middle of SHAPE, in voxels."""
    away = sum(
        (axis - centre) ** 2 for axis, centre in zip(np.indices(SHAPE), (28, 21, 19), strict=True)
    )
    return away <= RADII[sequence] ** 2


def regions() -> NDArray[np.bool_]:
    """WT, TC, ET that the voxelwise model should draw on :func:`study`."""
    return np.stack([blob(s) for s in (MRSequence.FLAIR, MRSequence.T2, MRSequence.T1CE)])


def study(
    id: str = "case",
    *,
    affine: NDArray[np.float64] | None = None,
    lacking: tuple[MRSequence, ...] = (),
) -> Study:
    """A ball of brain with balls of tumour in it, 1 mm, RAS+ unless told."""
    rng = np.random.default_rng(3)
    inside = (
        sum(
            ((axis - n / 2) / (0.38 * n)) ** 2
            for axis, n in zip(np.indices(SHAPE), SHAPE, strict=True)
        )
        <= 1
    )
    images = {}
    for sequence in MRSequence:
        image = rng.normal(100, 1.5, SHAPE)
        if sequence in RADII:
            image[blob(sequence)] += 80
        images[sequence] = Volume(
            (image * inside).astype(np.float32), np.eye(4) if affine is None else affine
        )
    return Study(id, id, {s: v for s, v in images.items() if s not in lacking})


def spec(kind: str = "test_voxelwise", **changes: object) -> ModelSpec:
    options = {"widths": [4, 8]} if kind == "unet" else {}
    made = ModelSpec(
        name="tiny",
        preparation=Preparation(),
        network=NetworkSpec(kind, options),
        outputs=OutputChannels(),
        convention=CONVENTIONS["brats2021"],
        inference=InferenceSettings((16, 16, 16)),
        training=TrainingSummary(
            "recipe", "supervised", 1, 100, {"WT": 0.9, "TC": 0.8, "ET": 0.7}, "8 synthetic studies"
        ),
    )
    return replace(made, **changes)


def export(
    out: Path,
    kind: str = "test_voxelwise",
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    card: str = "",
    **changes: object,
) -> ModelPackage:
    made = spec(kind, **changes)
    torch.manual_seed(0)
    return export_package(
        build(made.network.name, **made.network.options), made, out, formats=formats, card=card
    )
