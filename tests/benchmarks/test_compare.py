"""Two cross-validations side by side, by the script as it is run."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SEQUENCES = ("T1", "T1CE", "T2", "FLAIR")
SUBSETS = ["+".join(subset) for size in (1, 2, 3, 4) for subset in combinations(SEQUENCES, size)]


@pytest.fixture
def results(tmp_path):
    """A cross-validation of ten patients, and another with ten points more of WT and, of FLAIR
    alone, ten less of ET.
    """
    old = {s: np.random.default_rng(n).uniform(0.3, 0.8, (10, 3)) for n, s in enumerate(SUBSETS)}
    new = {s: dice + np.array([0.1, 0, -0.1 * (s == "FLAIR")]) for s, dice in old.items()}
    for name, scores in (("new", new), ("old", old)):
        subsets = {s: {"dice": dice.tolist()} for s, dice in scores.items()}
        found = {
            "folds": [1, 2],
            "patients": 10,
            "volumes_ml": [[n, n, n] for n in range(10)],
            "subsets": subsets,
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    return tmp_path


def compare(folder):
    words = [
        sys.executable,
        "-m",
        "benchmarks.shipped.compare",
        "new.json",
        "old.json",
        "-o",
        "table.md",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_differences_are_of_each_patient_and_region(results):
    assert compare(results).returncode == 0
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:]
        for line in (results / "table.md").read_text().splitlines()
    }
    assert [cell.split()[0] for cell in rows["four sequences"][:4]] == [
        "+10.0",
        "+0.0",
        "+0.0",
        "+3.3",
    ]
    assert [cell.split()[0] for cell in rows["FLAIR alone"][:4]] == [
        "+10.0",
        "+0.0",
        "-10.0",
        "+0.0",
    ]
    assert [cell.split()[0] for cell in rows["mean of all subsets"][:3]] == [
        "+10.0",
        "+0.0",
        "-0.7",
    ]
    assert rows["four sequences"][0] == "+10.0 [+10.0, +10.0]"


def test_other_patients_are_not_compared(results):
    other = json.loads((results / "old.json").read_text())
    other["volumes_ml"].reverse()
    (results / "old.json").write_text(json.dumps(other))
    process = compare(results)
    assert process.returncode != 0
    assert "other patients" in process.stderr
    assert not (results / "table.md").exists()
