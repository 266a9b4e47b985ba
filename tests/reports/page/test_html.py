"""The page: whole, self-contained, escaped, the same every time."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gliodistill.errors import OutputError
from gliodistill.reports.charts.svg import Series, line_chart
from gliodistill.reports.page.html import NOTICE, Section, page, write_report
from gliodistill.reports.page.markup import Html, join, safe, tag

VOID = {"meta", "input", "br", "hr"}


class Balanced(HTMLParser):
    """Fails where an element is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [
            value or ""
            for key, value in attrs
            if key in {"src", "href", "xlink:href", "srcset", "action", "data"}
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def example() -> str:
    chart = line_chart([Series("a", [0, 1], [0.0, 1.0])], "t", "x", "y")
    return page(
        "A <title>",
        [Section("", ["<b>text</b>"]), Section("Charts & more", [chart, chart], columns=True)],
        subtitle="5 < 6",
        footer="v1",
    )


def test_elements_are_balanced_and_nothing_is_loaded() -> None:
    parser = Balanced()
    parser.feed(example())
    assert parser.open == []
    assert all(link.startswith("data:") for link in parser.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|<iframe", example())
    assert "default-src 'none'" in example().replace("&#x27;", "'")


def test_the_notice_is_on_it_twice_in_these_words() -> None:
    assert NOTICE == "Research use, not a medical device"
    assert example().count(NOTICE) == 2


def test_everything_but_markup_is_escaped() -> None:
    text = example()
    assert "<p>&lt;b&gt;text&lt;/b&gt;</p>" in text
    assert "A &lt;title&gt;" in text
    assert "<h2>Charts &amp; more</h2>" in text
    assert "5 &lt; 6" in text


def test_equal_input_gives_equal_text() -> None:
    assert example() == example()


def test_follows_the_reader_in_dark_and_on_paper() -> None:
    for rule in ("prefers-color-scheme:dark", "@media print", "width=device-width"):
        assert rule in example()


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "T", [Section("S", ["x"])])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(
        "T", [Section("S", ["x"])]
    )
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "none" / "report.html", "T", [])


def test_markup_pieces() -> None:
    assert (
        tag("td", 3, class_="number", data_label='a"b')
        == '<td class="number" data-label="a&quot;b">3</td>'
    )
    assert (
        tag("input", type="checkbox", checked=True, disabled=False, value=None)
        == '<input type="checkbox" checked>'
    )
    assert join("<", Html("<br>"), 1) == "&lt;<br>1"
    assert safe(Html("<b>")) == "<b>"
    assert isinstance(tag("p"), Html)
