"""A table that sorts by any column with a script, and is a plain table without it."""

from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.reports.page.markup import Html, safe, tag

SORTING = """\
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[table.tBodies.length - 1];
  const heads = Array.from(table.tHead.rows[0].cells);
  const words = new Intl.Collator("en", {numeric: true});
  const compare = (a, b) => typeof a === "number" ? a - b : words.compare(a, b);
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    if (!heads[column].classList.contains("number")) return text;
    const value = parseFloat(text.replace("\\u2212", "-"));
    return Number.isNaN(value) ? null : value;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      const rows = Array.from(body.rows, row => [key(row, column), row]);
      rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : turn * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
"""
"""The script of :func:`sortable_table`: pass it to the page (``page(…, scripts=[SORTING])``).
Undefined values are last.
"""

MANY_ROWS = 40


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its heading.
        above: a small line above the heading, e.g. the region.
        number: values are numbers (right-aligned, sorted as such) and not text.
        views: indices of the table's views in which it is shown; empty for all.
        hint: tooltip of the heading.
    """

    name: str
    above: str = ""
    number: bool = True
    views: tuple[int, ...] = ()
    hint: str = ""


def sortable_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    views: Sequence[str] = (),
    pinned: Sequence[tuple[object, object]] = (),
    caption: str = "",
    id: str = "table",
) -> Html:
    """A wide table that scrolls sideways with its first column in place.

    Args:
        columns: the first one names the row.
        rows: sorted by the first column; one cell per column: markup or text; ``"–"`` for
            undefined.
        views: names of the table's views, which the reader switches (no script); the first is shown
            initially.
        pinned: (name, text across all other columns) of rows that stay on top, e.g. failures.
        caption: for screen readers.
        id: unique prefix of the table's views on the page.
    """
    classes = [_classes(column) for column in columns]
    head = [
        tag("th", tag("small", column.above) if column.above else "", column.name, scope="col", class_=kind, title=column.hint or None,
            aria_sort="ascending" if position == 0 else None)
        for position, (column, kind) in enumerate(zip(columns, classes, strict=True))
    ]  # fmt: skip
    held = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", tag("span", text), colspan=len(columns) - 1),
            class_="pinned",
        )
        for name, text in pinned
    ]
    body = [
        tag("tr", *(tag("td" if at else "th", cell, scope=None if at else "row", class_=kind)
                    for at, (cell, kind) in enumerate(zip(row, classes, strict=True))))
        for row in rows
    ]  # fmt: skip
    table = tag(
        "table",
        tag("caption", caption) if caption else "",
        tag("thead", tag("tr", *head)),
        tag("tbody", *held) if held else "",
        tag("tbody", *body),
        class_="sortable",
    )
    kind = "wide tall" if len(rows) > MANY_ROWS else "wide"  # tall: it scrolls below fixed headings
    scroller = tag(
        "div", table, class_=kind, tabindex="0", role="region", aria_label=caption or None
    )
    return tag("div", _picker(views, id), scroller, class_="views")


def share(text: str, value: float | None) -> Html:
    """A value from 0 to 1 with a bar that shows it."""
    return (
        tag("span", text, class_="share", style=f"--share:{value:.3f}")
        if value is not None
        else safe(text)
    )


def _picker(views: Sequence[str], id: str) -> Html:
    if len(views) < 2:
        return Html("")
    choices = [
        tag(
            "label",
            tag(
                "input", type="radio", name=f"{id}-view", class_=f"view{order}", checked=order == 0
            ),
            name,
        )
        for order, name in enumerate(views)
    ]
    return tag("div", *choices, class_="picker", role="radiogroup", aria_label="Columns shown")


def _classes(column: Column) -> str | None:
    names = ["number"] if column.number else []
    if column.views:
        names += ["part", *(f"v{view}" for view in column.views)]
    return " ".join(names) or None
