"""A page from sections: one file, no script, no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from gliodistill.files import write_text
from gliodistill.reports.markup import Html, join, tag
from gliodistill.reports.style import STYLE

NOTICE = "Research use, not a medical device"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing but the pictures and the style inside it."""


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: its heading; empty for none (e.g. the tiles at the top).
        parts: what it holds: :class:`Html`, or text, which becomes a paragraph.
        columns: lay the parts side by side where the window is wide enough.
    """

    title: str
    parts: Sequence[object]
    columns: bool = False


def page(title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = "") -> str:
    """A whole HTML document; equal input gives equal text, and nothing like a date is added.

    Args:
        title: heading and window title.
        sections: from top to bottom.
        subtitle: below the heading, e.g. the data, the date.
        footer: beside the notice at the end, e.g. the versions.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    below = tag("p", subtitle, class_="subtitle") if subtitle else ""
    top = tag("header", tag("h1", title), below, tag("p", f"{NOTICE}.", class_="research"))
    bottom = tag("footer", tag("div", f"{NOTICE}. Made by gliodistill."), tag("div", footer) if footer else "")
    body = tag("body", top, tag("main", *(_section(section) for section in sections)), bottom)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def write_report(path: str | PathLike[str], title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = "") -> None:
    """Write :func:`page` to ``path``, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, page(title, sections, subtitle=subtitle, footer=footer))


def _section(section: Section) -> Html:
    parts = [part if isinstance(part, Html) else tag("p", part) for part in section.parts]
    content = tag("div", *parts, class_="columns") if section.columns else join(*parts)
    return tag("section", tag("h2", section.title) if section.title else "", content)
