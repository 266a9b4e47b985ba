"""Box plots with every study as a dot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gliodistill.reports.charts.axes import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    chart,
    drawing,
    frame,
    legend,
    no_data,
    number,
)
from gliodistill.reports.page.markup import Html, tag

DOT = 2.7
MAX_DOTS = 300
MIN_FOR_BOX = 5
Groups = Sequence[tuple[str, Sequence[tuple[str, Sequence[float]]]]]


@dataclass(frozen=True)
class Box:
    """A box plot's numbers (Tukey 1977).

    Attributes:
        median, low, high: median and quartiles (linear interpolation).
        whisker_low, whisker_high: the outermost values within 1.5 interquartile ranges of the
            quartiles.
        mean: arithmetic mean.
        fence: three interquartile ranges above the upper quartile, the limit of "far out" values.
    """

    median: float
    low: float
    high: float
    whisker_low: float
    whisker_high: float
    mean: float
    fence: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Box":
        """The box of at least one finite value."""
        low, median, high = (float(v) for v in np.percentile(values, (25, 50, 75)))
        reach = 1.5 * (high - low)
        within = [value for value in values if low - reach <= value <= high + reach]
        return cls(
            median,
            low,
            high,
            min(within),
            max(within),
            math.fsum(values) / len(values),
            high + 2 * reach,
        )


def distribution_chart(
    groups: Groups,
    title: str,
    y_label: str,
    *,
    y_range: tuple[float, float] | None = None,
    studies: Sequence[str] = (),
) -> Html:
    """Box and strip plots side by side, e.g. per region, or per region and model.

    The box spans the quartiles, its line is the median, the diamond the mean; whiskers as Tukey's.
    Below five values there is no box. Above 300 only the dots beyond the whiskers are drawn (the
    description says so). Without ``y_range`` the axis ends at the largest value that is not far
    out. Values beyond are triangles at the edge and counted below, so that a penalty of 374 mm does
    not compress the rest.

    Args:
        groups: (group, [(name, values), …]), every group with the same names in the same order;
            non-finite values are omitted.
        title: above the chart.
        y_label: what the axis shows, with the unit.
        y_range: fixed ends of the axis.
        studies: id of each value, for the dots' tooltips; as long as the values, or empty.
    """
    names = [name for name, _ in groups[0][1]] if groups else []
    members = [(group, index, [(v, order) for order, v in enumerate(values) if math.isfinite(v)])
               for group, series in groups for index, (_, values) in enumerate(series)]  # fmt: skip
    boxes = [Box.of([value for value, _ in found]) if found else None for _, _, found in members]
    everything = [value for _, _, found in members for value, _ in found]
    if not everything:
        return no_data(title, y_label)
    low, high = y_range or _ends(everything, [box for box in boxes if box is not None])
    y_axis = Axis(low, high, HEIGHT - BOTTOM, TOP, round_out=y_range is None)
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    step = slot / (len(names) + (0.35 if len(names) > 1 else 0))
    half = min(step * 0.4, 42.0)
    parts = [frame(None, y_axis, "")]
    for position, (group, series) in enumerate(groups):
        shown = max(sum(map(math.isfinite, values)) for _, values in series)
        middle = f"{LEFT + (position + 0.5) * slot:.1f}"
        parts.append(
            tag(
                "text",
                group,
                x=middle,
                y=HEIGHT - BOTTOM + 19,
                text_anchor="middle",
                class_="label",
            )
        )
        parts.append(
            tag("text", f"n = {shown}", x=middle, y=HEIGHT - BOTTOM + 35, text_anchor="middle")
        )
    for order, ((group, index, found), box) in enumerate(zip(members, boxes, strict=True)):
        if box is None:
            continue
        centre = LEFT + (order // len(names) + 0.5) * slot + (index - (len(names) - 1) / 2) * step
        if len(found) >= MIN_FOR_BOX:
            parts.append(_box(box, y_axis, centre, half, index))
        drawn = [
            (v, at)
            for v, at in found
            if len(found) <= MAX_DOTS or not box.whisker_low <= v <= box.whisker_high
        ]
        places = _swarm([y_axis.place(value) for value, _ in drawn], half)
        for (value, at), offset in zip(drawn, places, strict=True):
            name = ", ".join(
                word
                for word in (
                    studies[at] if studies else "",
                    names[index] if len(names) > 1 else "",
                    group,
                )
                if word
            )
            parts.append(_dot(f"{name}: {number(value)}", centre + offset, value, y_axis, index))
    notes = _notes(members, names, y_axis)
    return chart(
        title,
        y_label,
        drawing(title, parts, described=_described(members, boxes, names)),
        legend(names, dots=True) if len(names) > 1 else "",
        tag("p", notes, class_="muted") if notes else "",
    )


def _ends(values: Sequence[float], boxes: Sequence[Box]) -> tuple[float, float]:
    fence = max(max(box.fence, box.mean) for box in boxes)
    within = [value for value in values if value <= fence] or list(values)
    return (0.0 if min(within) >= 0 else min(within)), max(within)


def _box(box: Box, axis: Axis, centre: float, half: float, index: int) -> Html:
    def level(value: float, reach: float, kind: str | None = None) -> Html:
        y = f"{axis.place(value):.1f}"
        return tag(
            "line", class_=kind, x1=f"{centre - reach:.1f}", x2=f"{centre + reach:.1f}", y1=y, y2=y
        )

    def upright(start: float, end: float) -> Html:
        x = f"{centre:.1f}"
        return tag("line", x1=x, x2=x, y1=f"{axis.place(start):.1f}", y2=f"{axis.place(end):.1f}")

    top, bottom, mean = axis.place(box.high), axis.place(box.low), axis.place(box.mean)
    diamond = f"M{centre:.1f} {mean - 5:.1f}l5 5l-5 5l-5 -5z"
    return tag(
        "g",
        upright(box.high, box.whisker_high),
        upright(box.low, box.whisker_low),
        level(box.whisker_high, half * 0.4),
        level(box.whisker_low, half * 0.4),
        tag(
            "rect",
            x=f"{centre - half:.1f}",
            y=f"{top:.1f}",
            width=f"{2 * half:.1f}",
            height=f"{max(bottom - top, 0.5):.1f}",
            rx=2,
        ),
        level(box.median, half, "median"),
        tag("path", d=diamond, class_="diamond"),
        class_=f"box c{index % COLOURS}",
    )


def _dot(name: str, x: float, value: float, axis: Axis, index: int) -> Html:
    y, colour = axis.place(value), f"strip c{index % COLOURS}"
    if axis.holds(value):
        return tag("circle", tag("title", name), class_=colour, r=DOT, cx=f"{x:.1f}", cy=f"{y:.1f}")
    tip = -8 if value > axis.high else 8
    return tag(
        "path", tag("title", name), class_=f"{colour} beyond", d=f"M{x - 4:.1f} {y:.1f}h8l-4 {tip}z"
    )


def _swarm(heights: Sequence[float], half: float) -> list[float]:
    """Offsets that separate dots, each as close to the centre as possible."""
    placed: list[tuple[float, float]] = []
    offsets = [0.0] * len(heights)
    width = 2 * DOT + 0.4
    tries = [
        sign * step * width / 2 for step in range(int(2 * half / width) + 1) for sign in (1, -1)
    ]
    for order in sorted(range(len(heights)), key=lambda i: (heights[i], i)):
        y = heights[order]
        near = [(x, other) for x, other in placed if abs(other - y) < width]
        # In a full row, dots overlap at the centre.
        offsets[order] = next(
            (x for x in tries if all(math.hypot(x - a, y - b) >= width for a, b in near)), 0.0
        )
        placed.append((offsets[order], y))
    return offsets


Members = Sequence[tuple[str, int, Sequence[tuple[float, int]]]]


def _notes(members: Members, names: Sequence[str], axis: Axis) -> str:
    beyond = []
    for group, index, found in members:
        outside = [value for value, _ in found if not axis.holds(value)]
        if outside:
            name = f"{group}, {names[index]}" if len(names) > 1 else group
            span = (
                number(min(outside))
                if min(outside) == max(outside)
                else f"{number(min(outside))} to {number(max(outside))}"
            )
            beyond.append(f"{name} {len(outside)} ({span})")
    return f"Beyond the axis: {'; '.join(beyond)}." if beyond else ""


def _described(members: Members, boxes: Sequence[Box | None], names: Sequence[str]) -> str:
    words = [
        f"{group}{', ' + names[index] if len(names) > 1 else ''}: "
        + (
            f"n {len(found)}, median {number(box.median)}, quartiles {number(box.low)} to"
            f" {number(box.high)}"
            if box
            else "no value"
        )
        for (group, index, found), box in zip(members, boxes, strict=True)
    ]
    if any(len(found) > MAX_DOTS for _, _, found in members):
        words.append("of many studies only those beyond the whiskers are dots")
    return "; ".join(words)
