"""Charts: points where they belong, ticks that are round, no way to smuggle markup in."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from gliodistill.reports.charts.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from gliodistill.reports.charts.svg import MAX_POINTS, Series, line_chart


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def lines_of(markup: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
        for line in parsed(markup).iter("polyline")
    ]  # type: ignore[misc]


def test_points_lie_where_the_axes_say() -> None:
    chart = line_chart(
        [Series("a", [0, 5, 10], [0.0, 0.25, 1.0])], "Dice", "step", "Dice", y_range=(0, 1)
    )
    base, left, right = HEIGHT - BOTTOM, LEFT, WIDTH - RIGHT
    expected = [(left, base), ((left + right) / 2, base - 0.25 * (base - TOP)), (right, TOP)]
    for point, place in zip(lines_of(chart)[0], expected, strict=True):
        assert point == pytest.approx(place, abs=0.06)


def test_ticks_are_round_alike_and_inside() -> None:
    chart = line_chart(
        [Series("a", list(range(0, 950, 50)), [0.013 * i + 0.1 for i in range(19)])],
        "t",
        "step",
        "loss",
    )
    labels = [text.text for text in parsed(chart).iter("text")]
    assert labels == [
        "0.10",
        "0.15",
        "0.20",
        "0.25",
        "0.30",
        "0.35",
        "0",
        "200",
        "400",
        "600",
        "800",
        "step",
    ]


def test_what_is_not_finite_breaks_the_line() -> None:
    chart = line_chart(
        [Series("a", [0, 1, 2, 3, 4], [1.0, 2.0, math.nan, 3.0, 4.0])], "t", "x", "y"
    )
    assert [len(line) for line in lines_of(chart)] == [2, 2]
    assert "nan" not in chart


def test_long_series_are_drawn_as_means_of_bins_and_say_so() -> None:
    chart = line_chart(
        [Series("a", list(range(3000)), [float(i % 2) for i in range(3000)])], "t", "x", "y"
    )
    line = lines_of(chart)[0]
    assert len(line) == MAX_POINTS
    assert len({y for _, y in line}) == 1  # ten points a bin, half of them 1
    assert "means" in (parsed(chart).find(".//desc").text or "")  # type: ignore[union-attr]


def test_lines_differ_by_dash_as_well_as_colour() -> None:
    chart = line_chart([Series(str(i), [0, 1], [i, i]) for i in range(3)], "t", "x", "y")
    drawn = [
        (line.attrib["class"], line.attrib.get("stroke-dasharray"))
        for line in parsed(chart).iter("polyline")
    ]
    assert len(set(drawn)) == len({dash for _, dash in drawn}) == 3


def test_a_single_point_and_a_flat_line_and_nothing() -> None:
    assert "NaN" not in line_chart([Series("a", [3], [0.5])], "t", "x", "y")
    assert len(lines_of(line_chart([Series("a", [0, 1], [2.0, 2.0])], "t", "x", "y"))) == 1
    assert "No data." in line_chart([], "t", "x", "y")
    assert "No data." in line_chart([Series("a", [0], [math.nan])], "t", "x", "y")


def test_names_cannot_become_markup() -> None:
    evil = '<script>alert(1)</script>&"'
    chart = line_chart([Series(evil, [0, 1], [0, 1])], evil, evil, evil)
    assert "<script" not in chart
    assert evil in "".join(parsed(chart).itertext())


def test_unequal_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        line_chart([Series("a", [0, 1], [1.0])], "t", "x", "y")


def test_charts_are_accessible_and_deterministic() -> None:
    def draw() -> str:
        return line_chart([Series("a", [0, 1], [0.0, 1.0])], "Dice on validation", "step", "Dice")

    assert draw() == draw()
    svg = parsed(draw()).find("svg")
    assert svg is not None
    assert svg.attrib["role"] == "img"
    assert svg.findtext("title") == "Dice on validation"
    assert re.search(r"a: last 1", svg.findtext("desc") or "")
