"""Budgets of a student: ``params<=11%``, ``latency<=300ms``,
``size<=4MB``, ``flops<=200G``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gliodistill.errors import BudgetError
from gliodistill.registry import nearest

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS: Mapping[str, Mapping[str, float]] = {
    "params": _PREFIXES,
    "flops": _PREFIXES,
    "size": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    "latency": {"ms": 1e-3, "s": 1.0},
}
"""Quantity → unit → its value in parameters, operations, bytes or seconds."""

EXAMPLES = "params<=11%, params<=1.2M, flops<=200G, size<=4MB or latency<=300ms"
_FORM = re.compile(
    r"\s*(?P<quantity>[a-z]+)\s*(?:<=|≤)\s*(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>%|[A-Za-z]*)\s*"
)


@dataclass(frozen=True)
class Budget:
    """A limit on one quantity.

    Attributes:
        quantity: ``params``, ``flops`` (of one pass over a brain), ``size`` (bytes of the weights)
            or ``latency`` (seconds of a pass).
        limit: the largest value allowed; of a ``relative`` budget, a share of the teacher's.
        relative: whether the limit is a share of the teacher's.
    """

    quantity: str
    limit: float
    relative: bool = False

    def against(self, teacher: float) -> "Budget":
        """The same limit as a plain number, given the teacher's value."""
        return replace(self, limit=self.limit * teacher, relative=False) if self.relative else self

    def __str__(self) -> str:
        return (
            f"{self.quantity}<={100 * self.limit:g}%"
            if self.relative
            else f"{self.quantity}<={written(self.quantity, self.limit)}"
        )


def parse_budget(text: str) -> Budget:
    """A budget from its text.

    Raises:
        BudgetError: another form, a quantity or unit that does not exist, or a limit of 0.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise BudgetError("invalid budget", field="--budget", got=text, expected=EXAMPLES)
    quantity, number, unit = match["quantity"], float(match["number"]), match["unit"]
    if quantity not in UNITS:
        raise BudgetError(
            "unknown quantity in a budget",
            field="--budget",
            got=text,
            expected=", ".join(UNITS),
            hint=nearest(quantity, UNITS),
        )
    if number == 0:
        raise BudgetError("budget out of range", field="--budget", got=text, expected="more than 0")
    if unit == "%":
        return Budget(quantity, number / 100, relative=True)
    if unit not in UNITS[quantity]:
        valid = ", ".join(["%", *(name or "none" for name in UNITS[quantity])])
        raise BudgetError(
            f"{quantity} has no such unit", field="--budget", got=text, expected=valid
        )
    return Budget(quantity, number * UNITS[quantity][unit])


def exceeded(values: Mapping[str, float | None], budgets: Iterable[Budget]) -> float:
    """The largest ratio of a value to its limit; at most 1 if all known values are within their
    budgets.

    Args:
        values: quantity → value; None or missing if not yet known.
        budgets: none of them relative.
    """
    known = ((values.get(budget.quantity), budget.limit) for budget in budgets)
    return max((value / limit for value, limit in known if value is not None), default=0.0)


def written(quantity: str, value: float) -> str:
    """A value in a suitable unit: ``1.24 M``, ``3.6 MB``, ``284 ms``."""
    units = UNITS[quantity]
    name, size = max(
        ((name, size) for name, size in units.items() if size <= value * 1.0005),
        key=lambda unit: unit[1],
        default=min(units.items()),
    )
    figure = value / size
    digits = (
        f"{figure:.2f}"
        if figure < 9.995 and name
        else f"{figure:.1f}"
        if figure < 99.95 and name
        else f"{figure:.0f}"
    )
    return f"{digits} {name}".strip()
