"""A small fuzz: a few hundred of the mutations of ``benchmarks/fuzz.py``, of every kind."""

import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from benchmarks import fuzz, fuzz_mutations, fuzz_targets


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz") / "inputs"
    root.mkdir()
    fuzz_targets.make_inputs(root, 0, "openvino,torch")
    return root


def test_nothing_is_wrong(inputs):
    """Mutations that no measured run had: every test run has new ones only where code changed."""
    counts: Counter[str] = Counter()
    kinds = set()
    for index in range(400):
        kind, outcome, words = fuzz.run_case(inputs, 7, index)
        assert outcome not in fuzz.BAD, f"--seed 7 --replay {index}: {kind}: {words}"
        counts[outcome] += 1
        kinds.add(kind)
    assert counts["refused"] > 200 and counts["same"] + counts["differs"] > 60
    assert len(kinds) > 12


def test_a_case_is_made_again(inputs, tmp_path):
    """By seed and index, and the inputs are as they were."""
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    first = [fuzz.run_case(inputs, 3, index) for index in range(40)]
    assert {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()} == before
    shutil.copytree(inputs, tmp_path / "inputs")
    again = [fuzz.run_case(tmp_path / "inputs", 3, index) for index in reversed(range(40))]
    assert again[::-1] == first


def test_a_mutation_depends_on_its_case_alone(inputs):
    """Whatever was made before: hostile values are not shared between documents."""
    good = (inputs / "studies.json").read_bytes()
    first = [fuzz_mutations.json_value(good, Random(i)) for i in range(300)]
    assert [fuzz_mutations.json_value(good, Random(i)) for i in range(300)] == first
