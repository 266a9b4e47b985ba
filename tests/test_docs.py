"""The documentation says what the code does: keys, defaults, names and tables are held against it."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gliodistill.networks import describe, names
from gliodistill.studies.labels import CONVENTIONS, REGION_TISSUES
from gliodistill.studies.layouts import LAYOUTS
from gliodistill.studies.layouts.found import TRUTH_SPELLINGS
from gliodistill.studies.sequence import SPELLINGS
from gliodistill.training.methods import METHODS
from gliodistill.training.recipe import Recipe, RunPart, TrainingPart, validate_recipe
from gliodistill.training.shipped import recipes_folder

ROOT = Path(__file__).parents[1]
SET_BY_THE_RECIPE = {"in_channels", "out_channels", "student", "outputs"}


def rows(text: str) -> list[list[str]]:
    """Cells of every table row whose first cell is code."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]


def documented(text: str) -> dict[str, str]:
    """Key → default as written."""
    return {cells[0].strip("`"): cells[1].strip("`") for cells in rows(text)}


def as_written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(as_written(item) for item in value)}]"
    return str(value) if not isinstance(value, str) or str(value) else '""'


def schema(model: type[BaseModel], prefix: str) -> dict[str, str]:
    """Dotted key → default as it should be written, for every leaf."""
    found = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= schema(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = "required" if field.is_required() else as_written(field.get_default())
    return found


@pytest.fixture(scope="module")
def recipes() -> str:
    return (ROOT / "docs" / "recipes.md").read_text()


@pytest.fixture(scope="module")
def layouts() -> str:
    return (ROOT / "docs" / "layouts.md").read_text()


def test_every_recipe_key_and_its_default(recipes):
    experiment, options = recipes.split("### Networks")
    training = schema(TrainingPart, "training.")
    run = {key: default for key, default in schema(RunPart, "").items() if not key.startswith("training.")}
    assert documented(experiment) == schema(Recipe, "") | training | run
    assert all(len(cells) == 3 and cells[2] for cells in rows(recipes))
    assert options


def test_every_network_and_method_with_its_options(recipes):
    networks, methods = recipes.split("### Networks")[1].split("### Methods")
    shipped = [name for name in names() if not name.startswith("test_")]
    for page, known in ((networks, shipped), (methods, list(METHODS))):
        assert re.findall(r"^`(\w+)`", page, re.MULTILINE) == known
    expected: dict[str, str] = {}
    for name in shipped:
        expected |= {key: as_written(value) for key, value in describe(name).options.items() if key not in SET_BY_THE_RECIPE}
    assert documented(networks) == expected
    expected = {}
    for method in METHODS.values():
        for option in list(inspect.signature(method).parameters.values()):
            if option.name not in SET_BY_THE_RECIPE:
                expected[option.name] = "required" if option.default is option.empty else as_written(option.default)
    assert documented(methods) == expected


def test_the_example_recipe_is_valid(recipes):
    (example,) = re.findall(r"```yaml\n(.*?)```", recipes, re.DOTALL)
    assert list(validate_recipe(yaml.safe_load(example), ROOT / "docs" / "recipes.md").runs) == ["teacher", "alone", "taught"]


def test_layouts_spellings_and_conventions(layouts):
    tables = [{cells[0].strip("`"): cells[1:] for cells in rows(part)} for part in layouts.split("\n## ")[1:]]
    sequences = {str(sequence): [" ".join(f"`{name}`" for name in spellings)] for sequence, spellings in SPELLINGS.items()}
    conventions = {name: [c.source, *(str(c.codes.get(code, "–")) for code in (1, 2, 3, 4))] for name, c in CONVENTIONS.items()}
    assert list(tables[0]) == list(LAYOUTS)
    assert tables[1] == sequences
    assert tables[2] == {"--labels": ["used by", "1", "2", "3", "4"]} | conventions
    for region, tissues in REGION_TISSUES.items():
        (line,) = [line for line in layouts.splitlines() if line.startswith(f"| {region}, ")]
        assert set(line.split("|")[2].strip().split(", ")) == {str(tissue) for tissue in tissues}
    assert all(f"`{word}`" in layouts for word in TRUTH_SPELLINGS)


@pytest.mark.parametrize("file", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda file: file.name)
def test_links_and_commands(file):
    """Links inside the project lead somewhere; every command named is one of the program's, with options it has."""
    from typer.main import get_command

    from gliodistill.cli.main import app

    text = file.read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (file.parent / link).exists(), link
    commands = get_command(app).commands
    for name, rest in re.findall(r"(?:^|`)gliodistill ([a-z][a-z-]*)([^\n`#]*)", text, re.MULTILINE):
        assert name in commands, name
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)) <= options, (name, rest)


def test_every_shipped_recipe_is_valid():
    from gliodistill.training.recipe import load_recipe

    for file in recipes_folder().glob("*.yaml"):
        assert load_recipe(file).name == file.stem


def test_room_table_names_every_room():
    text = (ROOT / "docs" / "design.md").read_text().split("## Rooms")[1].split("##")[0]
    package = ROOT / "src" / "gliodistill"
    rooms = {
        path.stem for path in package.iterdir() if path.name[0] not in "_." and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert {name for cells in rows(text) for name in re.findall(r"`(\w+)`", cells[0])} == rooms


@pytest.mark.parametrize("result", ["compression", "phantoms"])
def test_figures_in_the_readme_are_the_committed_ones(result):
    """Every table row and difference in the README's results is a line of a committed result, which a script wrote."""
    committed = (ROOT / "benchmarks" / "results" / result / "results.md").read_text().splitlines()
    readme = (ROOT / "README.md").read_text().splitlines()
    missing = [line for line in committed if line.startswith(("| ", "* ")) and line not in readme]
    assert committed and not missing
