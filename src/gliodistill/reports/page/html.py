"""An HTML page of sections: one file, no network access, only scripts with declared hashes."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from gliodistill.files import write_text
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.reports.page.style import STYLE

NOTICE = "Research use, not a medical device"
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action"
    " 'none'"
)
"""Content security policy: only inline pictures and style, and scripts given by their hash.
"""


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: its heading; empty for none (e.g. the tiles at the top).
        parts: :class:`Html`, or text, which becomes a paragraph.
        columns: lay the parts side by side if the window is wide enough.
    """

    title: str
    parts: Sequence[object]
    columns: bool = False


def page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    footer: str = "",
    scripts: Sequence[str] = (),
    contents: bool = False,
) -> str:
    """A whole HTML document; equal input gives equal text; no date is added.

    Args:
        title: heading and window title.
        sections: from top to bottom.
        subtitle: below the heading, e.g. the data, the date.
        footer: after the notice at the end, e.g. the versions.
        scripts: the page's scripts; the browser refuses all others.
        contents: links to the titled sections below the heading.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    below = tag("p", subtitle, class_="subtitle") if subtitle else ""
    links = _contents(sections) if contents else ""
    top = tag("header", tag("h1", title), below, tag("p", f"{NOTICE}.", class_="research"), links)
    bottom = tag(
        "footer",
        tag("div", f"{NOTICE}. Made by gliodistill."),
        tag("div", footer) if footer else "",
    )
    body = tag(
        "body",
        top,
        tag("main", *(_section(section) for section in sections)),
        bottom,
        *(tag("script", Html(script)) for script in scripts),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def write_report(
    path: str | PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    footer: str = "",
    scripts: Sequence[str] = (),
    contents: bool = False,
) -> None:
    """Write :func:`page` to ``path``, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(
        path,
        page(title, sections, subtitle=subtitle, footer=footer, scripts=scripts, contents=contents),
    )


def _section(section: Section) -> Html:
    parts = [part if isinstance(part, Html) else tag("p", part) for part in section.parts]
    content = tag("div", *parts, class_="columns") if section.columns else join(*parts)
    return tag(
        "section",
        tag("h2", section.title) if section.title else "",
        content,
        id=_anchor(section.title) or None,
    )


def _contents(sections: Sequence[Section]) -> Html:
    links = [
        tag("a", section.title, href=f"#{_anchor(section.title)}")
        for section in sections
        if section.title
    ]
    return tag("nav", *links, aria_label="Contents")


def _anchor(title: str) -> str:
    return "-".join(
        "".join(letter if letter.isalnum() else " " for letter in title.lower()).split()
    )


def _policy(scripts: Sequence[str]) -> str:
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        for script in scripts
    ]
    return POLICY + (
        "; script-src " + " ".join(f"'sha256-{one}'" for one in hashes) if hashes else ""
    )
