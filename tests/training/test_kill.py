"""Kill −9 twelve times at random moments: the checkpoint always loads, and the end is that of a run
never stopped, bit for bit.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from gliodistill.training.checkpoint import read_tensors, weights_hash
from gliodistill.training.experiment import Experiment
from tiny_cohort import STUDENT, values

DRIVER = Path(__file__).with_name("kill_driver.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
STEPS = {"teacher": 7, "student": 150}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A teacher saved at every step and a student saved at every third."""
    teacher = {
        "network": STUDENT,
        "seed": 3,
        "training": {"save_every": 1, "steps": STEPS["teacher"]},
    }
    method = {"name": "compression", "options": {"teacher": "teacher"}}
    student = {
        "network": {"name": "unet", "options": {"widths": [4, 8], "norm": "batch"}},
        "method": method,
    }
    training = {"steps": STEPS["student"], "save_every": 3, "validate_every": 7}
    augmentation = {"spatial": 0.5, "noise": 0.5, "modality_dropout": {"p": 0.2}}
    made = values(
        {"teacher": teacher, "student": student}, training=training, augmentation=augmentation
    )
    made["training"]["optimiser"] = {"name": "sgd", "rate": 0.02}
    file = tmp_path_factory.mktemp("kill") / "tiny.yaml"
    file.write_text(yaml.safe_dump(made, sort_keys=False))
    return file


def drive(recipe, data, out, kills, seed=0):
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(DRIVER),
            str(recipe),
            str(data),
            str(out),
            str(kills),
            str(seed),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def steps_done(out):
    return sum(len(log.read_bytes().splitlines()) for log in out.glob("*/log.jsonl"))


def kill_the_program(recipe, data, out, steps, seconds):
    """``gliodistill train``, killed ``seconds`` after its log has grown by ``steps`` lines."""
    command = [
        sys.executable,
        "-m",
        "gliodistill",
        "train",
        str(recipe),
        "--data",
        str(data),
        "-o",
        str(out),
        "--labels",
        "brats2021",
    ]
    process = subprocess.Popen(
        [*command, "--resume"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    goal, deadline = steps_done(out) + steps, time.monotonic() + 120
    while process.poll() is None and steps_done(out) < goal and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()


def result(out):
    """All that a training leaves behind, but for its seconds."""
    experiment = Experiment.open(out)
    states, logs = {}, {}
    for run in experiment.recipe.runs:
        for name in ("last.safetensors", "best.safetensors"):
            tensors, facts = read_tensors(out / run / name)
            facts.pop("seconds", None)
            states[run, name] = weights_hash(tensors), facts
        lines = [json.loads(text) for text in (out / run / "log.jsonl").read_text().splitlines()]
        logs[run] = [
            {key: value for key, value in line.items() if key != "seconds"} for line in lines
        ]
    summaries = {run: {**experiment.summary(run), "seconds": 0} for run in experiment.recipe.runs}
    return states, logs, summaries, experiment.split


@pytest.mark.slow
def test_killed_twelve_times(recipe, cohort, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    drive(recipe, cohort, whole, 0)

    kills = drive(recipe, cohort, parts, 5, seed=1)
    random = np.random.default_rng(2)
    for _ in range(2):
        kill_the_program(recipe, cohort, parts, int(random.integers(1, 4)), random.uniform(0, 0.03))
    kills += drive(recipe, cohort, parts, 5, seed=3)

    print(json.dumps(kills))  # shown where it fails
    assert [kill["signal"] for kill in kills] == [signal.SIGKILL] * 10
    steps = {}
    for kill in kills:
        for file, step in kill["found"].items():
            assert not isinstance(step, str), step  # whatever was there could be read …
            assert (step or 0) >= steps.get(file, 0)  # … and nothing was ever lost
            steps[file] = step or 0
    assert steps["teacher/last.safetensors"] == STEPS["teacher"]
    assert 0 < steps["student/last.safetensors"] < STEPS["student"]
    assert any("safetensors" in name for kill in kills for name in kill["partial"])
    drive(recipe, cohort, parts, 0)
    assert result(parts) == result(whole)
    assert not [path for path in parts.rglob("*") if ".partial." in path.name]
