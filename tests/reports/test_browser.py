"""Pages in a real browser: open from a file, fit narrow and wide windows, follow dark, switch
layers, sort, print.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from evaluated_cohort import BROKEN, SHIFTS
from gliodistill.evaluation.evaluate import Pairs
from gliodistill.evaluation.scores import Scores
from gliodistill.reports.charts.bland_altman import bland_altman_chart
from gliodistill.reports.charts.forest import Estimate, forest_table
from gliodistill.reports.charts.svg import Series, line_chart
from gliodistill.reports.page.html import Section, page
from gliodistill.reports.page.tables import ModelRow, score_table, settings_table, tiles
from headless import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the pieces that an evaluation does not use."""
    rows = [
        ModelRow(
            "Teacher",
            16_000_000,
            {r: [0.9, 0.8] for r in ("WT", "TC", "ET")},
            1e12,
            3.2,
            teacher=True,
        )
    ]
    sections = [
        Section("", [tiles([("Dice", "0.87", "WT")] * 4)]),
        Section(
            "Scores",
            [
                score_table(rows),
                forest_table(
                    [Estimate("WT", 0.1, -0.1, 0.3, "p = 0.2")], "Differences", note="Wilcoxon"
                ),
            ],
        ),
        Section(
            "Curves",
            [line_chart([Series("Teacher", [0, 1, 2], [0.1, 0.5, 0.6])], "Dice", "step", "Dice")]
            * 2,
            columns=True,
        ),
        Section("Agreement", [bland_altman_chart([1.0, 2.0], [1.5, 1.0], "WT", "ml")]),
        Section("Settings", [settings_table({"hash": "0123456789abcdef" * 4})]),
    ]
    path = tmp_path_factory.mktemp("parts") / "parts.html"
    path.write_text(page("Report", sections), encoding="utf-8")
    return path


def column(browser: Browser, index: int) -> list[str]:
    """The cells of one column, from top to bottom, what is pinned left out."""
    last = "Array.from(document.querySelector('table.sortable').tBodies).pop().rows"
    return browser.run(f"Array.from({last}, row => row.cells[{index}].textContent)")


