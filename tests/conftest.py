"""Shared by all tests: annotations of the torch floor are enforced here, and only here."""

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


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patients, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("GLIODISTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "labelled").is_dir():
        pytest.skip(f"no real patients at {folder} (set GLIODISTILL_DATA)")
    return folder
