"""What the help texts promise is there."""

import re

import pytest

from gliodistill.inference.runtimes import RUNTIMES
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.studies.layouts import LAYOUTS

NAMES = {
    "--layout": list(LAYOUTS),
    "--runtime": list(RUNTIMES),
    "--precision": [name for kind in RUNTIMES.values() for name in kind.precisions],
    "--device": [name for kind in RUNTIMES.values() for name in kind.devices],
}


def help_of(command: str, option: str) -> str:
    """An option's text in the help, on one line."""
    from typer.main import get_command

    from gliodistill.cli.main import app

    (parameter,) = [p for p in get_command(app).commands[command].params if option in p.opts]
    return " ".join(parameter.help.split())


@pytest.mark.parametrize("option", NAMES)
@pytest.mark.parametrize("command", ["segment", "pseudo-label"])
def test_every_name_is_offered(command, option):
    if (command, option) != ("pseudo-label", "--precision"):
        assert set(NAMES[option]) <= set(re.findall(r"[\w-]+", help_of(command, option)))


@pytest.mark.parametrize("command", ["inspect", "prepare", "train", "evaluate"])
def test_every_convention_is_offered(command):
    words = re.findall(r"[\w-]+", help_of(command, "--labels"))
    assert set(CONVENTIONS) <= set(words)


def test_jobs_are_studies():
    """Preparation runs in threads, phantoms in processes: what both count is studies."""
    for command in ("phantom", "prepare", "segment", "evaluate"):
        assert "Studies" in help_of(command, "--jobs")


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (("segment", "x", "-o", "y", "--flips", "x"), "--tta"),
        (("pseudo-label", "x", "-m", "m", "-o", "y", "--flips", "x"), "--tta"),
        (("train", "compression", "--data", "x", "-o", "y", "--start", "run"), "--pretrained"),
    ],
)
def test_a_renamed_option_names_the_new_one(program, words, new):
    said = program(*words)
    assert said.code == 2
    assert "option was renamed" in said.err and f"expected {new}" in said.err


@pytest.mark.parametrize("words", [("--only", "alone"), ("--set", "runs.alone.training.steps=2")])
def test_a_renamed_run_names_the_new_one(program, tmp_path, words):
    said = program("train", "compression", "--data", tmp_path, "-o", tmp_path / "run", *words)
    assert said.code == 1
    assert "alone is called baseline" in said.err


def test_a_command_alone_is_the_command_among_all(program):
    """The one that is named first is built without the others; a wrong name gets them all."""
    from typer.main import get_command

    from gliodistill.cli.main import _named, app

    among = get_command(app).commands
    for name in among:
        alone = get_command(_named([name]))
        assert list(alone.commands) == [name]
        assert [p.opts for p in alone.commands[name].params] == [p.opts for p in among[name].params]
    assert _named(["--version"]) is app
    assert "segment" in program("segmnt", "x").err
