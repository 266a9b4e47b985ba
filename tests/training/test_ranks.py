"""Data-parallel training: two ranks compute what one does, and a run changes their number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gliodistill import ranks
from gliodistill.errors import RecipeError
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import Recipe
from gliodistill.training.run import _check_ranks, train
from tiny_cohort import STUDENT, recipe, values

DRIVER = Path(__file__).with_name("ranks_driver.py")
TOLERANCE = 1e-3
"""Relative, of each loss term: what float32 sums in another order come to in a few steps."""


def losses(folder: Path) -> list[dict[str, float]]:
    """The terms of each step."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_two_ranks_and_then_one_give_the_curve_of_one(prepared: Cache, tmp_path: Path) -> None:
    """With every sum that goes over the batch: batch norms, Dice, Barlow Twins, region affinity
    and DIST, and with accumulation.
    """
    joint = {"name": "unet", "options": {"widths": [4, 8], "norm": "subset"}}
    taps = [["bottleneck", "bottleneck"]]
    losses_of = {
        "barlow_twins": {"weight": 1e-3, "taps": taps},
        "region_affinity": {"weight": 0.1, "taps": taps},
        "dist": {"weight": 0.1},
    }
    student = {
        "network": {**STUDENT, "options": {"widths": [4, 8], "norm": "batch"}},
        "method": {"name": "single_stage", "options": {"teacher": joint, "losses": losses_of}},
    }
    described = values(
        {"student": student},
        sampling={"batch": 2},
        training={"steps": 5, "save_every": 1, "accumulate": 2, "batch_norm_recalibration": 1},
        augmentation={"modality_dropout": {"p": 0.5, "per_batch": True}},
    )
    # AdamW would amplify rounding where a gradient is 0, e.g. of biases before batch norms.
    described["training"]["optimiser"] = {"name": "sgd", "rate": 0.02}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    parsed = Recipe.open(file)
    one = train(parsed, prepared.folder, tmp_path / "one")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(DRIVER), str(file), str(prepared.folder), str(tmp_path / "two"), "3"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    two = tmp_path / "two" / "student"
    assert len(losses(two)) == 3, done.stderr
    train(parsed, prepared.folder, tmp_path / "two", resume=True)
    expected = losses(one.folder / "student")
    found = losses(two)
    assert len(found) == len(expected) == 5
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=TOLERANCE)
    first, same = found[0], expected[0]
    assert first == pytest.approx(same, rel=1e-5)


def test_a_batch_that_ranks_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world", lambda: 3)
    with pytest.raises(RecipeError, match="got 2, expected a multiple of 3"):
        _check_ranks(recipe())
