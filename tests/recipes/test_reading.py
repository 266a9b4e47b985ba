"""Files and settings become a recipe, or one line that says why not."""

import pytest
import yaml

from gliodistill.errors import RecipeError
from gliodistill.recipes.schema import Recipe
from tiny_cohort import distilled, recipe, values


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", "expected valid YAML"),
        (b"\xff\xfe\x00", "expected UTF-8"),
        (b"- 1", "expected a mapping"),
        (b"", "got nothing, expected a mapping"),
        (b"!!python/object/apply:os.system [echo]", "expected no tag"),
        (None, "no such recipe"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, words):
    file = tmp_path / "r.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        Recipe.open(file)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values(distilled()), sort_keys=False))
    return path


def test_settings_are_laid_over_the_file(file):
    parsed = Recipe.open(
        file,
        [
            "training.steps=9",
            "runs.baseline.training.steps=4",
            "data.validation=[case_1, case_2]",
            "about='a: b'",
        ],
    )
    assert {name: run.training.steps for name, run in parsed.runs.items()} == {
        "teacher": 9,
        "baseline": 4,
        "distilled": 9,
    }
    assert parsed.data.validation == ("case_1", "case_2")
    assert parsed.sampling.patch == (16, 16, 16)


@pytest.mark.parametrize(
    "setting",
    [
        "steps",
        "=3",
        "training.steps=[1",
        "training.stepz=3",
        "training..steps=3",
        "training.steps=abc",
    ],
)
def test_bad_settings(file, setting):
    with pytest.raises(RecipeError) as caught:
        Recipe.open(file, [setting])
    assert "\n" not in str(caught.value)


def test_yaml_there_and_back(tmp_path):
    parsed = recipe(distilled(), data={"spacing": [1.0, 1.0, 2.0], "validation": ["x", "y"]})
    (tmp_path / "again.yaml").write_text(parsed.to_yaml())
    assert Recipe.open(tmp_path / "again.yaml") == parsed


def test_a_setting_of_a_renamed_run_names_the_new_one(file):
    with pytest.raises(RecipeError, match="alone is called baseline"):
        Recipe.open(file, ["runs.alone.training.steps=4"])
