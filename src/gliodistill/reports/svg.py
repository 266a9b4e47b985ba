"""Charts as plain SVG: a line chart and a strip chart, coloured by the page's own variables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.reports.markup import Html, join, tag

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4")
MAX_POINTS = 300


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: in the legend.
        x, y: of one length; points that are not finite break the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(series: Sequence[Series], title: str, x_label: str, y_label: str, *, y_range: tuple[float, float] | None = None) -> Html:
    """A line chart with axes, grid and legend.

    Series with more than 300 points are drawn as means of equal bins (a training loss per step would be a smear);
    the description in the SVG says so. Each line has its own dash as well as its own colour.

    Args:
        series: lines, drawn in this order.
        title: above the chart and in its accessible name.
        x_label: what the x axis shows, with the unit.
        y_label: the same of the y axis.
        y_range: fixed ends of the y axis; otherwise from the data.
    """
    lines = [_thin(_finite_runs(one)) for one in series]
    points = [point for runs in lines for run in runs for point in run]
    if not points:
        return _chart(title, y_label, Html(""), [tag("p", "No data.", class_="quiet")])
    ys = [y for _, y in points]
    every_x = [float(x) for one in series for x in one.x if math.isfinite(x)]  # before thinning: the axis starts where the data do
    x_axis = _Axis(min(every_x), max(every_x), LEFT, WIDTH - RIGHT)
    low, high = y_range or (min(ys), max(ys))
    y_axis = _Axis(low, high, HEIGHT - BOTTOM, TOP, round_out=y_range is None)
    parts = [_frame(x_axis, y_axis, x_label)]
    for index, runs in enumerate(lines):
        for run in runs:
            path = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in run)
            style = {"class_": f"line c{index % 5}", "stroke_dasharray": DASHES[index % 5] or None}
            parts.append(tag("polyline", points=path, **style))
        if sum(map(len, runs)) <= 40:
            parts += [
                tag("circle", tag("title", f"{series[index].name}: {_number(x)}, {_number(y)}"), class_=f"dot c{index % 5}", r=2.6,
                    cx=f"{x_axis.place(x):.1f}", cy=f"{y_axis.place(y):.1f}")
                for run in runs for x, y in run
            ]  # fmt: skip
    described = "; ".join(f"{one.name}: last {_number(runs[-1][-1][1])}" for one, runs in zip(series, lines, strict=True) if runs)
    if any(len(one.x) > MAX_POINTS for one in series):
        described += f"; drawn as means of at most {MAX_POINTS} bins"
    drawing = tag("svg", tag("title", title), tag("desc", described), *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    return _chart(title, y_label, drawing, [_legend([one.name for one in series])])


def strip_chart(groups: Sequence[tuple[str, Sequence[tuple[str, Sequence[float]]]]], title: str, y_label: str) -> Html:
    """Every single value as a dot, with a bar at the mean: honest where studies are few.

    Args:
        groups: (group, [(name, values), …]), e.g. region → model → Dice per study, 0 … 1. Every group names the
            same series in the same order.
        title: above the chart.
        y_label: what the axis shows.
    """
    names = [name for name, _ in groups[0][1]] if groups else []
    y_axis = _Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP, round_out=False)
    width = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    parts = [_frame(None, y_axis, "")]
    for position, (group, members) in enumerate(groups):
        start = LEFT + position * width
        parts.append(tag("text", group, x=f"{start + width / 2:.1f}", y=HEIGHT - BOTTOM + 20, text_anchor="middle"))
        for index, (name, values) in enumerate(members):
            centre = start + width * (index + 1) / (len(members) + 1)
            finite = [value for value in values if math.isfinite(value)]
            for order, value in enumerate(finite):
                # Dots fan out by a fixed pattern, so that equal values stay countable and the file stays the same.
                offset = ((order * 7) % 5 - 2) * min(2.6, width / 60)
                parts.append(
                    tag("circle", tag("title", f"{name}, {group}: {value:.3f}"), class_=f"spot c{index % 5}", r=3.2,
                        cx=f"{centre + offset:.1f}", cy=f"{y_axis.place(value):.1f}")
                )  # fmt: skip
            if finite:
                mean = y_axis.place(math.fsum(finite) / len(finite))
                half = width / (len(members) + 1) * 0.38
                ends = {"x1": f"{centre - half:.1f}", "x2": f"{centre + half:.1f}", "y1": f"{mean:.1f}", "y2": f"{mean:.1f}"}
                parts.append(tag("line", class_=f"mean c{index % 5}", **ends))
    drawing = tag("svg", tag("title", title), *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    return _chart(title, y_label, drawing, [_legend(names, dots=True)])


class _Axis:
    """Maps values to pixels, and knows its round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float, *, round_out: bool = False) -> None:
        if high <= low:
            low, high = low - 0.5, high + 0.5
        raw = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        self.step = power * min((1, 2, 5, 10), key=lambda nice: (nice * power < raw * 0.999, nice))
        if round_out:
            low, high = math.floor(low / self.step + 1e-9) * self.step, math.ceil(high / self.step - 1e-9) * self.step
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def text(self, value: float) -> str:
        """A tick's label, with as many decimals as the step needs, so that all labels are alike."""
        if max(abs(self.low), abs(self.high)) >= 10_000:
            return _number(value)
        return f"{value:.{max(0, -math.floor(math.log10(self.step) + 1e-9))}f}".replace("-", "−")

    @property
    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [index * self.step for index in range(first, last + 1)]


def _frame(x_axis: _Axis | None, y_axis: _Axis, x_label: str) -> Html:
    parts = []
    for value in y_axis.ticks:
        y = f"{y_axis.place(value):.1f}"
        parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(tag("text", y_axis.text(value), x=LEFT - 7, y=f"{float(y) + 4:.1f}", text_anchor="end"))
    if x_axis is not None:
        for value in x_axis.ticks:
            x = f"{x_axis.place(value):.1f}"
            parts.append(tag("line", class_="axis", x1=x, x2=x, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4))
            parts.append(tag("text", x_axis.text(value), x=x, y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    base = HEIGHT - BOTTOM
    parts.append(tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base))
    parts.append(tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, text_anchor="middle", class_="label"))
    return join(*parts)


def _legend(names: Sequence[str], *, dots: bool = False) -> Html:
    entries = []
    for index, name in enumerate(names):
        mark = (
            tag("circle", class_=f"spot c{index % 5}", cx=8, cy=6, r=4)
            if dots
            else tag("line", class_=f"line c{index % 5}", x1=0, x2=26, y1=6, y2=6, stroke_dasharray=DASHES[index % 5] or None)
        )
        width = 16 if dots else 26
        entries.append(tag("li", tag("svg", mark, viewBox=f"0 0 {width} 12", width=width, height=12, aria_hidden="true"), name))
    return tag("ul", *entries, class_="legend")


def _chart(title: str, y_label: str, drawing: Html, below: Sequence[Html]) -> Html:
    return tag("figure", tag("figcaption", tag("b", title), tag("span", y_label, class_="quiet")), drawing, *below, class_="chart")


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
    return [[(math.fsum(x for x, _ in b) / len(b), math.fsum(y for _, y in b) / len(b)) for b in run] for run in bins]


def _number(value: float) -> str:
    if value and abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}".replace("-", "−") if abs(value) > 1e-12 else "0"
