"""Plans for tiny teachers: budgets truly met, runs that train, errors that help."""

import json

import numpy as np
import pytest
import torch
import yaml

import tiny_cohort
from gliodistill.errors import BudgetError, CheckpointError, RecipeError
from gliodistill.networks import build, count_parameters, flops
from gliodistill.planner.budgets import Budget
from gliodistill.planner.candidate import ranked
from gliodistill.planner.counting import Setting, count
from gliodistill.planner.measuring import open_bench, predict
from gliodistill.planner.output import write_plan
from gliodistill.planner.planning import plan_student
from gliodistill.planner.shapes import FAMILIES, NORMS, enumerate_shapes
from gliodistill.recipes.schema import Recipe
from gliodistill.training.run import train

QUICK = {"shape": (36, 40, 34), "threads": 1, "seconds": 0.0}
PATCH = (64, 64, 64)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A training's folder whose teacher is a trained 6-12 U-Net with classes as outputs."""
    root = tmp_path_factory.mktemp("training")
    runs = {
        "teacher": {
            "network": {"name": "unet", "options": {"widths": [12, 24], "norm": "group"}},
            "outputs": "classes",
        }
    }
    recipe = tiny_cohort.recipe(
        runs, data={"validation": 1, "sequences": ["T1CE", "FLAIR"]}, training={"steps": 2}
    )
    cohort = tiny_cohort.write_cohort(root / "cohort")
    train(recipe, cohort, root / "run")
    return root / "run", cohort


@pytest.fixture(scope="module")
def plan():
    """Of a network, under every kind of budget."""
    return plan_student("fast", ["params<=11%", "flops<=9%", "size<=1MB", "latency<=60s"], **QUICK)


