"""Tables: the right numbers in words a reader knows."""

import xml.etree.ElementTree as ElementTree

import pytest

from gliodistill.evaluation.statistics import PairedDifference
from gliodistill.reports.page.tables import (
    ModelRow,
    count,
    duration,
    score_table,
    settings_table,
    tiles,
)

ROWS = [
    ModelRow(
        "Teacher",
        16_000_000,
        {"WT": [0.9, 0.8], "TC": [0.7, 0.9], "ET": []},
        1.2e12,
        8.4,
        teacher=True,
    ),
    ModelRow(
        "Student",
        1_760_000,
        {"WT": [0.9, 0.9], "TC": [0.6, float("nan"), 0.8], "ET": [0.5]},
        difference={"WT": PairedDifference(0.031, -0.002, 0.06, 0.2)},
    ),
]


def cells(markup: str) -> list[list[str]]:
    root = ElementTree.fromstring(f"<div>{markup}</div>")
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_score_table_cells() -> None:
    _, teacher, student = cells(score_table(ROWS))
    # sample standard deviation of (0.9, 0.8) is 0.0707, of (0.7, 0.9) and of (0.6, 0.8) 0.1414
    assert teacher == [
        "Teacher",
        "16.0 M",
        "1.20 T",
        "8.40 s",
        "0.850 ± 0.071",
        "0.800 ± 0.141",
        "–",
    ]
    assert student[:2] == ["Student", "1.76 M11 % of the teacher’s"]
    assert student[2:4] == ["–", "–"]
    assert student[4] == "0.900 ± 0.000Δ +0.031 [−0.002, +0.060]"
    assert student[5:] == ["0.700 ± 0.141", "0.500"]


def test_the_best_mean_of_a_column_is_bold() -> None:
    root = ElementTree.fromstring(f"<div>{score_table(ROWS)}</div>")
    assert [b.text for b in root.iter("b")] == ["0.800", "0.900", "0.500"]


def test_the_note_explains_what_the_table_shows() -> None:
    assert "95 % bootstrap" in score_table(ROWS, note="Five studies.")
    assert "bootstrap" not in score_table(ROWS[:1])
    assert "Five studies." in score_table(ROWS, note="Five studies.")


def test_no_teacher_no_share() -> None:
    assert "teacher’s" not in score_table(ROWS[1:])


def test_markup_in_a_name_is_text() -> None:
    for markup in (
        score_table([ModelRow("<b>x</b>", 1, {}, note="<i>")]),
        tiles([("<a>", "<b>", "<c>")]),
        settings_table({"<k>": "<script>"}, "<t>"),
    ):
        assert not any(
            part in markup for part in ("<b>x", "<i>", "<a>", "<c>", "<k>", "<script>", "<t>")
        )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (1234, "1.23 k"),
        (999_600, "1.00 M"),
        (31.2e6, "31.2 M"),
        (1.4e11, "140 G"),
        (2.5e12, "2.50 T"),
    ],
)
def test_count(number: float, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0432, "43.2 ms"),
        (0.43, "430 ms"),
        (1.2, "1.20 s"),
        (75.04, "75.0 s"),
        (500, "8 min 20 s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
