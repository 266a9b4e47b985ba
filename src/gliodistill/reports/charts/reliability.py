"""Reliability curve: observed frequency for each predicted probability."""

from collections.abc import Sequence

from gliodistill.evaluation.calibration import Bin
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
)
from gliodistill.reports.page.markup import Html, tag


def reliability_chart(curves: Sequence[tuple[str, Sequence[Bin]]], title: str) -> Html:
    """Observed frequency over predicted probability; the diagonal is perfect calibration (DeGroot &
    Fienberg 1983).

    The area of a dot grows with its bin's share of the voxels, down to a visible minimum; empty
    bins are omitted.

    Args:
        curves: (name, bins from low to high probability); drawn in this order.
        title: above the chart.
    """
    y_label = "observed frequency"
    points = [
        (
            name,
            [
                (b.voxels, b.probability, b.frequency)
                for b in bins
                if b.probability is not None and b.frequency is not None
            ],
        )
        for name, bins in curves
    ]
    if not any(bins for _, bins in points):
        return no_data(title, y_label)
    x_axis, y_axis = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    parts = [
        frame(x_axis, y_axis, "predicted probability"),
        tag("line", class_="limit ideal", x1=LEFT, y1=HEIGHT - BOTTOM, x2=WIDTH - RIGHT, y2=TOP),
    ]
    for index, (name, bins) in enumerate(points):
        colour, most = f"c{index % COLOURS}", max((voxels for voxels, _, _ in bins), default=1)
        places = [
            (x_axis.place(probability), y_axis.place(frequency))
            for _, probability, frequency in bins
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            tag(
                "polyline",
                points=line,
                class_=f"line {colour}",
                stroke_dasharray=DASHES[index % COLOURS] or None,
            )
        )
        for (voxels, probability, frequency), (x, y) in zip(bins, places, strict=True):
            text = (
                f"{name}: predicted {probability:.3f}, observed {frequency:.3f}, {voxels:,} voxels"
            )
            radius = max(2.4, 7.0 * (voxels / most) ** 0.5)
            parts.append(
                tag(
                    "circle",
                    tag("title", text),
                    class_=f"dot {colour}",
                    r=f"{radius:.1f}",
                    cx=f"{x:.1f}",
                    cy=f"{y:.1f}",
                )
            )
    described = "; ".join(f"{name}: {len(bins)} bins" for name, bins in points)
    return chart(
        title,
        y_label,
        drawing(title, parts, described=described),
        legend([name for name, _ in points]),
    )
