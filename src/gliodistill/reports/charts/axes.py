"""Parts of all charts: axes with round ticks, frame, legend, figure."""

import math
from collections.abc import Iterable, Sequence

from gliodistill.reports.page.markup import Html, join, tag

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4")
COLOURS = len(DASHES)
"""Number of colours (classes ``c0`` …) and dashes in the style sheet."""


class Axis:
    """Maps values to pixels, with round ticks.

    Args:
        low, high: values at its ends; separated if equal.
        start, end: pixels of its ends.
        round_out: move the ends outwards to ticks.
    """

    def __init__(
        self, low: float, high: float, start: float, end: float, *, round_out: bool = False
    ) -> None:
        if high <= low:
            low, high = low - 0.5, high + 0.5
        raw = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        self.step = power * min((1, 2, 5, 10), key=lambda nice: (nice * power < raw * 0.999, nice))
        if round_out:
            low, high = (
                math.floor(low / self.step + 1e-9) * self.step,
                math.ceil(high / self.step - 1e-9) * self.step,
            )
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        """Pixel of ``value``, clipped to the axis."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies on the axis."""
        return self.low <= value <= self.high

    def text(self, value: float) -> str:
        """A tick's label, with as many decimals as the step needs, the same for all labels."""
        if max(abs(self.low), abs(self.high)) >= 10_000:
            return number(value)
        return minus(f"{value:.{max(0, -math.floor(math.log10(self.step) + 1e-9))}f}")

    @property
    def ticks(self) -> list[float]:
        """Round values on the axis, ascending."""
        first, last = (
            math.ceil(self.low / self.step - 1e-9),
            math.floor(self.high / self.step + 1e-9),
        )
        return [index * self.step for index in range(first, last + 1)]


def frame(x_axis: Axis | None, y_axis: Axis, x_label: str) -> Html:
    """Grid lines and labels of a chart ``WIDTH`` × ``HEIGHT``; without an x axis, only its base
    line.
    """
    parts = []
    for value in y_axis.ticks:
        y = f"{y_axis.place(value):.1f}"
        parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(
            tag("text", y_axis.text(value), x=LEFT - 7, y=f"{float(y) + 4:.1f}", text_anchor="end")
        )
    base = HEIGHT - BOTTOM
    if x_axis is not None:
        for value in x_axis.ticks:
            x = f"{x_axis.place(value):.1f}"
            parts.append(tag("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
            parts.append(tag("text", x_axis.text(value), x=x, y=base + 18, text_anchor="middle"))
    parts.append(tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base))
    parts.append(
        tag(
            "text",
            x_label,
            x=(LEFT + WIDTH - RIGHT) / 2,
            y=HEIGHT - 8,
            text_anchor="middle",
            class_="label",
        )
    )
    return join(*parts)


def drawing(
    title: str, parts: Iterable[Html], *, described: str = "", height: int = HEIGHT
) -> Html:
    """The SVG itself, ``WIDTH`` wide, with its accessible name and description."""
    description = tag("desc", described) if described else ""
    return tag(
        "svg", tag("title", title), description, *parts, viewBox=f"0 0 {WIDTH} {height}", role="img"
    )


def legend(names: Sequence[str], *, dots: bool = False) -> Html:
    """Legend of colours and dashes, in order."""
    entries = []
    for index, name in enumerate(names):
        mark = (
            tag("circle", class_=f"spot c{index % COLOURS}", cx=8, cy=6, r=4)
            if dots
            else tag(
                "line",
                class_=f"line c{index % COLOURS}",
                x1=0,
                x2=26,
                y1=6,
                y2=6,
                stroke_dasharray=DASHES[index % COLOURS] or None,
            )
        )
        width = 16 if dots else 26
        entries.append(
            tag(
                "li",
                tag(
                    "svg",
                    mark,
                    viewBox=f"0 0 {width} 12",
                    width=width,
                    height=12,
                    aria_hidden="true",
                ),
                name,
            )
        )
    return tag("ul", *entries, class_="legend")


def chart(title: str, y_label: str, *content: object) -> Html:
    """A figure: heading, y axis label, the chart and content below it."""
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", y_label, class_="muted")),
        *content,
        class_="chart",
    )


def no_data(title: str, y_label: str) -> Html:
    """A figure without data."""
    return chart(title, y_label, tag("p", "No data.", class_="muted"))


def number(value: float) -> str:
    """Up to four significant digits, thousands as ``12k``."""
    if value and abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return minus(f"{value:.4g}") if abs(value) > 1e-12 else "0"


def minus(text: str) -> str:
    """A number's text with a real minus sign, and none before a rounded zero."""
    negative_zero = text.startswith("-") and not text.strip("-0.")
    return text[1:] if negative_zero else text.replace("-", "−")
