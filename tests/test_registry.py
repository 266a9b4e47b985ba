"""Named things, by decorator and by entry point."""

import os
import subprocess
import sys

import pytest

from gliodistill.catalogue import KINDS, registry_of
from gliodistill.errors import GliodistillError, RecipeError
from gliodistill.registry import Registry


def colours() -> Registry[str]:
    def check(name: str, item: str) -> None:
        if not item.startswith("#"):
            raise ValueError(f"colour {name!r} does not start with #")

    made: Registry[str] = Registry("colour", "gliodistill.colours", RecipeError, check, str.upper)
    made.register("red")("#f00")
    made.register("blue")("#00f")
    return made


def test_a_registry_is_a_mapping_in_the_order_of_registration():
    made = colours()
    assert list(made) == ["red", "blue"] and made.names() == ("blue", "red")
    assert dict(made) == {"red": "#f00", "blue": "#00f"} and len(made) == 2
    assert made["red"] == made.find("red") == made.get("red") == "#f00"
    assert "green" not in made and made.get("green") is None
    with pytest.raises(KeyError):
        made["green"]
    assert repr(made) == "<colour registry: blue, red>"


def test_an_unknown_name_lists_all_and_names_the_nearest():
    with pytest.raises(RecipeError) as caught:
        colours().find("bleu", "runs.a.colour", file="mine.yaml")
    error = caught.value
    assert (error.file, error.field, error.got) == ("mine.yaml", "runs.a.colour", "bleu")
    assert (error.expected, error.hint) == ("blue, red", "did you mean blue?")
    with pytest.raises(RecipeError) as caught:
        colours().find("xyz", hint="paint")
    assert caught.value.hint == "paint"


def test_what_does_not_fit_or_is_there_is_not_added():
    made = colours()
    with pytest.raises(ValueError, match="does not start with #"):
        made.register("green")("0f0")
    with pytest.raises(ValueError, match="registered twice"):
        made.register("red")("#e00")
    assert made["red"] == "#f00" and "green" not in made


def test_it_is_told_what_each_is_and_who_adds_it():
    made = colours()
    assert made.describe()["red"] == {"summary": "#F00", "package": f"module {__name__}"}
    assert made.package("red") == f"module {__name__}"
    ours = registry_of("runtimes")
    assert ours.package("torch") is None
    with pytest.raises(GliodistillError, match="unknown colour"):
        made.package("green")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_its_items_are(kind):
    registry = registry_of(kind)
    assert registry.group.startswith("gliodistill.")
    for name, facts in registry.describe().items():
        assert facts["summary"], name
        assert "\n" not in facts["summary"] and "``" not in facts["summary"]


def test_no_such_kind():
    with pytest.raises(GliodistillError, match="did you mean layouts"):
        registry_of("layout")


SCRIPT = """
from gliodistill.errors import GliodistillError
from gliodistill.registry import Registry
made = Registry("colour", "gliodistill.colours", summary=str)
made.register("red")("#f00")
try:
    print(dict(made), made.package("sea"))
except GliodistillError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("sea = paints:SEA", "'sea': '#0af'} paints 2.1"),
        ("red = paints:SEA", "plug-in of package paints cannot be loaded"),
        ("sea = paints:NONE", "has no attribute 'NONE'"),
    ],
)
def test_entry_points_add_names_and_take_none_of_ours(tmp_path, points, said):
    folder = tmp_path / "paints-2.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: paints\nVersion: 2.1\n")
    (folder / "top_level.txt").write_text("paints\n")
    (folder / "entry_points.txt").write_text(f"[gliodistill.colours]\n{points}\n")
    (tmp_path / "paints.py").write_text("SEA = '#0af'\n")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_a_plugin_file_is_run_aloud_and_named(tmp_path, monkeypatch):
    file = tmp_path / "my_plugin_file.py"
    file.write_text(
        "import gliodistill as gd\n"
        "from gliodistill.studies.labels import LabelConvention, Tissue\n"
        "codes = {5: Tissue.NCR, 6: Tissue.ED, 7: Tissue.ET}\n"
        "gd.label_conventions.register('mine_from_a_file')("
        "LabelConvention('mine_from_a_file', 'mine', codes))\n"
    )
    from gliodistill.errors import GliodistillWarning
    from gliodistill.registry import load_plugin
    from gliodistill.studies.labels import CONVENTIONS

    monkeypatch.delitem(CONVENTIONS._items, "mine_from_a_file", raising=False)
    with pytest.warns(GliodistillWarning, match="running the code of"):
        load_plugin(file)
    try:
        assert CONVENTIONS.package("mine_from_a_file") == "module my_plugin_file"
        with pytest.raises(GliodistillError, match="already"):
            load_plugin(file)
    finally:
        CONVENTIONS._items.pop("mine_from_a_file"), sys.modules.pop("my_plugin_file")
    (tmp_path / "broken_plugin.py").write_text("1 / 0")
    with (
        pytest.warns(GliodistillWarning),
        pytest.raises(GliodistillError, match="ZeroDivisionError"),
    ):
        load_plugin(tmp_path / "broken_plugin.py")
    with pytest.raises(GliodistillError, match="not a plug-in"):
        load_plugin(tmp_path / "missing.py")
