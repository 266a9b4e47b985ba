"""Starting from a run of another training: fine-tuning."""

import json

import numpy as np
import pytest
import torch

from gliodistill.errors import CheckpointError, RecipeError
from gliodistill.recipes.schema import PRETRAINED
from gliodistill.training.checkpoint import read_tensors, weights_hash
from gliodistill.training.experiment import Experiment
from gliodistill.training.loop import BEST, LAST
from gliodistill.training.packaging import export
from gliodistill.training.run import train
from tiny_cohort import recipe

TRAINING = {"steps": 1, "save_every": 1, "validate_every": 1, "ema": 0, "warmup": 0}
STILL = {"optimiser": {"name": "sgd", "rate": 1e-30, "weight_decay": 0}}


def unet(*widths, **options):
    return {"name": "unet", "options": {"widths": list(widths), **options}}


def tuning(network=None, **changes):
    return recipe(
        {
            "tuned": {
                "network": network or unet(4, 8),
                "init_from": PRETRAINED,
                "seed": 9,
                "training": STILL,
                **changes,
            }
        },
        training=TRAINING,
    )


@pytest.fixture(scope="module")
def pretrained(prepared, tmp_path_factory):
    """Another training, of one finished run."""
    folder = tmp_path_factory.mktemp("other") / "run"
    return train(
        recipe({"network": {"network": unet(4, 8), "seed": 3}}, training=TRAINING),
        prepared.folder,
        folder,
        jobs=1,
    )


def test_a_run_starts_from_the_weights_of_another_training(prepared, pretrained, tmp_path):
    tuned = train(tuning(), prepared.folder, tmp_path / "run", jobs=1, pretrained=pretrained.folder)
    assert weights_hash(tuned.load_network("tuned").state_dict()) == weights_hash(
        pretrained.load_network("network").state_dict()
    )
    facts = json.loads((tmp_path / "run" / "data.json").read_text())["pretrained"]
    assert facts == {
        "folder": str(pretrained.folder.resolve()),
        "recipe": pretrained.recipe.name,
        "run": "network",
        "weights_sha256": pretrained.summary("network")["weights_sha256"],
    }
    assert Experiment.open(tuned.folder).pretrained == facts


def test_a_model_says_what_it_was_fine_tuned_from(prepared, pretrained, tmp_path):
    first = {"network": unet(4, 8), "init_from": PRETRAINED, "training": STILL}
    made = recipe({"first": first, "then": {**first, "init_from": "first"}}, training=TRAINING)
    tuned = train(made, prepared.folder, tmp_path / "run", jobs=1, pretrained=pretrained.folder)
    data = export(tuned.folder / "then", tmp_path / "model", formats=["torch"]).spec.training.data
    assert data.endswith(
        f"; fine-tuned from run first; fine-tuned from run network of {pretrained.recipe.name}"
    )


def test_a_wider_network_grows_from_the_given_one(prepared, pretrained, tmp_path):
    tuned = train(
        tuning(unet(8, 12)),
        prepared.folder,
        tmp_path / "run",
        jobs=1,
        pretrained=pretrained.folder / "network",
    )
    x = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            tuned.load_network("tuned")(x)[0],
            pretrained.load_network("network")(x)[0],
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_stopped_run_goes_on_without_being_told_again(prepared, pretrained, tmp_path):
    made = tuning(training={**TRAINING, "steps": 3})

    def watch(run, steps, progress):
        if progress.step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(
            made,
            prepared.folder,
            tmp_path / "parts",
            jobs=1,
            pretrained=pretrained.folder,
            watch=watch,
        )
    train(made, prepared.folder, tmp_path / "parts", jobs=1, resume=True)
    train(made, prepared.folder, tmp_path / "whole", jobs=1, pretrained=pretrained.folder)
    parts, whole = (
        read_tensors(tmp_path / name / "tuned" / LAST)[0] for name in ("parts", "whole")
    )
    assert weights_hash(parts) == weights_hash(whole)


def test_a_given_start_must_be_given(prepared, tmp_path):
    with pytest.raises(CheckpointError, match="needs a pretrained run") as caught:
        train(tuning(), prepared.folder, tmp_path / "run", jobs=1)
    assert "--pretrained" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_weights_are_refused_on_resume(prepared, pretrained, tmp_path):
    made = tuning(training={**TRAINING, "steps": 2})

    def watch(run, steps, progress):
        if progress.step == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(
            made,
            prepared.folder,
            tmp_path / "run",
            jobs=1,
            pretrained=pretrained.folder,
            watch=watch,
        )
    other = train(
        recipe({"network": {"network": unet(4, 8), "seed": 4}}, training=TRAINING),
        prepared.folder,
        tmp_path / "other",
        jobs=1,
    )
    with pytest.raises(CheckpointError, match="initialised from other weights"):
        train(made, prepared.folder, tmp_path / "run", jobs=1, pretrained=other.folder, resume=True)


def test_before_the_first_checkpoint_the_start_is_remembered_or_changed(
    prepared, pretrained, tmp_path
):
    def watch(run, steps, progress):
        raise InterruptedError

    made, out = tuning(training={**TRAINING, "steps": 2}), tmp_path / "run"
    with pytest.raises(InterruptedError):
        train(made, prepared.folder, out, jobs=1, pretrained=pretrained.folder, watch=watch)
    with pytest.raises(InterruptedError):  # as it was given
        train(made, prepared.folder, out, jobs=1, resume=True, watch=watch)
    assert Experiment.open(out).pretrained["recipe"] == "tiny"
    other = train(
        recipe({"network": {"network": unet(4, 8), "seed": 4}}, training=TRAINING),
        prepared.folder,
        tmp_path / "other",
        jobs=1,
    )
    again = train(made, prepared.folder, out, jobs=1, pretrained=other.folder, resume=True)
    assert again.pretrained["weights_sha256"] == other.summary("network")["weights_sha256"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": unet(4, 8, norm="batch")}, "differ in more than width"),
        ({"network": unet(2, 8)}, "narrower"),
        ({"sequences": ["FLAIR"]}, "other sequences"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(
    prepared, pretrained, tmp_path, changes, words
):
    with pytest.raises(RecipeError, match=words):
        train(
            tuning(**changes),
            prepared.folder,
            tmp_path / "run",
            jobs=1,
            pretrained=pretrained.folder,
        )
    assert not (tmp_path / "run").exists()


def test_no_run_may_be_called_given():
    with pytest.raises(RecipeError, match="another name than pretrained"):
        recipe({PRETRAINED: {"network": unet(4, 8)}}, training=TRAINING)


def test_what_is_kept_are_shares_of_the_weights_of_others(prepared, pretrained, tmp_path):
    """Of the given ones and of an earlier run's, in those of the same run without averaging; that
    it keeps changes nothing it learns.
    """
    network, learning = unet(4, 8, norm="batch"), {"steps": 2, "ema": 0.5}
    first = train(
        recipe({"network": {"network": network}}, training=TRAINING),
        prepared.folder,
        tmp_path / "first",
        jobs=1,
    )
    middle = {"network": network, "init_from": PRETRAINED, "seed": 1, "training": learning}
    last = {**middle, "init_from": "middle", "seed": 2}
    made = recipe(
        {
            "middle": middle,
            "moved": last,
            "kept": {**last, "weight_averaging": {PRETRAINED: 0.25, "middle": 0.35}},
        },
        training=TRAINING,
    )
    tuned = train(made, prepared.folder, tmp_path / "run", jobs=1, pretrained=first.folder)
    runs = ((first, "network"), (tuned, "middle"), (tuned, "moved"), (tuned, "kept"))
    states = [of.load_network(name).state_dict() for of, name in runs]
    for name, head in states[0].items():
        middle, moved, kept = (state[name].double() for state in states[1:])
        if head.is_floating_point():
            np.testing.assert_allclose(
                kept, 0.4 * moved + 0.25 * head.double() + 0.35 * middle, rtol=1e-5, atol=1e-7
            )
        else:
            assert torch.equal(kept, moved)
    assert len({weights_hash(state) for state in states}) == 4
    assert tuned.summary("kept")["weights_sha256"] == weights_hash(
        read_tensors(tuned.folder / "kept" / BEST)[0]
    )
    checkpoints = [read_tensors(tuned.folder / name / LAST)[0] for name in ("moved", "kept")]
    assert all(torch.equal(a, b) for a, b in zip(*(c.values() for c in checkpoints), strict=True))
    data = export(tuned.folder / "kept", tmp_path / "model", formats=["torch"]).spec.training.data
    assert data.endswith("; weights averaged with run network of tiny (0.25), run middle (0.35)")


@pytest.mark.parametrize(
    ("runs", "got"),
    [
        ({"kept": {"network": unet(4, 8), "weight_averaging": {PRETRAINED: 0.5}}}, PRETRAINED),
        (
            {
                "first": {"network": unet(4, 8)},
                "kept": {"network": unet(4, 8), "weight_averaging": {"first": 0.5}},
            },
            "first",
        ),
        (
            {
                "first": {"network": unet(4, 8)},
                "kept": {
                    "network": unet(8, 8),
                    "init_from": "first",
                    "weight_averaging": {"first": 0.5},
                },
            },
            "first",
        ),
    ],
)
def test_only_weights_of_the_same_network_are_kept(runs, got):
    with pytest.raises(RecipeError, match="averages weights of another network") as caught:
        recipe(runs, training=TRAINING)
    assert caught.value.got == got and caught.value.field == "runs.kept.weight_averaging"


def test_given_weights_that_are_kept_are_of_the_same_network(prepared, pretrained, tmp_path):
    with pytest.raises(RecipeError, match="averages weights of another network"):
        train(
            tuning(unet(8, 12), weight_averaging={PRETRAINED: 0.5}),
            prepared.folder,
            tmp_path / "run",
            jobs=1,
            pretrained=pretrained.folder,
        )
    assert not (tmp_path / "run").exists()


def test_the_rest_is_the_runs_own():
    first = {"first": {"network": unet(4, 8)}}
    with pytest.raises(RecipeError, match="shares that sum to less than 1"):
        recipe(
            {
                **first,
                "kept": {
                    "network": unet(4, 8),
                    "init_from": "first",
                    "weight_averaging": {"first": 1.0},
                },
            },
            training=TRAINING,
        )
    with pytest.raises(RecipeError, match="not an earlier run"):
        recipe(
            {
                **first,
                "kept": {
                    "network": unet(4, 8),
                    "init_from": "first",
                    "weight_averaging": {"later": 0.2},
                },
            },
            training=TRAINING,
        )
