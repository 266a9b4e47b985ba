"""The sortable table as markup (tests/reports/test_browser.py clicks it)."""

import base64
import hashlib
import re
import xml.etree.ElementTree as ElementTree

from gliodistill.reports.page.html import Section, page
from gliodistill.reports.page.sorting import SORTING, Column, share, sortable_table

COLUMNS = [
    Column("Study", number=False),
    Column("Dice", above="WT", views=(0, 1)),
    Column("HD95, mm", above="WT", views=(1,), hint="95 %"),
]


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r"<input([^>]*?)( checked)?>", r"<input\1/>", markup))


def test_it_is_a_plain_table_without_its_script() -> None:
    table = parsed(
        sortable_table(
            COLUMNS,
            [["a", share("0.90", 0.9), "3.0"], ["b", "–", "–"]],
            pinned=[("c", "no such file")],
            caption="All",
        )
    )
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert rows == [
        ["Study", "WTDice", "WTHD95, mm"],
        ["c", "no such file"],
        ["a", "0.90", "3.0"],
        ["b", "–", "–"],
    ]
    assert "button" not in {element.tag for element in table.iter()}
    assert [
        head.attrib.get("aria-sort") for head in table.iter("th") if head.attrib["scope"] == "col"
    ] == ["ascending", None, None]
    assert next(cell.attrib.get("colspan") for cell in table.iter("td")) == "2"


def test_views_are_radio_buttons_and_columns_know_theirs() -> None:
    text = sortable_table(COLUMNS, [["a", "1", "2"]], views=["Overview", "WT"])
    assert re.findall(r'class="(view\d)"( checked)?', text) == [
        ("view0", " checked"),
        ("view1", ""),
    ]
    assert '<td class="number part v0 v1">1</td><td class="number part v1">2</td>' in text
    assert "radio" not in sortable_table(COLUMNS, [], views=["only one"])


def test_ids_are_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    assert evil not in sortable_table(
        [Column(evil, evil, hint=evil)],
        [[evil], [share(evil, None)]],
        pinned=[(evil, evil)],
        caption=evil,
    )


def test_the_page_allows_exactly_its_own_script() -> None:
    text = page("t", [Section("", [])], scripts=[SORTING])
    digest = base64.b64encode(hashlib.sha256(SORTING.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in text
    assert text.count("<script>") == 1
    assert f"<script>{SORTING}</script>" in text
    assert "script-src" not in page("t", [Section("", [])])
    for word in ("fetch", "http", "eval", "innerHTML", "import"):
        assert word not in SORTING
