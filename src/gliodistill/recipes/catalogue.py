"""The recipes shipped with the toolkit."""

import os
from pathlib import Path

from gliodistill.errors import RecipeError

FOLDER = Path(__file__).parent
"""Folder of the shipped recipes."""


def shipped_recipes() -> dict[str, Path]:
    """The files of the shipped recipes by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def find_recipe(name: str | os.PathLike[str]) -> Path:
    """A recipe's file: the path itself, or the shipped recipe of that name.

    Raises:
        RecipeError: neither exists; the shipped names are listed.
    """
    path = Path(name)
    if path.is_file():  # a folder does not count: `make demo` makes one called demo, as the recipe
        return path
    shipped = shipped_recipes()
    if str(name) in shipped:
        return shipped[str(name)]
    raise RecipeError(
        "no such recipe", file=path, expected=f"a file, or one of {', '.join(shipped)}"
    )
