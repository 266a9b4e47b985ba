"""Candidates: shapes with their costs, and the rule that ranks them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gliodistill.planner.budgets import Budget, exceeded
from gliodistill.planner.shapes import Shape

RULE = (
    "Rule: of the students within all budgets, the widest trunk (channels of the finest level);"
    " ties are decided by the finest grid, then the fewest levels that see the whole patch, then"
    " the teacher's norm, then batch, instance, group norm."
)


@dataclass(eq=False)
class Candidate:
    """A candidate student; timings are added when measured.

    Attributes:
        shape: of its network.
        parameters: number of weights.
        flops: of one pass over a brain; a multiply–add is two.
        size: bytes of the weights in the runtime's file.
        seconds: of each timed pass over a brain; empty if not measured.
        predicted: predicted seconds of a pass, from measured candidates.
    """

    shape: Shape
    parameters: int
    flops: int
    size: int
    seconds: list[float] = field(default_factory=list)
    predicted: float | None = None

    @property
    def latency(self) -> float | None:
        """Median of the timed passes, seconds."""
        return statistics.median(self.seconds) if self.seconds else None

    def costs(self, *, guess: bool = False) -> dict[str, float | None]:
        """Quantity → value; latency is None if not measured, or its prediction with ``guess``."""
        latency = self.predicted if guess and self.latency is None else self.latency
        return {
            "params": self.parameters,
            "flops": self.flops,
            "size": self.size,
            "latency": latency,
        }

    def excess(self, budgets: Sequence[Budget], *, guess: bool = False) -> float:
        """The largest ratio of a cost to its budget: at most 1 if all known costs are within
        budget.
        """
        return exceeded(self.costs(guess=guess), budgets)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in seconds."""
        return {
            "network": self.shape.network,
            "options": self.shape.options,
            "parameters": self.parameters,
            "flops": self.flops,
            "size_bytes": self.size,
            "latency_s": self.latency,
            "latency_range_s": [min(self.seconds), max(self.seconds)] if self.seconds else None,
            "passes": len(self.seconds),
            "predicted_latency_s": self.predicted,
        }


def ranked(candidates: Sequence[Candidate], norms: Sequence[str]) -> list[Candidate]:
    """Candidates in order of preference (``RULE``); ties keep their order."""
    return sorted(
        candidates,
        key=lambda c: (
            -c.shape.trunk,
            c.shape.stem_stride,
            len(c.shape.widths),
            norms.index(c.shape.norm),
        ),
    )


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The Pareto front of measured candidates in parameters and time, fastest first."""
    front: list[Candidate] = []
    for candidate in sorted(
        (c for c in candidates if c.latency is not None), key=lambda c: (c.latency, -c.parameters)
    ):
        if not front or candidate.parameters > front[-1].parameters:
            front.append(candidate)
    return front
