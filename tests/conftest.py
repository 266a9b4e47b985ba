"""Shared by all tests: annotations of the torch layer are enforced here, and only here."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

pytest_plugins = ["command_line", "prepared_cohort"]

_hook = install_import_hook(
    [
        "gliodistill.networks",
        "gliodistill.distillation",
        "gliodistill.methods",
        "gliodistill.training",
    ],
    "beartype.beartype",
)


LONG = ("training/test_kill.py", "docs/", "demo/", "recipes/test_catalogue.py", "plugins/")
"""What takes longest, and so comes first: no core shall wait for the other at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of :data:`LONG` first, all else in its order."""
    folder = Path(__file__).parent
    items.sort(key=lambda i: not str(i.path.relative_to(folder)).startswith(LONG))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patients, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("GLIODISTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "labelled").is_dir():
        pytest.skip(f"no real patients at {folder} (set GLIODISTILL_DATA)")
    return folder
