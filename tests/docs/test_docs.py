"""The documentation says what the code does: keys, defaults, names and tables are held against it."""

import inspect
import re
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gliodistill.distillation.registry import LOSSES
from gliodistill.errors import RecipeError
from gliodistill.methods import METHODS, Batch
from gliodistill.recipes.catalogue import FOLDER, shipped_recipes
from gliodistill.recipes.schema import Recipe, TrainingPart
from gliodistill.studies.labels import CONVENTIONS, REGION_TISSUES
from gliodistill.studies.layouts import LAYOUTS
from gliodistill.studies.layouts.base import TRUTH_SPELLINGS
from gliodistill.studies.naming import read_name
from gliodistill.studies.sequence import SPELLINGS
from gliodistill.studies.vocabulary import WORDS
from gliodistill.training.loop import learning_rate
from gliodistill.training.resolve import resolve, resolve_run
from gliodistill.training.resuming import FREE
from gliodistill.training.transforms import ModalityDropout

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rows(text: str) -> list[list[str]]:
    """Cells of every table row whose first cell is code."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]


@pytest.fixture(scope="module")
def recipes() -> str:
    return (ROOT / "docs" / "recipes.md").read_text()


@pytest.fixture(scope="module")
def methods() -> str:
    return (ROOT / "docs" / "methods.md").read_text()


@pytest.fixture(scope="module")
def layouts() -> str:
    return (ROOT / "docs" / "layouts.md").read_text()


def test_the_table_of_methods(methods):
    """Each file defines its method, and the recipes named are those with a run of it."""
    methods = methods.split("## All methods")[1].split("## Default losses")[0]
    assert sorted(cells[0].strip("`") for cells in rows(methods)) == sorted(METHODS)
    recipes = {name: Recipe.open(file) for name, file in shipped_recipes().items()}
    for method, _, file, named, *_ in rows(methods):
        name = method.strip("`")
        assert inspect.getsourcefile(METHODS.find(name)) == str(
            ROOT / "src" / "gliodistill" / file.strip("`")
        )
        using = {
            recipe
            for recipe, content in recipes.items()
            if name in {run.method.name for run in content.runs.values()}
        }
        assert set(re.findall(r"`(\w+)`", named)) == (using if named != "in all" else set()), name


@pytest.mark.parametrize("page", ["compression", "single_stage", "any_subset"])
def test_a_papers_page_names_what_exists(page):
    """Files, runs of its recipe, and blocks for the study's tables that a script can find."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for file in re.findall(r"`((?:networks|training|methods|distillation)/[\w/]+\.py)`", text):
        assert (ROOT / "src" / "gliodistill" / file).is_file(), file
    assert [
        run for run in Recipe.open(shipped_recipes()[page]).runs if f"`{run}`" not in text
    ] == []
    blocks = re.findall(
        r"^<!-- results:([\w-]+) -->\n(?:(?!<!--).)*^<!-- end -->",
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    assert len(set(blocks)) == text.count("<!-- results:") == text.count("<!-- end -->") > 0


@pytest.mark.parametrize("name", ["compression", "assistant_chain", "single_stage", "any_subset"])
def test_a_method_without_losses_learns_by_the_documented_ones(methods, name):
    """``null`` is what the table says it is: both give every term of the loss the same value."""
    table = {cells[0].strip("`"): cells[1] for cells in rows(methods.split("## Default losses")[1])}
    losses = yaml.safe_load(re.match(r"`(\{.*\})`", table[name])[1])
    network = {"name": "unet", "options": {"widths": [4, 8, 16]}}
    teacher = network if name == "single_stage" else "teacher"
    options = {"teachers": ["teacher"]} if name == "assistant_chain" else {"teacher": teacher}
    run = {"network": network, "augmentation": {"modality_dropout": {"p": 0.5}}}
    made = Recipe.of(
        {
            "name": "documented",
            "sampling": {"patch": [16, 16, 16]},
            "runs": {
                "teacher": {"network": network},
                "default": run | {"method": {"name": name, "options": options}},
                "documented": run
                | {"method": {"name": name, "options": options | {"losses": losses}}},
            },
        },
        ROOT / "docs" / "recipes.md",
    )
    batch, terms = tiny_batch(16), []
    for learner in ("default", "documented"):
        torch.manual_seed(0)
        method = resolve_run(made, learner).build_method(
            lambda run: resolve_run(made, run).build_network()
        )
        terms.append({key: float(term.detach()) for key, term in method.losses(batch).items()})
    assert terms[0] == terms[1] and set(losses) < set(terms[0])


def tiny_batch(side: int) -> Batch:
    image = torch.randn(2, 4, side, side, side, generator=torch.Generator().manual_seed(1))
    regions = (image[:, :3] > 1).float()
    return Batch(image, image, regions, torch.ones(2, 4).bool(), torch.zeros(2).bool())


def test_how_often_a_patch_has_all_sequences():
    """The rates that docs/any_subset.md gives, drawn."""
    text = (ROOT / "docs" / "any_subset.md").read_text()
    of, subsets = re.search(r"1 in (\d+) has all four", text), re.search(r"all (\d+) subsets", text)
    random, n = np.random.default_rng(0), 60_000
    rates = {}
    for keep_all in (0.0, 0.5):
        dropout = ModalityDropout(0.5, keep_all)
        drawn = Counter(dropout.draw((True,) * 4, random) for _ in range(n))
        rates[keep_all] = {kept: count / n for kept, count in drawn.items()}
    assert len(rates[0.0]) == int(subsets[1])
    assert all(abs(rate - 1 / int(subsets[1])) < 0.006 for rate in rates[0.0].values())
    assert round(1 / rates[0.0][(True,) * 4]) == int(of[1])
    assert abs(rates[0.5][(True,) * 4] - (0.5 + 0.5 / int(of[1]))) < 0.012


def test_the_learning_rate_decays_from_the_first_step_on():
    part = TrainingPart(steps=100, warmup=20)
    for step in (0, 10, 19, 20, 99):
        warm = min(1, (step + 1) / 20)
        expected = part.optimiser.rate * warm * (1 - step / 100) ** part.power
        assert learning_rate(part, step) == pytest.approx(expected)


def test_what_cannot_be_compiled_is_what_reads_features():
    for loss in LOSSES.names():
        on = LOSSES.find(loss).compares
        options = {"teacher": "teacher", "losses": {loss: {}}}
        values = {
            "name": "compiled",
            "sampling": {"patch": [16, 16, 16]},
            "runs": {
                "teacher": {"network": {"name": "unet", "options": {"widths": [4, 8]}}},
                "student": {
                    "network": {"name": "unet", "options": {"widths": [4, 8]}},
                    "method": {"name": "compression", "options": options},
                    "training": {"compile": True},
                },
            },
        }
        if on.startswith("features"):
            with pytest.raises(RecipeError, match=r"student\.training\.compile"):
                resolve(Recipe.of(values, ROOT / "docs" / "recipes.md"))
        else:
            resolve(Recipe.of(values, ROOT / "docs" / "recipes.md"))


def test_every_distilling_recipe_trains_the_baseline_too():
    """docs/methods.md: same network, same first weights, same patches, same steps, no teacher."""
    for name, content in {n: Recipe.open(file) for n, file in shipped_recipes().items()}.items():
        taught = [run for run in content.runs.values() if run.method.name != "supervised"]
        if taught:
            names = [run for run in ("baseline", "baseline") if run in content.runs]
            baseline, last = content.runs[names[0]], list(content.runs.values())[-1]
            assert baseline.method.name == "supervised", name
            assert (baseline.network, baseline.seed, baseline.training, baseline.sequences) == (
                last.network, last.seed, last.training, last.sequences,
            ), name  # fmt: skip


def test_what_may_change_when_resuming(recipes):
    words = recipes.split("## Resume")[1].split("## ")[0]
    (keys,) = re.findall(r"computes: (.*)\. Runs", " ".join(words.split()))
    assert sorted(re.findall(r"`(?:training\.)?(\w+)`", keys)) == sorted(FREE)


def test_the_example_recipe_is_valid(recipes):
    (example,) = re.findall(r"```yaml\n(.*?)```", recipes, re.DOTALL)
    assert list(Recipe.of(yaml.safe_load(example), ROOT / "docs" / "recipes.md").runs) == [
        "teacher",
        "baseline",
        "distilled",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_measured_tables_are_the_committed_ones(page):
    """What stands between results marks is what a benchmark's script wrote, or nothing."""
    for name, shown in re.findall(
        r"<!-- results:([\w-]+) -->\n(.*?)<!-- end -->", page.read_text(), re.DOTALL
    ):
        files = list((ROOT / "benchmarks" / "results").glob(f"*/{name}.md"))
        assert [shown] == ([file.read_text() for file in files] or [""])


def test_layouts_spellings_and_conventions(layouts):
    tables = {
        part.partition("\n")[0]: {cells[0].strip("`"): cells[1:] for cells in rows(part)}
        for part in layouts.split("\n## ")[1:]
    }
    sequences = {
        str(sequence): [" ".join(f"`{name}`" for name in spellings)]
        for sequence, spellings in SPELLINGS.items()
    }
    conventions = {
        name: [c.source, *(str(c.codes.get(code, "–")) for code in (1, 2, 3, 4))]
        for name, c in CONVENTIONS.items()
    }
    assert list(tables["Layouts"]) == list(LAYOUTS)
    assert tables["Spellings of the sequences"] == sequences
    assert (
        tables["Label conventions"] == {"--labels": ["used by", "1", "2", "3", "4"]} | conventions
    )
    for region, tissues in REGION_TISSUES.items():
        (line,) = [line for line in layouts.splitlines() if line.startswith(f"| {region}, ")]
        assert set(line.split("|")[2].strip().split(", ")) == {str(tissue) for tissue in tissues}
    assert all(f"`{word}`" in layouts for word in TRUTH_SPELLINGS)


def test_rules_for_names(layouts):
    """Every name in the table of rules is read as the table says; every word is on the page."""
    part = layouts.partition("\n## How names are read")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    read_as = [cells for cells in table if len(cells) == 3 and cells[2] != "read as"]
    names = [(name, cells[2]) for cells in read_as for name in cells[1].strip("`").split("` `")]
    assert len(names) > 60
    for name, meaning in names:
        reading = read_name(name)
        wanted = meaning.partition(";")[0]
        if wanted == "asks":
            assert reading.undecided, name
        elif wanted == "not used, told":
            assert reading.why and not reading.undecided and reading.sequence is None, name
        else:
            assert reading.sequence is not None, name
            assert wanted in (str(reading.sequence), "X", "that sequence", "the sequence"), name
    kinds = {cells[0]: cells[1] for cells in table if len(cells) == 2}
    for kind, words in WORDS.items():
        assert kinds[str(kind)] == " ".join(f"`{word}`" for word in words.split())


@pytest.mark.parametrize(
    "file",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_links_and_commands(file):
    """Links inside the project lead somewhere; every command named is one of the program's, with
    options it has.
    """
    from typer.main import get_command

    from gliodistill.cli.main import app

    text = file.read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        made = ROOT / "docs" in file.parents and re.search(r"reference/(cli|recipe-keys|api)", link)
        assert made or (file.parent / link).exists(), link
    commands = get_command(app).commands
    code = [*re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)]
    code += re.findall(r"`[^`\n]+`", text)
    for name, rest in re.findall(
        r"(?:^\$ |^|`)gliodistill ([a-z][a-z-]*)([^\n`#|;]*)", "\n".join(code), re.MULTILINE
    ):
        assert name in commands, name
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z0-9-]*", rest)) <= options, (name, rest)


def test_every_shipped_recipe_is_valid():
    for file in FOLDER.glob("*.yaml"):
        assert Recipe.open(file).name == file.stem


def test_the_table_of_packages_names_every_package():
    text = (ROOT / "docs" / "design.md").read_text().split("## Packages")[1].split("##")[0]
    package = ROOT / "src" / "gliodistill"
    packages = {
        path.stem
        for path in package.iterdir()
        if path.name[0] not in "_." and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert {name for cells in rows(text) for name in re.findall(r"`(\w+)`", cells[0])} == packages


INTERVAL = re.compile(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]")
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_differences_in_the_text_are_committed_ones(page):
    """A difference with its interval, wherever it is written, is one that a script wrote."""
    committed = "".join(file.read_text() for file in RESULTS.glob("*/*.md"))
    assert [found for found in INTERVAL.findall(page.read_text()) if found not in committed] == []


def test_the_shipped_models_dice_in_the_readme():
    means = re.search(r"\*\*four sequences\*\* \|(.*)\|", committed_summary())[1].split("|")[:3]
    wanted = [str(round(float(re.match(r" ([\d.]+)", mean)[1]))) for mean in means]
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"(\d+)\s+\((?:WT|TC|ET)\)", text) == wanted


def committed_summary() -> str:
    return (RESULTS / "shipped" / "cross_validation_summary.md").read_text()


def test_short_tables_are_those_of_the_results():
    """``benchmarks/summaries.py`` writes today what is committed."""
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "summaries.py"))
    for path, table in namespace["summaries"]().items():
        assert path.read_text() == table, path.name
