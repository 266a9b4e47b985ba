"""The committed study of six seeds: that it is of today's demo, and says what its values say."""

import json

import numpy as np
import pytest

from gliodistill.demo.scenario import DEVELOPMENT_SEED, SEED, Scenario
from gliodistill.demo.study import RESULT, DemoStudy
from gliodistill.errors import EvaluationError
from gliodistill.recipes.schema import Recipe


@pytest.fixture(scope="module")
def study():
    return DemoStudy.read()


def test_is_of_the_demo_as_it_is(study):
    """Whoever changes the recipe, the teacher or the scenario has to run the study again."""
    assert study.settings["fingerprint"] == Scenario().fingerprint(Recipe.open("demo"))


def test_six_seeds_none_of_which_chose_a_setting(study):
    assert len(study.seeds) == 6 and SEED in study.seeds
    assert study.development_seed == DEVELOPMENT_SEED and DEVELOPMENT_SEED not in study.seeds
    for dice in study.seeds.values():
        assert list(dice) == ["teacher", "baseline", "distilled"]
        for regions in dice.values():
            assert {len(values) for values in regions.values()} == {Scenario().testing}


def test_no_two_cohorts_of_any_seed_share_a_study():
    seeds = [drawn for seed in range(12) for _, drawn in Scenario().cohorts(seed).values()]
    assert len(seeds) == len(set(seeds))


def test_the_student_learns_from_a_teacher_that_is_better(study):
    assert study.mean("baseline") < study.mean("distilled") < study.mean("teacher")


def test_the_interval_of_the_difference_is_above_zero(study):
    assert study.difference().low > 0


def test_the_stated_difference_is_that_of_the_stated_dice(study):
    content = json.loads(RESULT.read_text())
    by_hand = [
        np.mean(
            [
                np.subtract(dice["distilled"][region], dice["baseline"][region])
                for region in ("WT", "TC", "ET")
            ]
        )
        for dice in content["seeds"].values()
    ]
    half = 2.5705818 * np.std(by_hand, ddof=1) / np.sqrt(6)  # t of 5 degrees of freedom
    mean = np.mean(by_hand)
    assert content["difference"] == pytest.approx(
        {"mean": mean, "low": mean - half, "high": mean + half}, abs=1e-6
    )


def test_a_damaged_result_is_an_error_of_one_line(tmp_path):
    (tmp_path / "study.json").write_text(RESULT.read_text()[:100])
    with pytest.raises(EvaluationError, match="not a result of the demo study"):
        DemoStudy.read(tmp_path / "study.json")
