"""A recipe is refused whole, in one line, with the key as the user wrote it."""

from pathlib import Path

import pytest
import yaml

from gliodistill.errors import RecipeError
from gliodistill.recipes.catalogue import FOLDER
from gliodistill.recipes.schema import Recipe
from gliodistill.training.resolve import resolve
from tiny_cohort import STUDENT, distilled, recipe, values

LEARNT = distilled(
    soft_target={"weight": 0.1},
    attention_transfer={"weight": 0.1, "taps": [["bottleneck", "bottleneck"]]},
) | {"pair": {"network": STUDENT, "sequences": ["T1CE", "FLAIR"]}}
LOSSES = "runs.distilled.method.options.losses"


def changed(path, value, runs=None):
    """The tiny recipe with one key set (or removed, for ``value`` None at ``runs``)."""
    made = values(runs or LEARNT)
    place = made = yaml.safe_load(
        yaml.safe_dump(made, sort_keys=False)
    )  # no part shared with the next test
    *parents, last = path.split(".")
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return made


BAD = [
    # key changed, value, field named, words said
    ("learning", 3, "learning", "unknown key"),
    ("sampling.pach", [16, 16, 16], "sampling.pach", "did you mean patch?"),
    ("data.sequence", ["T1"], "data.sequence", "did you mean sequences?"),
    ("training.stepz", 3, "training.stepz", "did you mean steps?"),
    ("training.optimiser.rates", 1, "training.optimiser.rates", "did you mean rate?"),
    ("runs.baseline.training.stepz", 3, "runs.baseline.training.stepz", "did you mean steps?"),
    ("runs.baseline.netwrk", 3, "runs.baseline.netwrk", "did you mean network?"),
    ("training", 5, "training", "recipe does not validate"),
    ("runs.baseline.training", 5, "runs.baseline.training", "recipe does not validate"),
    ("runs", {}, "runs", "recipe does not validate"),
    ("runs", 3, "runs", "recipe does not validate"),
    ("runs.baseline", None, "runs.baseline", "recipe does not validate"),
    ("runs.Alone Again", {"network": STUDENT}, "runs.Alone Again.[key]", "pattern"),
    ("name", "../up", "name", "pattern"),
    ("outputs", "pixels", "outputs", "regions"),
    ("training.steps", 0, "training.steps", "greater than 0"),
    ("training.steps", "many", "training.steps", "integer"),
    ("runs.baseline.training.steps", 0, "runs.baseline.training.steps", "greater than 0"),
    ("training.ema", 1.0, "training.ema", "less than 1"),
    ("training.clip", float("inf"), "training.clip", "finite"),
    ("training.optimiser.rate", float("nan"), "training.optimiser.rate", "finite"),
    ("training.optimiser.name", "lion", "training.optimiser.name", "adamw"),
    ("training.precision", "float8", "training.precision", "bfloat16"),
    ("training.device", "tpu", "training.device", "cuda"),
    ("data.spacing", [1, 0, 1], "data.spacing.1", "greater than 0"),
    ("data.spacing", [1, 1], "data.spacing.2", "recipe does not validate"),
    ("data.bias_correction_mm", 0, "data.bias_correction_mm", "greater than 0"),
    ("data.correct_training", False, "data", "needs bias_correction_mm"),
    ("data.validation", "second", "data.validation", "valid"),
    ("data.sequences", [], "data.sequences", "at least 1"),
    ("data.sequences", ["T1", "T1"], "data.sequences", "each sequence once"),
    ("data.sequences", ["T7"], "data.sequences.0", "FLAIR"),
    ("augmentation.flip", 1.5, "augmentation.flip", "less than or equal to 1"),
    ("augmentation.scale", [1.2, 0.8], "augmentation.scale", "smaller factor first"),
    ("augmentation.scale", [0.0, 0.8], "augmentation.scale.0", "greater than 0"),
    ("augmentation.gamma", 1.5, "augmentation.gamma.p", "less than or equal to 1"),
    ("augmentation.gamma", "often", "augmentation.gamma", "a mapping of p, exponent"),
    ("augmentation.gamma", {"exponent": [2, 1]}, "augmentation.gamma.exponent", "smaller number"),
    ("augmentation.gamma", {"exponnt": [1, 2]}, "augmentation.gamma.exponnt", "mean exponent?"),
    ("augmentation.low_resolution", {"zoom": [0.5, 2]}, "augmentation.low_resolution.zoom.1", "1"),
    ("augmentation.others", {"gamma": {}}, "runs.teacher.augmentation.others.gamma", "of its own"),
    ("runs.baseline.seed", -1, "runs.baseline.seed", "greater than or equal to 0"),
    ("sampling.patch", [16, 15, 16], "sampling.patch", "multiples of 2"),
    ("runs.baseline.network.name", "unett", "runs.baseline.network.network", "did you mean unet?"),
    (
        "runs.baseline.network.options",
        {"width": [4, 8]},
        "runs.baseline.network.network",
        "did you mean widths?",
    ),
    (
        "runs.baseline.network.options",
        {"widths": [4]},
        "runs.baseline.network.widths",
        "two or more",
    ),
    ("runs.baseline.network.options", {"widths": 4}, "runs.baseline.network.widths", "a list like"),
    ("runs.baseline.network.options", {"norm": "layer"}, "runs.baseline.network.norm", "instance"),
    (
        "runs.baseline.network.options",
        {"in_channels": 4},
        "runs.baseline.network.options.in_channels",
        "remove it",
    ),
    (
        "runs.baseline.method",
        {"name": "supervized"},
        "runs.baseline.method.name",
        "did you mean supervised?",
    ),
    (
        "runs.baseline.method",
        {"options": {"temperature": 4}},
        "runs.baseline.method.options.temperature",
        "no options",
    ),
    (
        "runs.distilled.method.options.loses",
        {},
        "runs.distilled.method.options.loses",
        "did you mean losses?",
    ),
    (
        "runs.distilled.method.options.losses",
        3,
        "runs.distilled.method.options.losses",
        "dictionary",
    ),
    (f"{LOSSES}.soft_targets", {}, LOSSES, "did you mean soft_target?"),
    (
        f"{LOSSES}.soft_target.temprature",
        4,
        f"{LOSSES}.soft_target.temprature",
        "did you mean temperature?",
    ),
    (f"{LOSSES}.soft_target.temperature", 0, f"{LOSSES}.soft_target.temperature", "above 0"),
    (f"{LOSSES}.soft_target.temperature", "hot", f"{LOSSES}.soft_target.temperature", "number"),
    (f"{LOSSES}.soft_target.outputs", "classes", f"{LOSSES}.soft_target.outputs", "unknown option"),
    (f"{LOSSES}.soft_target.taps", [], f"{LOSSES}.soft_target.taps", "unknown option"),
    (f"{LOSSES}.soft_target.weight", -1, f"{LOSSES}.soft_target.weight", "0 or more"),
    (
        f"{LOSSES}.attention_transfer.weight",
        float("nan"),
        f"{LOSSES}.attention_transfer.weight",
        "finite",
    ),
    (f"{LOSSES}.attention_transfer.taps", 3, f"{LOSSES}.attention_transfer.taps", "list"),
    (f"{LOSSES}.attention_transfer.taps", [], f"{LOSSES}.attention_transfer.taps", "no stages"),
    (
        f"{LOSSES}.attention_transfer.taps",
        [["bottleneck"]],
        f"{LOSSES}.attention_transfer.taps",
        "Field required",
    ),
    (
        f"{LOSSES}.attention_transfer.taps",
        [["botleneck", "bottleneck"]],
        f"{LOSSES}.attention_transfer.taps",
        "bottleneck",
    ),
    (
        f"{LOSSES}.attention_transfer.taps",
        [["bottleneck", "encoder9"]],
        f"{LOSSES}.attention_transfer.taps",
        "encoder0",
    ),
    (
        "runs.distilled.method.options.teacher",
        "teached",
        "runs.distilled.method.options.teacher",
        "did you mean teacher?",
    ),
    (
        "runs.distilled.method.options.teacher",
        "distilled",
        "runs.distilled.method.options.teacher",
        "earlier run",
    ),
    (
        "runs.distilled.method.options.teacher",
        None,
        "runs.distilled.method.options.teacher",
        "earlier run",
    ),
    (f"{LOSSES}.dist", {"beta": -1.0}, f"{LOSSES}.dist.beta", "0 or more"),
    ("runs.cache", {"network": STUDENT}, "runs", "another name"),
    (
        "runs.distilled.method.options.teacher",
        ["teacher"],
        "runs.distilled.method.options.teacher",
        "one run",
    ),
    (
        "runs.distilled.method",
        {"name": "assistant_chain", "options": {"teachers": "teacher"}},
        "runs.distilled.method.options.teachers",
        "list",
    ),
    (
        "runs.baseline.network",
        {"name": "unet", "options": {"widths": [4, 4, 4, 4, 4]}},
        "runs.baseline.network.options",
        "more than 1 value",
    ),
    ("runs.distilled.outputs", "classes", "runs.distilled.outputs", "teacher has other outputs"),
    ("runs.baseline.sequences", ["T1", "T1"], "runs.baseline.sequences", "each once"),
    ("runs.baseline.sequences", [], "runs.baseline.sequences", "at least 1"),
    ("data.sequences", ["T1", "FLAIR"], "runs.pair.sequences", "some of T1, FLAIR"),
    ("runs.baseline.init_from", "baseline", "runs.baseline.init_from", "not an earlier run"),
    (
        "runs.baseline.method",
        {"name": "any_subset", "options": {"teacher": "teacher"}},
        "runs.baseline.augmentation.modality_dropout.p",
        "above 0",
    ),
    (
        "runs.baseline.method",
        {"name": "assistant_chain"},
        "runs.baseline.method.options.teachers",
        "not an earlier run",
    ),
    (
        "runs.baseline.method",
        {"name": "assistant_chain", "options": {"teachers": []}},
        "runs.baseline.method.options.teachers",
        "earlier run",
    ),
    (
        "runs.baseline.method",
        {"name": "single_stage"},
        "runs.baseline.method.options.teacher",
        "trained together with the student",
    ),
    (
        "runs.baseline.method",
        {"name": "single_stage", "options": {"teacher": "teacher"}},
        "runs.baseline.method.options.teacher",
        "trained together with the student",
    ),
    (
        "runs.baseline.method",
        {"name": "mutual", "options": {"peer": {"name": "unett"}}},
        "runs.baseline.method.options.peer.network",
        "unet",
    ),
    ("runs.distilled.training", {"compile": True}, "runs.distilled.training.compile", "hooks"),
]


