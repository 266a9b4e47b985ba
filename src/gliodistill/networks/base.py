"""The interface of all networks, and their costs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gliodistill.errors import RecipeError


class Network(nn.Module):
    """A segmentation network: image patches in, logits out, feature stages by name.

    ``forward(x: B C X Y Z)`` returns a tuple of logits ``B K x y z``, finest first. The first is on
    the input's grid. In training with deep supervision, coarser ones follow, each on its own grid;
    in evaluation mode there is exactly one.

    Attributes:
        divisor: every side of the input must be a multiple of this number of voxels.
        penalty: a loss of the network's own (a scalar) that training adds to the others, set by a
            forward pass in training mode; None in evaluation mode and for most networks.
        outputs_only: for a teacher without stages to read, what it is, for errors; None for
            networks.
        teaches: of a teacher that knows some of its student's regions: their places among the
            student's outputs, in its own order; None: all of them.
        unopened: whether it stands in for a network whose stages are known only once its files are
            opened.
    """

    divisor: int = 1
    outputs_only: str | None = None
    unopened: bool = False
    teaches: tuple[int, ...] | None = None
    penalty: Float[Tensor, ""] | None = None

    @property
    def taps(self) -> dict[str, nn.Module]:
        """The feature stages by name, e.g. ``encoder0`` (finest), ``bottleneck``, ``decoder0``
        (finest).
        """
        return {}

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits for a batch of patches, finest first."""
        raise NotImplementedError

    def input_of(self, batch: Any) -> Any:
        """What a batch has for this network as a teacher: the complete patches."""
        return batch.complete

    def oriented(self, features: Tensor) -> Tensor:
        """Features of a stage (B C and three axes) with the axes of the student's patch."""
        return features

    def strip(self) -> None:
        """Remove what only training needs (a reconstruction branch, heads of deep supervision), for
        export.

        Its output in evaluation mode is unchanged. Most networks have nothing to remove.
        """

    def __getstate__(self) -> dict[str, object]:
        """Copy everything but the last penalty, whose graph cannot be copied."""
        return {**super().__getstate__(), "penalty": None}  # type: ignore[no-untyped-call]

    def check_sides(self, x: Tensor) -> None:
        """Raise RecipeError if the sides of ``x`` do not fit the network."""
        if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
            return
        sides = tuple(x.shape[2:])
        if any(side % self.divisor for side in sides):
            raise RecipeError(
                "the input does not fit the network",
                field="patch",
                got=sides,
                expected=f"sides that are multiples of {self.divisor}",
                hint="pad or crop the patch",
            )


def check_option(field: str, got: object, fits: bool, expected: str) -> None:
    """Raise RecipeError if an option of a network is out of range."""
    if not fits:
        raise RecipeError(
            "a network option is out of range", field=field, got=got, expected=expected
        )


def count_parameters(network: nn.Module) -> int:
    """Number of trained values (weights and biases, no running statistics), each counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(network: nn.Module, shape: Sequence[int]) -> int:
    """Floating-point operations of one forward pass in evaluation mode.

    A multiply–add is two operations. Convolutions and matrix products are counted, norms and
    activations are not (a percent or so). It uses only shapes, so a whole-brain count takes
    milliseconds and no memory.

    Args:
        network: any module; not changed.
        shape: of the input, ``(B, C, X, Y, Z)``.
    """
    ghost = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(torch.empty(tuple(shape), device="meta"))
    return int(counter.get_total_flops())
