"""Examples in docstrings of public modules print what they say."""

import doctest
import importlib
import os
import pkgutil

import pytest

import gliodistill
from gliodistill.catalogue import KINDS, registry_of

SKIPPED = {"gliodistill.__main__", "gliodistill.models.onnx_graph", "gliodistill.models.int8"}


def modules() -> list[str]:
    """Every module whose source has an example."""
    found = []
    for module in pkgutil.walk_packages(gliodistill.__path__, "gliodistill."):
        spec = module.module_finder.find_spec(module.name)
        if spec and spec.origin and module.name not in SKIPPED:
            with open(spec.origin) as file:
                if ">>> " in file.read():
                    found.append(module.name)
    return found


@pytest.fixture(autouse=True)
def registries_as_before():
    """Examples register things; the next test shall not meet them."""
    registries = [registry_of(kind) for kind in KINDS]
    before = [dict(registry._items) for registry in registries]
    yield
    for registry, items in zip(registries, before, strict=True):
        for name in registry._items.keys() - items.keys():
            del registry._items[name]


@pytest.mark.parametrize("name", modules())
def test_examples_of(name, tmp_path, monkeypatch):
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert done.attempted > 0 and done.failed == 0
    assert os.getcwd() == str(tmp_path)


def test_the_public_api_has_examples():
    """What one uses first shows how."""
    shown = [name.removeprefix("gliodistill.") for name in modules()]
    for name in (
        "studies.study",
        "studies.cohort",
        "recipes.schema",
        "evaluation.evaluate",
        "evaluation.comparison",
        "networks.registry",
        "distillation.soft_target",
        "distillation.attention_transfer",
        "distillation.channel_wise",
    ):
        assert name in shown, name
