"""The study's own arithmetic: every claim about distillation rests on it."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmarks.distillation import schedule, tables

HERE = Path(__file__).parents[2] / "benchmarks" / "distillation"
ALL = "T1+T1CE+T2+FLAIR"


def run(dice, studies="abc", subsets=None):
    """A run's scores: Dice of each study and region."""
    scores = {ALL: {"dice": dice, "hd95_mm": [[1.0, 2.0, 3.0]] * len(dice), "studies": studies}}
    return {"parameters": 10, "gflops_a_patch": 1.0, "scores": scores, "subsets": subsets or {}}


@pytest.fixture
def runs():
    random = np.random.default_rng(0)
    baseline = random.uniform(0.4, 0.8, (2, 30, 3))
    return {
        **{f"baseline-{seed}": run(baseline[seed].tolist()) for seed in (0, 1)},
        **{f"baseline-better-{seed}": run((baseline[seed] + 0.02).tolist()) for seed in (0, 1)},
        "teacher": run((baseline[0] + 0.1).tolist()),
    }


def test_a_row_is_its_own_seeds(runs):
    assert set(tables.seeds_of(runs, "baseline")) == {"baseline-0", "baseline-1"}
    assert set(tables.seeds_of(runs, "baseline-better")) == {
        "baseline-better-0",
        "baseline-better-1",
    }
    assert set(tables.seeds_of(runs, "teacher")) == {"teacher"}
    assert tables.seeds_of(runs, "nobody") == {}
    assert set(tables.seeds_of({"dedicated-t1": {}, "dedicated-t1_t2": {}}, "dedicated")) == set()


def test_a_difference_is_paired_study_by_study(runs):
    found = tables.difference(
        tables.values(runs, "baseline-better"), tables.values(runs, "baseline")
    )
    for region in ("WT", "TC", "ET", "mean"):
        assert found[region]["mean"] == pytest.approx(0.02)
        assert found[region]["low"] == pytest.approx(
            0.02
        )  # the same in every study, however unlike the studies are
        assert found[region]["per_seed"] == [0.02, 0.02]
        assert found[region]["wilcoxon_p"] < 0.001


def test_the_table_says_what_is_in_the_scores(runs):
    rows = [
        {"row": "teacher"},
        {"row": "baseline", "title": "a baseline"},
        {"row": "baseline-better", "against": ["baseline"]},
        {"row": "missing"},
    ]
    text, differences = tables.row_table(runs, rows, {"baseline": 12.3})
    lines = text.splitlines()
    assert len(lines) == 5
    assert list(differences) == ["baseline-better − baseline"]
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    expected = 100 * np.mean(
        [runs[f"baseline-{seed}"]["scores"][ALL]["dice"] for seed in (0, 1)], axis=(0, 1)
    )
    assert cells[0] == "a baseline"
    assert cells[3] == "12"
    assert [float(cell) for cell in cells[4:7]] == pytest.approx(expected, abs=0.051)
    assert "+2.0 [+2.0, +2.0]" in lines[4]


def test_rows_of_other_studies_are_not_paired(runs):
    runs["baseline-better-1"]["scores"][ALL]["studies"] = "other"
    with pytest.raises(SystemExit, match="different studies"):
        tables.row_table(runs, [{"row": "baseline-better", "against": ["baseline"]}], {})


def test_subsets_average_over_subsets_and_know_the_dedicated():
    subsets = ["T1", "T1+T2"]
    shown = {
        subset: {"dice": [[0.1 * (i + 1)] * 3] * 4, "studies": "x"}
        for i, subset in enumerate(subsets)
    }
    better = {
        subset: {"dice": (np.asarray(scores["dice"]) + 0.05).tolist(), "studies": "x"}
        for subset, scores in shown.items()
    }
    runs = {
        "any-0": run([[0.5] * 3] * 4, subsets=shown),
        "distilled-0": run([[0.5] * 3] * 4, subsets=better),
    }
    runs |= {f"baseline-{tables.slug(subset)}": run([[0.12] * 3] * 4) for subset in subsets}
    text, differences = tables.subset_table(
        runs, {"any": ["baseline"], "distilled": ["any", "baseline", "later"]}, subsets, "baseline"
    )
    assert list(differences) == [
        "any − baseline, mean of 15",
        "distilled − any, mean of 15",
        "distilled − baseline, mean of 15",
    ]
    assert differences["distilled − any, mean of 15"]["mean"]["mean"] == pytest.approx(0.05)
    assert differences["any − baseline, mean of 15"]["WT"]["mean"] == pytest.approx(0.15 - 0.12)
    assert "**15.0 / 15.0 / 15.0**" in text


def test_every_run_once_a_seed_and_references_follow():
    runs = {
        "big": {"network": 1},
        "small": {"network": 2},
        "distilled": {
            "network": 2,
            "init_from": "small",
            "method": {"name": "m", "options": {"teacher": "big", "teachers": ["big", "small"]}},
        },
    }
    made = schedule.expand({"runs": runs}, ["big"], [0, 7])["runs"]
    assert list(made) == ["big", "small-0", "small-7", "distilled-0", "distilled-7"]
    assert made["distilled-7"]["seed"] == 7
    assert made["distilled-7"]["init_from"] == "small-7"
    assert made["distilled-7"]["method"]["options"] == {
        "teacher": "big",
        "teachers": ["big", "small-7"],
    }
    assert runs["distilled"]["method"]["options"]["teacher"] == "big"


@pytest.mark.parametrize("protocol", ["synthetic", "patients"])
def test_protocols_hold_together(protocol, tmp_path, monkeypatch):
    """Rows, baselines and teachers of every table are runs of the recipe, and students of one table
    share budget and data.
    """
    values = yaml.safe_load((HERE / f"{protocol}.yaml").read_text())
    recipe = schedule.write_recipe(
        schedule.expand(values["recipe"], values["once"], values["seeds"]), tmp_path / "recipe.yaml"
    )
    known = {*values["recipe"]["runs"], *recipe.runs, "ensemble", "dedicated"}

    def found(row):
        return recipe.runs.get(row) or recipe.runs.get(f"{row}-{values['seeds'][0]}")

    def steps(run):
        return run.training.steps + (steps(recipe.runs[run.init_from]) if run.init_from else 0)

    for table in values["tables"].values():
        assert set(table["runs"]) <= known
        for row in table["rows"]:
            assert {row["row"], *row.get("against", [])} <= known
            for baseline in row.get("against", []):
                ours, theirs = found(row["row"]), found(baseline)
                if ours is not None and theirs is not None:
                    assert steps(ours) == steps(theirs), (row["row"], baseline)
                    same = (
                        run.training.model_dump(exclude={"steps", "validate_every"})
                        for run in (ours, theirs)
                    )
                    assert next(same) == next(same), (row["row"], baseline)
    assert set(values.get("same", {}).values()) <= set(values["once"])
    assert json.dumps(values)
    assert all(run.training.validate_every >= run.training.steps for run in recipe.runs.values())


@pytest.mark.parametrize("script", ["run", "gradients", "thresholds"])
def test_the_command_starts(script):
    """What it imports is there: nothing else in the suite runs it."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.distillation.{script}", "--help"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout
