"""HTML markup: everything that is not :class:`Html` is escaped."""

from html import escape


class Html(str):
    """Finished markup. Only functions of this package make it; a plain string is never markup."""

    __slots__ = ()


def safe(value: object) -> Html:
    """``value`` as markup: an :class:`Html` as it is, anything else as escaped text."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """One element, e.g. ``tag("td", 3, class_="number")``.

    Args:
        name: the element's name.
        content: children; escaped unless :class:`Html`.
        attributes: escaped values; a trailing ``_`` is dropped, other ``_`` become ``-``; True
            gives a bare attribute; None and False leave it out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{safe(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in {"input", "meta", "br", "hr"}:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*content)}</{name}>")


def join(*parts: object) -> Html:
    """``parts`` one after the other, escaped unless :class:`Html`."""
    return Html("".join(safe(part) for part in parts))
