"""The site builds strictly: links, anchors, docstrings; every public name and key has its place."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCSTRING = '    """A 3-D image with its geometry.'
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as ``make docs`` builds it."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_public_name_has_a_page_with_its_docstring(site):
    import gliodistill as gd

    listed = (site / "reference" / "api" / "index.html").read_text()
    packages = {"losses": gd.losses, "methods": gd.methods, "networks": gd.networks}
    for name in gd.__all__:
        if inspect.ismodule(getattr(gd, name)):
            continue
        page = site / "reference" / "api" / f"{name}.html"
        page = page if page.exists() else page.with_stem(f"{name}-constant")
        assert f'href="{page.name}"' in listed, name
        if not page.stem.endswith("-constant"):
            assert getattr(gd, name).__doc__.split()[0] in page.read_text(), name
    for folder, package in zip(
        ("distillation", "methods", "networks"), packages.values(), strict=True
    ):
        for name in package.__all__:
            pages = list((site / "reference" / "api").glob(f"{folder}.{name}*.html"))
            assert pages, name


def test_every_command_recipe_key_and_loss_is_in_the_reference(site):
    from typer.main import get_command

    from gliodistill.cli.main import app
    from gliodistill.distillation import LOSSES
    from gliodistill.methods import METHODS
    from gliodistill.recipes.schema import AugmentationPart, DataPart, SamplingPart, TrainingPart

    commands = (site / "reference" / "cli.html").read_text()
    for name, command in get_command(app).commands.items():
        assert f'id="gliodistill-{name}"' in commands
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.opts[0] in commands
    keys = (site / "reference" / "recipe-keys.html").read_text()
    parts = {"data": DataPart, "sampling": SamplingPart, "training": TrainingPart}
    parts["augmentation"] = AugmentationPart
    for prefix, part in parts.items():
        assert [k for k in part.model_fields if f"<code>{prefix}.{k}" not in keys] == []
    assert [name for name in (*LOSSES.names(), *METHODS.names()) if f">{name}</" not in keys] == []


def test_it_needs_no_network(site):
    """No font, script or style comes from elsewhere."""
    import re

    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=\"?https?:", text), page
        assert not re.findall(r"<link[^>]+stylesheet[^>]+href=\"?https?:", text), page


def test_a_missing_docstring_a_broken_link_and_a_broken_anchor_fail(tmp_path):
    """Strict is strict: each of three faults, in a copy of the sources, stops the build."""
    for name in ("docs", "src", "benchmarks", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("*.safetensors", "*.bin", "__pycache__")
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(source, tmp_path / name)
    page = tmp_path / "docs" / "reports.md"
    page.write_text(page.read_text() + "\n[a](nowhere.md) [b](metrics.md#no-such-rules)\n")
    api = tmp_path / "src" / "gliodistill" / "images" / "volume.py"
    api.write_text(api.read_text().replace(DOCSTRING, DOCSTRING.replace('"""', '_ = """', 1), 1))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    for fault in ("nowhere.md", "no-such-rules", "gliodistill.Volume"):
        assert fault in done.stderr, fault
