"""Bland–Altman plot: agreement of two measurements."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

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
    minus,
    no_data,
)
from gliodistill.reports.page.markup import Html, tag


class Agreement(NamedTuple):
    """Bias and 95 % limits of agreement (Bland & Altman 1986): mean ± 1.96 sample standard
    deviations.

    Attributes:
        bias: mean of ``measured - reference``.
        low, high: the limits; None for fewer than two pairs.
    """

    bias: float
    low: float | None
    high: float | None


def agreement(differences: Sequence[float]) -> Agreement:
    """Bias and limits of at least one difference."""
    bias = statistics.fmean(differences)
    if len(differences) < 2:
        return Agreement(bias, None, None)
    reach = 1.96 * statistics.stdev(differences)
    return Agreement(bias, bias - reach, bias + reach)


def bland_altman_chart(
    measured: Sequence[float],
    reference: Sequence[float],
    title: str,
    unit: str,
    *,
    labels: tuple[str, str] = ("prediction", "reference"),
    studies: Sequence[str] = (),
) -> Html:
    """Difference of two measurements against their mean, with bias and limits of agreement.

    Args:
        measured: one value per study; non-finite pairs are omitted.
        reference: the other measurement, in the same order.
        title: above the chart.
        unit: of both, e.g. ``"ml"``.
        labels: names of the two.
        studies: id of each pair, for the tooltips; of the same length, or empty.
    """
    pairs = [
        (order, (a + b) / 2, a - b)
        for order, (a, b) in enumerate(zip(measured, reference, strict=True))
        if math.isfinite(a) and math.isfinite(b)
    ]
    y_label = f"{labels[0]} − {labels[1]}, {unit}"
    if not pairs:
        return no_data(title, y_label)
    found = agreement([difference for _, _, difference in pairs])
    levels = [("mean", found.bias), ("+1.96 SD", found.high), ("−1.96 SD", found.low)]
    lines = [(name, value) for name, value in levels if value is not None]
    ends = [0.0, *(value for _, value in lines), *(difference for _, _, difference in pairs)]
    x_axis = Axis(0.0, 1.04 * max(max(mean for _, mean, _ in pairs), 1e-3), LEFT, WIDTH - RIGHT)
    y_axis = Axis(min(ends), max(ends), HEIGHT - BOTTOM, TOP, round_out=True)
    parts = [
        frame(x_axis, y_axis, f"mean of {labels[0]} and {labels[1]}, {unit}"),
        _level(y_axis, 0.0, "axis"),
    ]
    parts += [
        _level(y_axis, value, "bias c0" if name == "mean" else "limit c1") for name, value in lines
    ]
    for order, mean, difference in pairs:
        name = f"{studies[order]}: " if studies else ""
        text = f"{name}{labels[0]} {measured[order]:.1f}, {labels[1]} {reference[order]:.1f} {unit}"
        place = {"cx": f"{x_axis.place(mean):.1f}", "cy": f"{y_axis.place(difference):.1f}"}
        parts.append(tag("circle", tag("title", text), class_="strip c0", r=3, **place))
    for name, value in lines:
        # Labels of limits are on the inner side, that of the mean on the side away from zero.
        below = value == found.high or (name == "mean" and value < 0)
        height = f"{y_axis.place(value) + (13 if below else -5):.1f}"
        parts.append(
            tag(
                "text",
                f"{name} {_signed(value)}",
                x=WIDTH - RIGHT,
                y=height,
                text_anchor="end",
                class_="level",
            )
        )
    words = f"Bias {_signed(found.bias)} {unit}"
    if found.low is not None and found.high is not None:
        words += f", 95 % limits of agreement {_signed(found.low)} to {_signed(found.high)} {unit}"
    words += f", n = {len(pairs)}."
    return chart(
        title, y_label, drawing(title, parts, described=words), tag("p", words, class_="muted")
    )


def _level(axis: Axis, value: float, kind: str) -> Html:
    y = f"{axis.place(value):.1f}"
    return tag("line", class_=kind, x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)


def _signed(value: float) -> str:
    return minus(f"{value:+.1f}")
