"""Docstrings name things as ``:func:`~package.name```; Markdown shows the name as code."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:py:)?(?:class|func|meth|mod|attr|data|exc|obj):`~?([^`]+)`")


class Roles(griffe.Extension):
    """Replace roles in every docstring by code."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each thing that has been read."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(
                lambda found: f"`{found[1].rpartition('.')[2]}`", obj.docstring.value
            )