def test_the_student_meets_its_budgets_when_it_is_built_and_counted(plan):
    chosen = plan.chosen
    student, master = build("unet", **chosen.shape.options), build("fast")
    padded = [
        tuple(-(-side // network.divisor) * network.divisor for side in QUICK["shape"])
        for network in (student, master)
    ]
    operations = [
        flops(network, (1, 4, *sides))
        for network, sides in zip((student, master), padded, strict=True)
    ]
    assert chosen.parameters == count_parameters(student) <= 0.11 * count_parameters(master)
    assert chosen.flops == operations[0] <= 0.09 * operations[1]
    assert chosen.size == 2 * sum(
        tensor.numel()
        for tensor in (
            build("unet", **chosen.shape.options | {"norm": "batch"}).state_dict().values()
        )
    )
    assert chosen.size <= 1e6
    assert 0 < chosen.latency <= 60


def test_nothing_of_a_wider_trunk_would_have_fitted(plan):
    wider = next(
        c
        for c in plan.candidates
        if c.shape.trunk > plan.chosen.shape.trunk
        and c.shape.stem_stride == plan.chosen.shape.stem_stride
    )
    assert wider.excess(plan.budgets) > 1


def test_the_norm_is_the_teachers_where_all_are_alike(plan):
    assert plan.chosen.shape.norm == "instance"


def test_the_size_is_that_of_the_exported_weights(plan, tmp_path):
    with open_bench(plan.bench.setting, "f32", 1) as bench:
        bench.visit(plan.chosen)
        (weights,) = bench.folder.glob("*.bin")
        assert weights.stat().st_size == pytest.approx(plan.chosen.size, rel=0.02)


@pytest.mark.parametrize("network", FAMILIES)
def test_every_count_is_what_the_network_built_has(network):
    setting = Setting(4, 3, (128, 128, 128), "torch")
    found = count(
        enumerate_shapes([network], [2], ["batch"], PATCH),
        setting,
        [],
        {"params": 31e6, "flops": 965e9},
    )
    assert len(found) > 10
    for candidate in (found[5], found[-3]):
        with torch.device("meta"):
            built = build(network, **candidate.shape.options)
        assert (candidate.parameters, candidate.flops) == (
            count_parameters(built),
            flops(built, (1, 4, 128, 128, 128)),
        )
        assert candidate.size == 4 * sum(tensor.numel() for tensor in built.state_dict().values())


@pytest.mark.parametrize(
    ("quantity", "limits"),
    [("params", (3e6, 1e6, 4e5, 1e5)), ("flops", (9e9, 3e9, 1e9)), ("size", (5e6, 1e6, 3e5))],
)
def test_a_tighter_budget_never_gives_more_parameters(quantity, limits):
    setting = Setting(4, 3, PATCH, "openvino")
    counts = []
    for limit in limits:
        budget = [Budget(quantity, limit)]
        shapes = enumerate_shapes(["unet"], (1, 2, 4), NORMS, PATCH)
        found = count(shapes, setting, budget, {"params": 31e6, "flops": 965e9})
        counts.append(next(c.parameters for c in ranked(found, NORMS) if c.excess(budget) <= 1))
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)


def test_the_fragment_trains_in_the_teachers_recipe(teacher, tmp_path):
    run, cohort = teacher
    made = plan_student(str(run), ["params<=50%"], **QUICK)
    assert list(made.runs) == ["planned_baseline", "planned"]
    write_plan(made, tmp_path / "plan")
    recipe = Recipe.open(
        tmp_path / "plan" / "recipe.yaml",
        ["runs.planned.training.steps=1", "runs.planned_baseline.training.steps=1"],
    )
    assert yaml.safe_load((tmp_path / "plan" / "student.yaml").read_text())["runs"] == made.runs
    assert recipe.runs["planned"].outputs == "classes"
    assert recipe.runs["planned"].network.options["norm"] == "group"
    done = train(recipe, cohort, run, resume=True)  # the teacher is not trained again
    for name in ("planned_baseline", "planned"):
        assert done.summary(name)["parameters"] == made.chosen.parameters
    facts = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert facts["proposed"]["parameters"] == made.chosen.parameters
    assert sum(candidate["chosen"] for candidate in facts["candidates"]) == 1
    page = (tmp_path / "plan" / "plan.html").read_text()
    assert "planned_baseline" in page and "Research use, not a medical device" in page
    again = plan_student(str(run), ["params<=50%"], **QUICK)
    assert list(again.runs) == ["planned2_baseline", "planned2"]  # the names are taken now


def test_other_blocks_and_the_torch_runtime():
    made = plan_student(
        "fast",
        ["params<=5%"],
        networks=("residual_unet", "attention_fused"),
        runtime="torch",
        **QUICK,
    )
    assert made.chosen.shape.network in ("residual_unet", "attention_fused")
    assert made.chosen.latency > 0
    assert made.as_dict()["measured"]["precision"] == "f32"


def test_a_share_of_the_teachers_time():
    made = plan_student("fast", ["latency<=100%", "params<=3%"], **QUICK)
    assert made.costs["latency"] > 0
    assert made.chosen.latency <= made.costs["latency"]


@pytest.mark.parametrize("budget", ["params<=1k", "latency<=0.001ms"])
def test_an_impossible_budget_names_the_nearest_candidate(budget):
    with pytest.raises(BudgetError) as caught:
        plan_student("fast", [budget], **QUICK)
    line = str(caught.value)
    for part in (
        "no student meets the budget",
        budget.partition("<")[0],
        "the nearest, unet 4-8-16-32",
        "expected",
        "loosen",
    ):
        assert part in line
    assert "\n" not in line


def test_no_such_teacher(tmp_path):
    with pytest.raises(RecipeError, match=r"no such teacher.*got nnunett.*did you mean nnunet"):
        plan_student("nnunett", ["params<=11%"])
    with pytest.raises(CheckpointError, match="not a run folder"):
        plan_student(str(tmp_path), ["params<=11%"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"networks": ("segresnet",)},
            "--student, got segresnet, expected unet, residual_unet, attention_fused",
        ),
        ({"strides": (3,)}, "--stem-stride, got 3, expected 1, 2, 4"),
        ({"runtime": "tensorrt"}, "--runtime, got tensorrt, expected openvino or torch"),
        ({"precision": "f8"}, "--precision, got f8, expected"),
    ],
)
def test_wrong_choices_are_refused(options, words):
    with pytest.raises(BudgetError) as caught:
        plan_student("fast", ["params<=11%"], **QUICK | options)
    assert words in str(caught.value)
    with pytest.raises(BudgetError, match="no budget"):
        plan_student("fast", [])


def test_a_prediction_lies_between_its_kin_and_beyond_them_in_proportion():
    shapes = enumerate_shapes(["unet"], [2], ["batch"], PATCH)
    four, five, six, *_, last = count(
        shapes,
        Setting(4, 3, PATCH, "openvino"),
        [Budget("params", 1e6)],
        {"params": 31e6, "flops": 9e12},
    )
    four.seconds, six.seconds = [1.0], [3.0]
    predict([four, five, six, last])
    share = np.log(five.flops / four.flops) / np.log(six.flops / four.flops)
    assert five.predicted == pytest.approx(3.0**share)
    assert last.predicted == pytest.approx(3.0 * last.flops / six.flops)
    assert four.predicted is None


def test_threads_and_random_numbers_are_left_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    plan_student("fast", ["params<=3%"], runtime="torch", **QUICK)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
