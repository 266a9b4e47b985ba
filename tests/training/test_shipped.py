"""Recipes by name or by path."""

import pytest

from gliodistill.errors import RecipeError
from gliodistill.training.shipped import find_recipe, recipes_folder


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_recipe("demo") == recipes_folder() / "demo.yaml"


def test_a_file_comes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("name: mine")
    assert find_recipe("demo").read_text() == "name: mine"


def test_neither_lists_the_shipped_names():
    with pytest.raises(RecipeError, match="compression, demo"):
        find_recipe("nowhere.yaml")
