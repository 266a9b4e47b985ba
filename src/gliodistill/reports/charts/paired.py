"""Paired values of every study, joined by a line from model to model."""

from collections.abc import Mapping, Sequence

from gliodistill.reports.charts.axes import (
    BOTTOM,
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
    minus,
    no_data,
)
from gliodistill.reports.charts.distributions import Box
from gliodistill.reports.page.markup import Html, tag

MAX_DOTTED = 300
"""Above this number of studies only lines are shown."""


def paired_chart(
    values: Mapping[str, Sequence[float]],
    studies: Sequence[str],
    title: str,
    y_label: str,
    *,
    higher_is_better: bool,
    y_range: tuple[float, float] | None = None,
    form: str = ".3g",
) -> Html:
    """One column per model, one line per study; colour and dash show whether the right end is
    better.

    Without ``y_range`` the axis ends at the largest value that is not far out (three interquartile
    ranges above the upper quartile): values beyond are shown at the edge and counted below.

    Args:
        values: model → value of each study, all finite, all of one length.
        studies: ids of the values.
        title: above the chart.
        y_label: what the axis shows, with the unit.
        higher_is_better: which direction is better.
        y_range: fixed ends of the axis.
        form: format of a value.
    """
    if not studies:
        return no_data(title, y_label)
    names, columns = list(values), list(values.values())
    everything = [value for column in columns for value in column]
    fence = Box.of(everything).fence
    means = [sum(column) / len(column) for column in columns]
    low, high = y_range or (
        min(everything),
        max([value for value in everything if value <= fence] + means),
    )
    y_axis = Axis(low, high, HEIGHT - BOTTOM, TOP, round_out=y_range is None)
    slot = (WIDTH - LEFT - RIGHT) / len(names)
    centres = [LEFT + (index + 0.5) * slot for index in range(len(names))]
    parts = [frame(None, y_axis, "")]
    parts += [
        tag(
            "text",
            tag("title", name),
            _fitted(name, slot),
            x=f"{x:.1f}",
            y=HEIGHT - BOTTOM + 20,
            text_anchor="middle",
            class_="label",
        )
        for name, x in zip(names, centres, strict=True)
    ]
    counts = [0, 0, 0]
    for study, row in zip(studies, zip(*columns, strict=True), strict=True):
        heights = [y_axis.place(value) for value in row]
        drawn = []
        for at in range(len(row) - 1):
            gain = (row[at + 1] - row[at]) * (1 if higher_is_better else -1)
            kind = 2 if gain == 0 else int(gain < 0)
            counts[kind] += 1
            ends = {
                "x1": f"{centres[at]:.1f}",
                "x2": f"{centres[at + 1]:.1f}",
                "y1": f"{heights[at]:.1f}",
                "y2": f"{heights[at + 1]:.1f}",
            }
            stroke = {
                "stroke_width": 1.3,
                "stroke_opacity": 0.6,
                "stroke_dasharray": "5 3" if kind == 1 else None,
            }
            drawn.append(tag("line", class_="grid" if kind == 2 else f"c{kind}", **ends, **stroke))
        if len(studies) <= MAX_DOTTED:
            drawn += [
                tag("circle", class_="strip", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.4)
                for x, y in zip(centres, heights, strict=True)
            ]
        words = ", ".join(
            f"{name} {minus(f'{value:{form}}')}" for name, value in zip(names, row, strict=True)
        )
        parts.append(tag("g", tag("title", f"{study}: {words}"), *drawn))
    for x, mean in zip(centres, map(y_axis.place, means), strict=True):
        parts.append(
            tag(
                "g",
                tag("path", d=f"M{x:.1f} {mean - 6:.1f}l6 6l-6 6l-6 -6z", class_="diamond"),
                class_="box",
            )
        )
    beyond = [value for value in everything if not y_axis.holds(value)]
    notes = f"Diamond: mean of {len(studies)} studies."
    if beyond:
        notes += (
            f" At the edge: {len(beyond)} values beyond the axis, up to"
            f" {max(beyond, key=abs):{form}}."
        )
    return chart(
        title,
        y_label,
        drawing(title, parts),
        _legend(names, counts),
        tag("p", notes, class_="muted"),
    )


def _legend(names: Sequence[str], counts: Sequence[int]) -> Html:
    equal = f" ({counts[2]} equal)" if counts[2] else ""
    if len(names) == 2:
        return legend([f"{names[1]} better: {counts[0]}", f"{names[0]} better: {counts[1]}{equal}"])
    return legend([f"better than the model to the left: {counts[0]}", f"worse: {counts[1]}{equal}"])


def _fitted(name: str, width: float) -> str:
    """``name``, shortened to fit."""
    room = max(4, int(width / 7.2))
    return name if len(name) <= room else f"{name[: room - 1]}…"
