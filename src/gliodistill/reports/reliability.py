"""Reliability curve: where the network says 80 %, is it right 80 times in a hundred?"""

from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.reports.axes import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, chart, drawing, frame, legend, no_data
from gliodistill.reports.markup import Html, tag


@dataclass(frozen=True)
class ReliabilityBin:
    """Voxels of like probability.

    Attributes:
        probability: their mean predicted probability, 0 … 1.
        frequency: the share of them that truly belongs to the region, 0 … 1.
        count: how many they are; empty bins are not drawn.
    """

    probability: float
    frequency: float
    count: int


def reliability_chart(curves: Sequence[tuple[str, Sequence[ReliabilityBin]]], title: str) -> Html:
    """Observed frequency over predicted probability; the diagonal is perfect calibration (DeGroot & Fienberg 1983).

    The area of a dot grows with its bin's share of the voxels, down to a smallest that can still be seen.

    Args:
        curves: (name, bins from low to high probability); drawn in this order.
        title: above the chart.
    """
    y_label = "observed frequency"
    drawn = [(name, [one for one in bins if one.count]) for name, bins in curves]
    if not any(bins for _, bins in drawn):
        return no_data(title, y_label)
    x_axis, y_axis = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    parts = [
        frame(x_axis, y_axis, "predicted probability"),
        tag("line", class_="limit ideal", x1=LEFT, y1=HEIGHT - BOTTOM, x2=WIDTH - RIGHT, y2=TOP),
    ]
    for index, (name, bins) in enumerate(drawn):
        colour, most = f"c{index % COLOURS}", max((one.count for one in bins), default=1)
        places = [(x_axis.place(one.probability), y_axis.place(one.frequency)) for one in bins]
        parts.append(tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=f"line {colour}"))
        for one, (x, y) in zip(bins, places, strict=True):
            text = f"{name}: predicted {one.probability:.3f}, observed {one.frequency:.3f}, {one.count:,} voxels"
            radius = max(2.4, 7.0 * (one.count / most) ** 0.5)
            parts.append(tag("circle", tag("title", text), class_=f"dot {colour}", r=f"{radius:.1f}", cx=f"{x:.1f}", cy=f"{y:.1f}"))
    described = "; ".join(f"{name}: {len(bins)} bins" for name, bins in drawn)
    return chart(title, y_label, drawing(title, parts, described=described), legend([name for name, _ in drawn], dots=True))
