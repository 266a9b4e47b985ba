"""Bland–Altman, reliability, forest: the figures in words and marks are the right ones."""

import xml.etree.ElementTree as ElementTree

import pytest

from gliodistill.evaluation.calibration import Bin
from gliodistill.reports.charts.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, minus
from gliodistill.reports.charts.bland_altman import agreement, bland_altman_chart
from gliodistill.reports.charts.forest import Estimate, forest_table
from gliodistill.reports.charts.reliability import reliability_chart

EVIL = '<script>alert(1)</script>&"'


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def test_limits_of_agreement() -> None:
    # differences 1, 2, 3: mean 2, sample standard deviation 1
    assert agreement([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 1.96, 2.0 + 1.96))
    assert agreement([4.0]) == (4.0, None, None)


def test_bland_altman_says_and_draws_bias_and_limits() -> None:
    chart = parsed(
        bland_altman_chart(
            [11.0, 22.0, 33.0, float("nan")],
            [10.0, 20.0, 30.0, 1.0],
            "WT",
            "ml",
            studies=["a", "b", "c", "d"],
        )
    )
    assert "Bias +2.0 ml, 95 % limits of agreement +0.0 to +4.0 ml, n = 3." in "".join(
        chart.itertext()
    )
    dots = [c for c in chart.iter("circle")]
    assert len(dots) == 3
    assert dots[0].findtext("title") == "a: prediction 11.0, reference 10.0 ml"
    axis = Axis(0.0, 1.04 * 31.5, LEFT, WIDTH - RIGHT)
    assert [float(d.attrib["cx"]) for d in dots] == pytest.approx(
        [axis.place(mean) for mean in (10.5, 21, 31.5)], abs=0.06
    )
    lines = {line.attrib["class"]: float(line.attrib["y1"]) for line in chart.iter("line")}
    assert lines["bias c0"] == pytest.approx(
        float(dots[1].attrib["cy"]), abs=0.06
    )  # the second difference is the bias


def test_bland_altman_of_one_of_none_and_of_equals() -> None:
    assert "Bias +1.0 ml, n = 1." in bland_altman_chart([2.0], [1.0], "WT", "ml")
    assert "No data." in bland_altman_chart([], [], "WT", "ml")
    assert "nan" not in bland_altman_chart([0.0, 0.0], [0.0, 0.0], "WT", "ml").lower()


def test_reliability_draws_the_bins_that_hold_voxels() -> None:
    bins = [Bin(900, 0.05, 0.0), Bin(0, None, None), Bin(100, 0.9, 0.6)]
    chart = parsed(reliability_chart([("WT", bins)], "t"))
    dots = [c for c in chart.iter("circle") if c.find("title") is not None]
    assert [c.findtext("title") for c in dots] == [
        "WT: predicted 0.050, observed 0.000, 900 voxels",
        "WT: predicted 0.900, observed 0.600, 100 voxels",
    ]
    assert float(dots[1].attrib["cy"]) == pytest.approx(
        HEIGHT - BOTTOM - 0.6 * (HEIGHT - BOTTOM - TOP), abs=0.06
    )
    assert float(dots[0].attrib["r"]) > float(dots[1].attrib["r"])
    assert "No data." in reliability_chart([("WT", [])], "t")


def test_forest_marks_the_intervals_that_leave_no_difference_out() -> None:
    rows = [
        Estimate("one", 0.03, 0.01, 0.05, "p = 0.01", "WT"),
        Estimate("two", -0.01, -0.04, 0.02, "p = 0.6", "WT"),
    ]
    table = parsed(forest_table(rows, "Dice", note="Wilcoxon"))
    marks = [c.attrib["class"] for c in table.iter("circle")]
    assert marks == ["estimate clear", "estimate"]
    words = ["".join(row.itertext()) for row in table.iter("tr")]
    assert words[2] == "one+0.030[+0.010, +0.050]p = 0.01"
    assert words[3] == "two−0.010[−0.040, +0.020]p = 0.6"
    assert words.count("WT") == 1
    assert forest_table([], "t") == ""


def test_names_cannot_become_markup() -> None:
    for text in (
        bland_altman_chart([1.0], [2.0], EVIL, EVIL, labels=(EVIL, EVIL), studies=[EVIL]),
        reliability_chart([(EVIL, [Bin(3, 0.1, 0.1)])], EVIL),
        forest_table(
            [Estimate(EVIL, 0.0, -1.0, 1.0, EVIL, EVIL)],
            EVIL,
            estimate=EVIL,
            note=EVIL,
            worse_better=(EVIL, EVIL),
        ),
    ):
        assert "<script" not in text
        assert EVIL in "".join(parsed(text).itertext())


@pytest.mark.parametrize(
    ("text", "shown"), [("-0.000", "0.000"), ("-1.5", "−1.5"), ("+0.0", "+0.0"), ("-10", "−10")]
)
def test_minus(text: str, shown: str) -> None:
    assert minus(text) == shown
