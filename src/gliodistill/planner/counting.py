"""Costs of candidates without measurement: parameters, operations and bytes, on the meta device."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch

from gliodistill.networks import Network, build, count_parameters, flops
from gliodistill.planner.budgets import Budget, exceeded
from gliodistill.planner.candidate import Candidate
from gliodistill.planner.shapes import Shape

BYTES = {"openvino": 2, "torch": 4}
"""Runtime → bytes per weight in its file: OpenVINO's are float16, safetensors are
float32.
"""

COUNTED = (4, 8, 12)
"""Number of trunks that are built and counted."""


@dataclass(frozen=True)
class Setting:
    """The setting in which candidates are counted.

    Attributes:
        in_channels: sequences.
        out_channels: logits per voxel.
        shape: of a prepared brain, voxels along X, Y, Z.
        runtime: of the student.
    """

    in_channels: int
    out_channels: int
    shape: tuple[int, int, int]
    runtime: str

    def sides(self, divisor: int) -> tuple[int, int, int]:
        """The padded input size: multiples of the divisor, and at least two voxels of the coarsest
        grid.
        """
        x, y, z = (max(2, -(-side // divisor)) * divisor for side in self.shape)
        return x, y, z

    def costs(self, network: Network) -> dict[str, float]:
        """``params``, ``flops`` of a pass over the brain, and ``size`` of an exported network."""
        network = copy.deepcopy(network)
        network.strip()
        values = sum(tensor.numel() for tensor in network.state_dict().values())
        shape = (1, self.in_channels, *self.sides(network.divisor))
        return {
            "params": count_parameters(network),
            "flops": flops(network, shape),
            "size": BYTES[self.runtime] * values,
        }


def count(
    shapes: Iterable[Shape], setting: Setting, budgets: Sequence[Budget], teacher: dict[str, float]
) -> list[Candidate]:
    """The shapes with their costs, if they are smaller than the teacher and within the budgets that
    need no timing.

    Shapes that differ only in their trunk are counted up to the first one over budget, which is
    included.

    Args:
        shapes: in the order of ``enumerate_shapes``.
        setting: what is counted.
        budgets: none of them relative.
        teacher: ``params`` and ``flops``.
    """
    limits = [*budgets, *(Budget(quantity, teacher[quantity]) for quantity in ("params", "flops"))]
    closed: dict[tuple[object, ...], int] = {}
    found = []
    for shape in shapes:
        chain = (shape.network, shape.stem_stride, len(shape.widths))
        if shape.trunk > closed.get(chain, shape.trunk):
            continue
        costs = _costs(shape, setting)
        if exceeded(costs, limits) > 1:
            closed[chain] = shape.trunk
        found.append(
            Candidate(shape, int(costs["params"]), int(costs["flops"]), int(costs["size"]))
        )
    return found


def _costs(shape: Shape, setting: Setting) -> dict[str, float]:
    """Costs of a shape. They are quadratic in the trunk, because widths are proportional to it, and
    thus exact from three counted ones.
    """
    w, (first, second, third) = shape.trunk, COUNTED
    known = [
        _counted(
            shape.network,
            tuple(width * counted // w for width in shape.widths),
            shape.stem_stride,
            setting,
        )
        for counted in COUNTED
    ]
    weights = (
        Fraction((w - second) * (w - third), (first - second) * (first - third)),
        Fraction((w - first) * (w - third), (second - first) * (second - third)),
        Fraction((w - first) * (w - second), (third - first) * (third - second)),
    )
    return {
        key: int(
            sum(weight * int(costs[key]) for weight, costs in zip(weights, known, strict=True))
        )
        for key in known[0]
    }


@lru_cache(maxsize=256)
def _counted(
    network: str, widths: tuple[int, ...], stem_stride: int, setting: Setting
) -> dict[str, float]:
    """With batch norm, which stores more than any other norm."""
    with torch.device("meta"):
        return setting.costs(make(Shape(network, widths, stem_stride, "batch"), setting))


def make(shape: Shape, setting: Setting) -> Network:
    """The network of that shape."""
    return build(
        shape.network,
        in_channels=setting.in_channels,
        out_channels=setting.out_channels,
        **shape.options,
    )
