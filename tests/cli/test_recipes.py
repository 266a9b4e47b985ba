"""gliodistill recipes as a user runs it."""

import json
import os
import subprocess
import sys

import yaml

from gliodistill.recipes.catalogue import FOLDER
from gliodistill.recipes.schema import Recipe


def test_lists_every_recipe_with_runs_paper_expected_result_and_cost(program):
    listed = program("recipes")
    facts = json.loads(program("recipes", "--json").out)["recipes"]
    assert listed.code == 0 and listed.err == ""
    assert list(facts) == sorted(file.stem for file in FOLDER.glob("*.yaml"))
    for name, recipe in facts.items():
        for said in (
            name,
            ", ".join(recipe["runs"]),
            recipe["about"],
            recipe["citation"],
            recipe["expected"],
            recipe["cost"],
        ):
            assert said and said in listed.out, name
    assert facts["compression"]["runs"]["fused_soft"] == {
        "network": "attention_fused",
        "method": "compression",
    }
    assert not [line for line in listed.out.splitlines() if line.endswith(" ")]


def test_a_printed_recipe_is_a_start_for_an_own_one(program, tmp_path):
    said = program("recipes", "compression")
    assert said.out == (FOLDER / "compression.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(
        said.out.replace("name: compression", "name: mine", 1).replace("steps: 1200", "steps: 7")
    )
    mine = Recipe.open(tmp_path / "mine.yaml")
    assert (mine.name, mine.runs["distilled"].training.steps) == ("mine", 7)
    told = json.loads(program("recipes", "compression", "--json").out)
    assert yaml.safe_load(told["yaml"]) == yaml.safe_load(said.out)
    assert list(told["runs"]) == list(mine.runs)


def test_an_unknown_name_lists_the_known_ones(program):
    said = program("recipes", "compresion")
    assert said.code == 1 and said.out == ""
    assert len(said.lines) == 1 and "compression, demo" in said.err


def test_torch_is_not_needed_to_look():
    code = (
        "import sys; sys.modules['torch'] = None; from gliodistill.cli.main import run;"
        " sys.exit(run(['recipes']))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