@pytest.mark.parametrize(
    ("path", "value", "field", "words"),
    BAD,
    ids=[f"{path}={value}"[:50] for path, value, _, _ in BAD],
)
def test_bad_recipes(tmp_path, path, value, field, words):
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed(path, value), sort_keys=False))
    with pytest.raises(RecipeError) as caught:
        resolve(Recipe.open(file), file)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_teacher_after_its_student_is_refused():
    runs = distilled()
    backwards = {name: runs[name] for name in ("distilled", "baseline", "teacher")}
    with pytest.raises(RecipeError, match="earlier run"):
        recipe(backwards)


@pytest.mark.parametrize(
    ("given", "kind"), [(5, int), (0.2, float), ("2/5", str), (["a", "b"], tuple)]
)
def test_validation_is_a_number_a_share_a_fold_or_ids(given, kind):
    assert type(recipe(data={"validation": given}).data.validation) is kind


def test_a_run_is_complete_and_its_own_keys_win():
    runs = {
        "a": {"network": STUDENT, "training": {"optimiser": {"rate": 0.5}}},
        "b": {"network": STUDENT},
    }
    parsed = recipe(runs, training={"steps": 77})
    assert parsed.runs["a"].training.steps == 77
    assert (parsed.runs["a"].training.optimiser.rate, parsed.runs["b"].training.optimiser.rate) == (
        0.5,
        0.01,
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_hold_together(path):
    parsed = Recipe.open(path)
    assert [run.name for run in resolve(parsed, path)] == list(parsed.runs)
    assert isinstance(parsed, Recipe)
    assert parsed.name == path.stem
    assert Recipe.of(yaml.safe_load(parsed.to_yaml()), Path("again")) == parsed
