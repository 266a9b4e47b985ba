"""The recipes shipped with the toolkit."""

import os
from pathlib import Path

from gliodistill.documents import Refusal
from gliodistill.documents.yaml_text import read_yaml
from gliodistill.errors import RecipeError
from gliodistill.recipes.schema import Recipe

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


def glance(file: Path) -> Recipe:
    """Read a shipped recipe and check it against the schema; no network is built, so torch is not
    imported.
    """
    return Recipe.model_validate(read_yaml(file, Refusal(RecipeError, "cannot read the recipe")))
