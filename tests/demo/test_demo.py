"""The demo, made tiny: the scenario it tells, its page, and that two demos never share a folder."""

import json
import re

import pytest

from gliodistill.demo import run_demo
from gliodistill.demo.scenario import TEACHER, Scenario
from gliodistill.demo.study import DemoStudy, dice_of, difference
from gliodistill.errors import GliodistillError
from gliodistill.evaluation.scores import Scores
from gliodistill.models.package import ModelPackage
from gliodistill.recipes.catalogue import find_recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.experiment import Experiment

TINY = Scenario(labelled=2, unlabelled=2, testing=3, difficulty=0.5)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The demo's recipe with four steps and small patches."""
    text = find_recipe("demo").read_text()
    text = re.sub(r"steps: \d+", "steps: 4", text, count=1)
    text = re.sub(r"warmup: \d+", "warmup: 1", text, count=1)
    text = re.sub(r"patch: \[.*\]", "patch: [16, 16, 16]", text, count=1)
    file = tmp_path_factory.mktemp("recipe") / "demo.yaml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def demo(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert run_demo(folder, recipe, seed=3, scenario=TINY) == folder / "report.html"
    return folder


def test_the_distilled_student_differs_from_the_baseline_by_the_teachers_labels_alone(demo):
    experiment = Experiment.open(demo / "experiment")
    baseline, distilled = (
        experiment.recipe.runs[name].model_dump(exclude={"method", "pseudo"})
        for name in ("baseline", "distilled")
    )
    assert baseline == distilled and baseline["seed"] == 3
    assert [
        experiment.summary(run).get("pseudo", {}).get("studies") for run in experiment.recipe.runs
    ] == [None, 2]


def test_the_unlabelled_studies_have_no_reference_and_nobody_is_on_two_sides(demo):
    sides = {name: open_cohort(demo / name) for name in ("labelled", "unlabelled", "testing")}
    assert [len(cohort.labelled().studies) for cohort in sides.values()] == [2, 0, 3]
    ids = [record.id for cohort in sides.values() for record in cohort.studies]
    assert len(ids) == len(set(ids)) == 7
    pseudo = json.loads((demo / "pseudo" / "pseudo.json").read_text())
    assert pseudo["soft"] and set(pseudo["studies"]) == {r.id for r in sides["unlabelled"].studies}
    assert set(pseudo["excluded"]) == {"labelled", "testing"}


def test_the_page_states_this_runs_difference_and_the_committed_interval(demo):
    page = (demo / "report.html").read_text()
    runs = ("teacher", "baseline", "distilled")
    dice = dice_of({run: Scores.read(demo / "scores" / f"{run}.json") for run in runs})
    for value in (*difference(dice)[:1], *DemoStudy.read().difference()):
        assert f"{value:+.3f}".replace("-", "−") in page
    tiles = re.findall(r'<div class="tile"><span>(.*?)</span>', page)
    assert tiles == ["Gain in mean Dice", *(f"Mean Dice, {run}" for run in runs)]
    assert page.count("<svg") > 5 and "median" in page


def test_going_on_with_a_finished_demo_trains_nothing_again(demo, recipe):
    weights = demo / "experiment" / "distilled" / "best.safetensors"
    stamp = weights.stat().st_mtime_ns
    page = (demo / "report.html").read_text()
    run_demo(demo, recipe, seed=3, scenario=TINY)
    assert weights.stat().st_mtime_ns == stamp
    assert (demo / "report.html").read_text() == page


def test_a_demo_of_another_seed_or_scenario_is_refused_before_anything_is_written(demo, recipe):
    before = sorted(demo.rglob("*"))
    for seed, scenario in ((4, TINY), (3, Scenario(2, 3, 3))):
        with pytest.raises(GliodistillError, match="not this demo"):
            run_demo(demo, recipe, seed=seed, scenario=scenario)
    assert sorted(demo.rglob("*")) == before


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GliodistillError, match="not a demo"):
        run_demo(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_the_teacher_is_small_and_says_that_no_patient_is_in_it():
    package = ModelPackage.open(TEACHER)
    assert sum(file.stat().st_size for file in TEACHER.iterdir()) <= 3_000_000
    card = (TEACHER / "README.md").read_text()
    assert package.name == "demo-teacher" and "synthetic studies" in card and "no patients" in card
