"""Box and strip plots: the dots are the studies, the box is Tukey's, nothing is hidden."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from gliodistill.reports.charts.axes import BOTTOM, HEIGHT, TOP
from gliodistill.reports.charts.distributions import MAX_DOTS, Box, distribution_chart

BASE = HEIGHT - BOTTOM


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def dots(chart: ElementTree.Element) -> list[ElementTree.Element]:
    return [c for c in chart.iter("circle") if c.attrib["class"].startswith("strip")]


def test_every_value_is_a_dot_where_the_axis_says() -> None:
    values = [0.2, 0.4, 0.9]
    chart = parsed(
        distribution_chart([("WT", [("one", values), ("two", [])])], "t", "Dice", y_range=(0, 1))
    )
    heights = [float(dot.attrib["cy"]) for dot in dots(chart)]
    assert heights == pytest.approx([BASE - v * (BASE - TOP) for v in values], abs=0.06)
    assert not list(chart.iter("rect"))  # three values make no box


def test_box_of_the_textbook() -> None:
    # Moore & McCabe's method differs; these are linear quartiles, by hand: 1 … 9 have 3, 5, 7 and
    # reach 1 … 9; 30 lies out.
    box = Box.of([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert (box.low, box.median, box.high, box.whisker_low, box.whisker_high, box.mean) == (
        3,
        5,
        7,
        1,
        9,
        5,
    )
    box = Box.of([1, 2, 3, 4, 5, 6, 7, 8, 30])
    assert (box.whisker_high, box.fence) == (8, 7 + 3 * 4)


def test_box_median_and_mean_are_drawn_at_their_values() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 1.0]
    chart = parsed(distribution_chart([("WT", [("a", values)])], "t", "Dice", y_range=(0, 1)))
    (median,) = [line for line in chart.iter("line") if line.attrib.get("class") == "median"]
    assert float(median.attrib["y1"]) == pytest.approx(BASE - 0.3 * (BASE - TOP), abs=0.06)
    (rect,) = chart.iter("rect")
    assert float(rect.attrib["y"]) == pytest.approx(BASE - 0.4 * (BASE - TOP), abs=0.06)
    assert float(rect.attrib["height"]) == pytest.approx(0.2 * (BASE - TOP), abs=0.11)


def test_far_out_values_are_marked_and_counted_not_dropped() -> None:
    values = [2.0, 3.0, 4.0, 5.0, 6.0, 374.0, 374.0]
    text = distribution_chart(
        [("WT", [("a", [2.0, 3, 4, 5, 6])]), ("ET", [("a", values)])], "t", "HD95, mm"
    )
    assert "n = 7" in text
    assert (
        "Beyond the axis" not in text
    )  # two of seven stretch the quartiles: that is what the box must show
    text = distribution_chart(
        [("ET", [("a", [*values[:5] * 2, 374.0])])],
        "t",
        "HD95, mm",
        studies=[f"s{i}" for i in range(11)],
    )
    assert "Beyond the axis: ET 1 (374)." in text
    assert 'class="strip c0 beyond"' in text
    assert "s10, ET: 374" in text


def test_dots_do_not_cover_each_other() -> None:
    chart = parsed(distribution_chart([("WT", [("a", [0.5] * 9)])], "t", "Dice", y_range=(0, 1)))
    places = [(float(d.attrib["cx"]), float(d.attrib["cy"])) for d in dots(chart)]
    assert min(math.dist(a, b) for i, a in enumerate(places) for b in places[:i]) >= 5.4


def test_of_many_studies_only_the_outlying_are_dots_and_it_says_so() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, MAX_DOTS + 700).tolist()
    chart = parsed(distribution_chart([("WT", [("a", values)])], "t", "Dice", y_range=(0, 1)))
    low, high = np.percentile(values, 25), np.percentile(values, 75)
    outlying = [v for v in values if v < low - 1.5 * (high - low) or v > high + 1.5 * (high - low)]
    assert len(dots(chart)) == len(outlying) > 0
    assert "only those beyond the whiskers" in (chart.findtext(".//desc") or "")


def test_undefined_values_are_left_out_and_names_are_text() -> None:
    evil = '<script>alert(1)</script>&"'
    text = distribution_chart(
        [(evil, [(evil, [0.5, math.nan]), ("b", [0.1, 0.2])])], evil, evil, studies=[evil, "x"]
    )
    assert "<script" not in text
    assert "nan" not in text
    assert len(dots(parsed(text))) == 3
    assert "No data." in distribution_chart([("WT", [("a", [math.nan])])], "t", "y")
    assert "No data." in distribution_chart([], "t", "y")
