"""Docstrings hold roles (``:func:`~package.name```) and formulae in reStructuredText.

The site shows names as code, and formulae as MathML.
"""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

ROLE = re.compile(r":(?:py:)?(?:class|func|meth|mod|attr|data|exc|obj):`~?([^`]+)`")
INLINE = re.compile(r":math:`([^`]+)`")
BLOCK = re.compile(r"^\.\. math:: (.*?)(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


def readable(text: str) -> str:
    """A docstring as Markdown; its example as a section of code."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    text = BLOCK.sub(lambda found: f'<div class="formula">{formula(found[1], "block")}</div>', text)
    text = INLINE.sub(lambda found: formula(found[1], "inline"), text)
    return ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)


def formula(latex: str, display: str) -> str:
    """LaTeX as MathML, on one line."""
    return str(convert(" ".join(latex.split()), display=display))


class Roles(griffe.Extension):
    """Make every docstring readable as Markdown."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each thing that has been read."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)
