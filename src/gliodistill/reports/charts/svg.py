"""A line chart as SVG, with the page's colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.reports.charts.axes import (
    BOTTOM,
    COLOURS,
    DASHES,
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

MAX_POINTS = 300


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: in the legend.
        x, y: of the same length; non-finite points break the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    series: Sequence[Series],
    title: str,
    x_label: str,
    y_label: str,
    *,
    y_range: tuple[float, float] | None = None,
) -> Html:
    """A line chart with axes, grid and legend.

    Series with more than 300 points are drawn as means of equal bins (e.g. a training loss per
    step); the description in the SVG says so. Lines differ in colour and dash.

    Args:
        series: lines, drawn in this order.
        title: above the chart and in its accessible name.
        x_label: what the x axis shows, with the unit.
        y_label: that of the y axis.
        y_range: fixed ends of the y axis; otherwise from the data.
    """
    lines = [_thin(_finite_runs(one)) for one in series]
    points = [point for runs in lines for run in runs for point in run]
    if not points:
        return no_data(title, y_label)
    ys = [y for _, y in points]
    every_x = [
        float(x) for one in series for x in one.x if math.isfinite(x)
    ]  # before thinning, so that the axis starts at the first point
    x_axis = Axis(min(every_x), max(every_x), LEFT, WIDTH - RIGHT)
    low, high = y_range or (min(ys), max(ys))
    y_axis = Axis(low, high, HEIGHT - BOTTOM, TOP, round_out=y_range is None)
    parts = [frame(x_axis, y_axis, x_label)]
    for index, runs in enumerate(lines):
        for run in runs:
            path = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in run)
            style = {
                "class_": f"line c{index % COLOURS}",
                "stroke_dasharray": DASHES[index % COLOURS] or None,
            }
            parts.append(tag("polyline", points=path, **style))
        if sum(map(len, runs)) <= 40:
            parts += [
                tag("circle", tag("title", (
                    f"{series[index].name}: {number(x)}, {number(y)}"
                )), class_=f"dot c{index % COLOURS}", r=2.6,
                    cx=f"{x_axis.place(x):.1f}", cy=f"{y_axis.place(y):.1f}")
                for run in runs for x, y in run
            ]  # fmt: skip
    described = "; ".join(
        f"{one.name}: last {number(runs[-1][-1][1])}"
        for one, runs in zip(series, lines, strict=True)
        if runs
    )
    if any(len(one.x) > MAX_POINTS for one in series):
        described += f"; shown as means of at most {MAX_POINTS} bins"
    return chart(
        title,
        y_label,
        drawing(title, parts, described=described),
        legend([one.name for one in series]),
    )


def _finite_runs(one: Series) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(one.x, one.y, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thin(runs: list[list[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    size = math.ceil(sum(map(len, runs)) / MAX_POINTS)
    if size <= 1:
        return runs
    bins = [[run[at : at + size] for at in range(0, len(run), size)] for run in runs]
    return [
        [(math.fsum(x for x, _ in b) / len(b), math.fsum(y for _, y in b) / len(b)) for b in run]
        for run in bins
    ]
