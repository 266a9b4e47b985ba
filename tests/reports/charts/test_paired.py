"""Lines that join a study's values say which end is better, and by counting how often."""

import xml.etree.ElementTree as ElementTree

import pytest

from gliodistill.reports.charts.axes import BOTTOM, HEIGHT, TOP, Axis
from gliodistill.reports.charts.paired import MAX_DOTTED, paired_chart

EVIL = '<script>alert(1)</script>&"'


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def lines(chart: ElementTree.Element) -> list[str]:
    return [
        line.attrib["class"]
        for group in chart.iter("g")
        if group.find("title") is not None
        for line in group.iter("line")
    ]


def test_two_models() -> None:
    values = {"A": [0.5, 0.6, 0.7], "B": [0.6, 0.6, 0.4]}
    chart = parsed(
        paired_chart(
            values, ["x", "y", "z"], "WT Dice", "Dice", higher_is_better=True, y_range=(0.0, 1.0)
        )
    )
    assert lines(chart) == ["c0", "grid", "c1"]
    text = " ".join(chart.itertext())
    assert "B better: 1" in text and "A better: 1 (1 equal)" in text
    assert [
        group.findtext("title") for group in chart.iter("g") if group.find("title") is not None
    ] == [
        "x: A 0.5, B 0.6",
        "y: A 0.6, B 0.6",
        "z: A 0.7, B 0.4",
    ]
    axis = Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    diamonds = [float(path.attrib["d"].split()[1].split("l")[0]) + 6 for path in chart.iter("path")]
    assert diamonds == pytest.approx([axis.place(0.6), axis.place(1.6 / 3)], abs=0.06)


def test_lower_may_be_better_and_models_may_be_many() -> None:
    chart = parsed(
        paired_chart(
            {"A": [5.0], "B": [4.0], "C": [6.0]}, ["x"], "WT HD95", "mm", higher_is_better=False
        )
    )
    assert lines(chart) == ["c0", "c1"]
    assert "better than the model to the left: 1" in " ".join(chart.itertext())


def test_what_is_far_out_lies_at_the_edge_and_is_counted() -> None:
    values = {"A": [1.0, 2.0, 3.0, 2.0, 1.5, 2.5, 2.2], "B": [1.0, 2.0, 3.0, 2.0, 1.5, 2.5, 374.0]}
    chart = parsed(
        paired_chart(values, list("abcdefg"), "WT HD95", "mm", higher_is_better=False, form=".2f")
    )
    text = " ".join(chart.itertext())
    assert "At the edge: 1 values beyond the axis, up to 374.00." in text
    assert max(float(line.attrib["y1"]) for line in chart.iter("line")) <= HEIGHT - BOTTOM + 0.1


def test_no_study_and_very_many() -> None:
    assert "No data." in paired_chart({"A": [], "B": []}, [], "WT", "Dice", higher_is_better=True)
    n = MAX_DOTTED + 1
    many = paired_chart(
        {"A": [0.5] * n, "B": [0.6] * n}, ["s"] * n, "WT", "Dice", higher_is_better=True
    )
    assert 'class="strip"' not in many and lines(parsed(many)) == ["c0"] * n


def test_names_are_text() -> None:
    chart = paired_chart({EVIL: [0.5], "B" * 80: [0.6]}, [EVIL], EVIL, EVIL, higher_is_better=True)
    assert "<script" not in chart
    parsed(chart)
    assert "…" in chart  # a long name is cut where it would meet its neighbour
