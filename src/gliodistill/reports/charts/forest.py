"""Forest plot: estimates with intervals and a line of no difference, as an accessible table."""

from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.reports.charts.axes import Axis, minus
from gliodistill.reports.page.markup import Html, join, tag


@dataclass(frozen=True)
class Estimate:
    """One row.

    Attributes:
        name: what is estimated.
        value, low, high: the estimate and the ends of its interval.
        note: right of the numbers, e.g. a p-value.
        group: a heading above the first row of each group; rows of a group are adjacent.
    """

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    group: str = ""


def forest_table(
    rows: Sequence[Estimate],
    title: str,
    *,
    estimate: str = "Difference",
    note: str = "",
    reference: float = 0.0,
    decimals: int = 3,
    worse_better: tuple[str, str] | None = None,
    lower_is_better: bool = False,
) -> Html:
    """Rows of name, picture, numbers; all pictures on one scale. Estimates whose interval excludes
    ``reference`` are filled.

    Args:
        rows: from top to bottom.
        title: above.
        estimate: heading of the numbers, e.g. ``"Δ Dice [95 % interval]"``.
        note: heading of the rows' notes.
        reference: the value of no difference.
        decimals: of the numbers.
        worse_better: words for the left and right side of the reference, e.g. ``("A better", "B
            better")``.
        lower_is_better: put low values on the right, so that right is better.
    """
    if not rows:
        return Html("")
    ends = [reference, *(row.low for row in rows), *(row.high for row in rows)]
    sides_at = (97.0, 3.0) if lower_is_better else (3.0, 97.0)
    axis = Axis(min(ends), max(ends), *sides_at, round_out=True)
    notes = any(row.note for row in rows)
    sides = (
        tag("span", *(tag("span", word) for word in worse_better), class_="sides")
        if worse_better
        else ""
    )
    head = tag(
        "tr",
        tag("td"),
        tag("th", sides, scope="col", class_="plot"),
        tag("th", estimate, scope="col", class_="number"),
        tag("th", note, scope="col", class_="number") if notes else "",
    )
    body, group = [], ""
    for row in rows:
        if row.group != group:
            group = row.group
            body.append(
                tag("tr", tag("th", group, scope="rowgroup", colspan=3 + notes), class_="group")
            )
        body.append(_row(row, axis, reference, decimals, notes))
    foot = tag(
        "tr",
        tag("td"),
        tag("td", _scale(axis), class_="plot"),
        tag("td"),
        tag("td") if notes else "",
        aria_hidden="true",
    )
    table = tag(
        "table", tag("thead", head), tag("tbody", *body), tag("tfoot", foot), class_="forest"
    )
    return tag("figure", tag("figcaption", tag("b", title)), tag("div", table, class_="wide"))


def _row(row: Estimate, axis: Axis, reference: float, decimals: int, notes: bool) -> Html:
    clear = row.low > reference or row.high < reference
    numbers = join(
        tag("b", _number(row.value, decimals)) if clear else _number(row.value, decimals),
        tag("small", f"[{_number(row.low, decimals)}, {_number(row.high, decimals)}]"),
    )
    # Percentages, so that the picture fills its column without distortion.
    picture = tag(
        "svg",
        _upright(axis, reference, "axis"),
        tag(
            "line",
            class_="interval",
            x1=f"{axis.place(row.low):.2f}%",
            x2=f"{axis.place(row.high):.2f}%",
            y1="50%",
            y2="50%",
        ),
        tag(
            "circle",
            class_=f"estimate{' clear' if clear else ''}",
            cx=f"{axis.place(row.value):.2f}%",
            cy="50%",
            r=5,
        ),
        aria_hidden="true",
    )
    return tag(
        "tr",
        tag("th", row.name, scope="row"),
        tag("td", picture, class_="plot"),
        tag("td", numbers, class_="number"),
        tag("td", row.note, class_="number") if notes else "",
    )


def _scale(axis: Axis) -> Html:
    # Every other tick, including zero, to fit on a phone.
    every = 1 if len(axis.ticks) <= 4 else 2
    marks = [
        tag("text", axis.text(value), x=f"{axis.place(value):.2f}%", y="16", text_anchor="middle")
        for value in axis.ticks
        if round(value / axis.step) % every == 0
    ]
    return tag("svg", tag("line", class_="axis", x1="3%", x2="97%", y1="1", y2="1"), *marks)


def _upright(axis: Axis, value: float, kind: str) -> Html:
    x = f"{axis.place(value):.2f}%"
    return tag("line", class_=kind, x1=x, x2=x, y1="0", y2="100%")


def _number(value: float, decimals: int) -> str:
    return minus(f"{value:+.{decimals}f}")