@pytest.mark.parametrize("width", [320, 420, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_and_nothing_is_asked_for(
    browser: Browser, parts: Path, evaluation_page: Path, width: int, dark: bool
) -> None:
    for file in (parts, evaluation_page):
        browser.open(file, width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.complaints() == []
        assert browser.requests() == []


def test_dark_and_light(browser: Browser, evaluation_page: Path, tmp_path: Path) -> None:
    for dark in (False, True):
        browser.open(evaluation_page, 600, dark=dark)
        picture = imread(browser.screenshot(tmp_path / "shot.png", height=200))
        corner = picture[2, 2, :3]
        assert (corner.max() < 0.2) if dark else (corner.min() > 0.9)
        # Words stand out from the paper: the first heading holds pixels of the other end.
        heading = picture[20:90, :300, :3].mean(axis=2)
        assert np.ptp(heading) > 0.7


def test_a_click_sorts_and_a_second_one_turns_it_round(
    browser: Browser, evaluated: tuple[Pairs, Scores], evaluation_page: Path
) -> None:
    browser.open(evaluation_page)
    scores = {id: regions["WT"]["dice"] for id, regions in evaluated[1].studies.items()}
    worst_first = sorted(scores, key=lambda id: scores[id])
    browser.click("table.sortable th:nth-child(2) button")
    assert (
        browser.run(
            "document.querySelector('table.sortable th:nth-child(2)').getAttribute('aria-sort')"
        )
        == "ascending"
    )
    assert column(browser, 0) == worst_first
    browser.click("table.sortable th:nth-child(2) button")
    assert column(browser, 0) == worst_first[::-1]
    assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1
    # By id: as people count, not as characters do; the failed one stays on top all the time.
    browser.click("table.sortable th:first-child button")
    assert column(browser, 0)[:4] == ["case-1", "case-2", "case-3", "case-4"]
    assert column(browser, 0)[5:] == ["case-10", "p<b>&7"]
    assert browser.run("document.querySelector('table.sortable tbody tr').textContent").startswith(
        BROKEN
    )
    assert browser.complaints() == []


def test_the_keyboard_sorts_as_well(browser: Browser, evaluation_page: Path) -> None:
    browser.open(evaluation_page)
    browser.run("document.querySelector('table.sortable th:first-child button').focus()")
    browser.press("Tab")
    browser.press("Enter")
    values = [float(value) for value in column(browser, 1)]
    assert values == sorted(values)
    assert browser.run("document.activeElement.tagName") == "BUTTON"


def test_another_view_shows_every_metric_of_one_region(
    browser: Browser, evaluation_page: Path
) -> None:
    def headings() -> list[str]:
        heads = "Array.from(document.querySelectorAll('table.sortable thead th'))"
        return browser.run(
            f"{heads}.filter(head => head.offsetParent).map(head => head.innerText.replace(/\\s+/g,"
            " ' ').trim())"
        )

    browser.open(evaluation_page)
    assert headings()[:4] == ["Study", "WT Dice", "WT HD95, mm", "WT Reference, ml"]
    assert len(headings()) == 1 + 3 * 3
    browser.click(".picker label:nth-child(3)")
    shown = headings()
    assert {heading.split()[0] for heading in shown[1:]} == {"TC"}
    assert {"TC Lesion F1", "TC ECE", "TC Sensitivity"} <= set(shown)


def test_undefined_values_stay_last(browser: Browser, tmp_path: Path) -> None:
    from gliodistill.reports.page.sorting import SORTING, Column, sortable_table

    rows = [["a", "–"], ["b", "−2.5"], ["c", "10"], ["d", "9"]]
    table = sortable_table([Column("Study", number=False), Column("ml")], rows)
    (tmp_path / "t.html").write_text(
        page("t", [Section("", [table])], scripts=[SORTING]), encoding="utf-8"
    )
    browser.open(tmp_path / "t.html")
    browser.click("th:nth-child(2) button")
    assert column(browser, 1) == ["−2.5", "9", "10", "–"]
    browser.click("th:nth-child(2) button")
    assert column(browser, 1) == ["10", "9", "−2.5", "–"]


def test_no_other_script_runs(browser: Browser, evaluation_page: Path, tmp_path: Path) -> None:
    html = evaluation_page.read_text(encoding="utf-8")
    evil = tmp_path / "evil.html"
    evil.write_text(
        html.replace("</h1>", "<script>document.title='broken in'</script></h1>"), encoding="utf-8"
    )
    browser.open(evil)
    assert browser.run("document.title") == "Eight studies"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())
    assert browser.run("document.querySelectorAll('th button').length") > 0  # its own does


def test_without_script_it_is_a_readable_table(
    browser: Browser, evaluation_page: Path, tmp_path: Path
) -> None:
    html = evaluation_page.read_text(encoding="utf-8")
    still = tmp_path / "still.html"
    still.write_text(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL), encoding="utf-8")
    browser.open(still)
    assert browser.run("document.querySelectorAll('button').length") == 0
    assert len(column(browser, 0)) == len(SHIFTS)
    assert "Dice" in browser.run("document.querySelector('table.sortable thead').innerText")


def test_unticking_a_layer_hides_its_outlines(browser: Browser, evaluation_page: Path) -> None:
    def visible(layer: str) -> int:
        figure = "document.querySelector('figure.study')"
        return browser.run(
            f"Array.from({figure}.querySelectorAll('{layer}')).filter(g =>"
            " getComputedStyle(g).display !== 'none').length"
        )

    browser.open(evaluation_page)
    assert (visible(".l0"), visible(".l1")) == (6, 6)
    browser.click("figure.study .on1")
    assert (visible(".l0"), visible(".l1")) == (6, 0)
    browser.click("figure.study .on0")
    assert (visible(".l0"), visible(".l1")) == (0, 0)


def test_it_prints_on_a_few_light_pages(
    browser: Browser, evaluation_page: Path, tmp_path: Path
) -> None:
    browser.open(evaluation_page, dark=True)
    printed = browser.pdf(tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
    browser.call(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
