"""Recipes by name or by path, and that each of those that come along says what it is and trains."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

import tiny_cohort
import tiny_model
from gliodistill.errors import RecipeError
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.pseudo_labels import write_pseudo_labels
from gliodistill.phantom.cohort import write_cohort
from gliodistill.preparation.cache_building import build_cache
from gliodistill.recipes.catalogue import FOLDER, find_recipe, shipped_recipes
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.training.experiment import find_run
from gliodistill.training.resolve import resolve_run
from gliodistill.training.run import train
from gliodistill.training.validation import mean_dice, validate

ROOT = Path(__file__).parents[2]
SHIPPED = shipped_recipes()
TWO_STEPS = "{steps: 2, warmup: 1, validate_every: 2, precision: float32, device: cpu, prefetch: 0}"


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_recipe("demo") == FOLDER / "demo.yaml"


def test_a_file_comes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("name: mine")
    assert find_recipe("demo").read_text() == "name: mine"


def test_neither_lists_the_shipped_names():
    with pytest.raises(RecipeError, match="compression, demo"):
        find_recipe("nowhere.yaml")


# The recipes themselves
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_says_what_it_is(name):
    recipe = Recipe.open(SHIPPED[name])
    assert recipe.name == name
    for words in (recipe.about, recipe.citation, recipe.expected, recipe.cost):
        assert words
        for path in re.findall(r"\b(?:docs|benchmarks)/[\w/.]*\w", words):
            assert (ROOT / path).exists(), path


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory):
    """Two more patients, labelled by a model."""
    root = tmp_path_factory.mktemp("pseudo")
    for seed in (11, 12):
        tiny_cohort.write_study(root / "unlabelled", f"pool_{seed}", seed, labelled=False)
    ensemble = Ensemble([Predictor(tiny_model.export(root / "model"), threads=1)])
    write_pseudo_labels(
        open_cohort(root / "unlabelled").studies,
        ensemble,
        root / "out",
        labels=CONVENTIONS["brats2021"],
        soft=True,
    )
    return root / "out"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_run_trains(name, cohort, pseudo, tmp_path):
    """The recipe's own networks, methods, losses and optimiser; tiny studies, the smallest patches
    that can be normalised, two steps.
    """
    written = Recipe.open(SHIPPED[name])
    with torch.device("meta"):
        side = max(resolve_run(written, run).build_network().divisor for run in written.runs)
    small = [
        "data.spacing=null",
        "data.validation=1",
        f"sampling.patch=[{side}, {side}, {2 * side}]",
        # A share of 0.75 is three patches of four.
        f"sampling.batch={4 if any(run.pseudo.share == 0.75 for run in written.runs.values()) else 2}",
    ]
    small += [f"runs.{run}.training={TWO_STEPS}" for run in written.runs]
    experiment = train(
        Recipe.open(SHIPPED[name], small),
        cohort,
        tmp_path / "run",
        labels="brats2021",
        pseudo=pseudo,
        jobs=1,
    )
    for name, run in written.runs.items():
        first, second = (
            json.loads(line)
            for line in (experiment.folder / name / "log.jsonl").read_text().splitlines()
        )
        assert experiment.summary(name)["steps"] == second["step"] == 2
        assert set(run.method.options.get("losses", {})) < set(
            first["loss"]
        )  # each of the recipe's losses, and segmentation
        assert all(math.isfinite(value) and value > 0 for value in first["loss"].values())


@pytest.mark.parametrize(("folder", "recipe"), [("pretrained", "subsets"), ("longer", "longer")])
def test_the_networks_kept_of_pretraining_are_their_recipes_and_see_tumours(
    folder, recipe, tmp_path
):
    """Who has no days to spare starts from one (docs/shipped.md); a study it has not learnt from."""
    experiment, run = find_run(ROOT / "benchmarks" / "results" / "shipped" / folder)
    assert experiment.recipe == Recipe.open(
        ROOT / "src" / "gliodistill" / "recipes" / "shipped" / f"{recipe}.yaml"
    )
    write_cohort(tmp_path / "studies", 2, seed=990, spacing=1.5, jobs=1)
    studies = open_cohort(tmp_path / "studies")
    assert not {study.id for study in studies.studies} & set(experiment.split["training"])
    cache = build_cache(studies, experiment.recipe.data.preparation(), tmp_path / "cache", 1)
    assert mean_dice(validate(experiment.load_network(run), list(cache), "regions"))["WT"] > 0.7
