"""Batch norms recalibrated for what is exported."""

import pytest
import torch
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.methods import Batch
from gliodistill.networks import build
from gliodistill.networks.layers.subset_norm import SubsetNorm
from gliodistill.training.batch_norm import UNCHANGED, recalibrate
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.loop import BEST, LAST
from gliodistill.training.run import train
from tiny_cohort import recipe

BATCH_NORM = {"name": "unet", "options": {"widths": [4, 8], "norm": "batch"}}
DROPPING = {"modality_dropout": {"p": 0.8}, "noise": 1.0}


def statistics(tensors):
    return {name: tensor for name, tensor in tensors.items() if "running" in name}


def around_tumours(made):
    return made.sampling.model_copy(update={"foreground": 1.0})


def test_the_first_norm_has_the_moments_of_what_its_convolution_gives(prepared):
    """Independently: mean over batches of the mean and of the unbiased variance of float64
    convolutions.
    """
    torch.manual_seed(0)
    network, made = (
        build("unet", **BATCH_NORM["options"]).train(),
        recipe({"baseline": {"network": BATCH_NORM}}),
    )
    sampler = PatchSampler(prepared, around_tumours(made), UNCHANGED, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recalibrate(network, sampler.batches(0, 3, 0))
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm3d))
    with torch.no_grad():
        outputs = [
            convolution.double()(sampler.batch(step).image.double()).transpose(0, 1).flatten(1)
            for step in range(3)
        ]
    torch.testing.assert_close(
        norm.running_mean.double(),
        torch.stack([o.mean(1) for o in outputs]).mean(0),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(
        norm.running_var.double(),
        torch.stack([o.var(1) for o in outputs]).mean(0),
        rtol=1e-4,
        atol=1e-5,
    )
    assert network.training
    assert norm.momentum == 0.1  # training goes on as before
    for name, value in network.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value.to(before[name]), before[name]), name


def test_norms_of_subsets_take_them_once_for_each_subset(prepared):
    torch.manual_seed(0)
    network, made = (
        build("unet", widths=[4, 8], norm="subset"),
        recipe({"baseline": {"network": BATCH_NORM}}),
    )
    sampler = PatchSampler(prepared, around_tumours(made), UNCHANGED, 0)
    recalibrate(network, sampler.batches(0, 2, 0))
    convolution = next(
        module for module in network.modules() if isinstance(module, nn.Conv3d)
    ).double()
    norm = next(module for module in network.modules() if isinstance(module, SubsetNorm))
    assert norm.batches_seen.tolist() == [0] + [2] * 15
    for kept in ([0, 1, 2, 3], [1, 3], [3]):
        outputs = []
        for step in range(2):
            image = sampler.batch(step).image.double()
            image[:, [c for c in range(4) if c not in kept]] = 0
            outputs.append(convolution(image).detach().transpose(0, 1).flatten(1))
        row = sum(2**c for c in kept)
        torch.testing.assert_close(
            norm.running_mean[row].double(),
            torch.stack([o.mean(1) for o in outputs]).mean(0),
            rtol=1e-4,
            atol=1e-5,
        )
        torch.testing.assert_close(
            norm.running_var[row].double(),
            torch.stack([o.var(1) for o in outputs]).mean(0),
            rtol=1e-4,
            atol=1e-5,
        )


def batch_of(image):
    regions = torch.zeros(len(image), 3, *image.shape[2:])
    present = image.abs().amax((2, 3, 4)) > 0
    return Batch(image, image, regions, present, torch.zeros(len(image), dtype=torch.bool))


def test_a_subset_is_taken_from_every_patch_that_has_its_channels():
    """And from no other: a study without T2 has no statistics of a subset with T2."""
    torch.manual_seed(0)
    network = build("unet", widths=[4, 8], norm="subset")
    image = torch.randn(3, 4, 8, 8, 8)
    image[1, 2] = 0
    image[2, :3] = 0
    recalibrate(network, [batch_of(image)])
    norm = next(module for module in network.modules() if isinstance(module, SubsetNorm))
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
    for kept, have in (([0, 1, 2, 3], [0]), ([0, 1, 3], [0, 1]), ([3], [0, 1, 2]), ([2], [0])):
        patches = torch.zeros_like(image[have])
        patches[:, kept] = image[have][:, kept]
        expected = convolution(patches).detach().transpose(0, 1).flatten(1)
        row = sum(2**c for c in kept)
        torch.testing.assert_close(norm.running_mean[row], expected.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var[row], expected.var(1), rtol=1e-4, atol=1e-5)


def test_without_batch_norm_nothing_happens():
    network = build("unet", widths=(4, 8), norm="instance")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recalibrate(network, iter([None]))  # not even looked at
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("validation", [0, 1])
def test_a_run_exports_them_and_trains_the_same_weights(prepared, tmp_path, validation):
    """They are those of undropped, unchanged patches with the weights that are exported; everything
    else is as without.
    """
    experiments = {}
    for batches in (0, 4):
        made = recipe(
            {"baseline": {"network": BATCH_NORM}},
            data={"validation": validation},
            augmentation=DROPPING,
            training={"steps": 6, "batch_norm_recalibration": batches, "validate_every": 6},
        )
        experiments[batches] = train(made, prepared.folder, tmp_path / str(batches))
    (plain, _), (anew, _) = (
        read_tensors(e.folder / "baseline" / BEST) for e in experiments.values()
    )
    assert statistics(anew)
    for name, tensor in anew.items():
        changes = "running" in name or "num_batches" in name
        assert torch.equal(tensor, plain[name]) != changes, name
    experiment = experiments[4]
    network = experiment.load_network("baseline")
    training = prepared.select(set(experiment.split["training"]))
    sampler = PatchSampler(
        training,
        around_tumours(experiment.recipe),
        UNCHANGED,
        experiment.recipe.runs["baseline"].seed,
    )
    recalibrate(
        network,
        sampler.batches(0, 4, 0),
        getattr(torch, experiment.summary("baseline")["precision"]),
    )
    for name, tensor in statistics(network.state_dict()).items():
        torch.testing.assert_close(tensor, anew[f"student.{name}"], rtol=1e-3, atol=1e-4)
    # A finished run is left alone: its weights are those it says it has.
    again = train(experiment.recipe, prepared.folder, tmp_path / "4", resume=True)
    assert again.summary("baseline") == experiment.summary("baseline")


def test_frozen_norms_keep_what_the_run_began_with(prepared, tmp_path):
    """Statistics stay, weights do not, before and after a validation; without a run to begin with,
    or with recalibration, it is refused.
    """
    steps = {"steps": 4, "validate_every": 2}
    runs = {
        "first": {"network": BATCH_NORM},
        "second": {
            "network": BATCH_NORM,
            "init_from": "first",
            "training": steps | {"frozen_norms": True},
        },
    }
    made = recipe(runs, data={"validation": 1}, training=steps)
    folder = train(made, prepared.folder, tmp_path / "run").folder
    first, _ = read_tensors(folder / "first" / BEST)
    second, _ = read_tensors(folder / "second" / LAST)
    kept = statistics({n: t for n, t in second.items() if n.startswith("network/")})
    assert kept
    for name, tensor in kept.items():
        assert torch.equal(tensor, first[name.removeprefix("network/")]), name
    assert any(
        not torch.equal(tensor, first[name.removeprefix("network/")])
        for name, tensor in second.items()
        if name.startswith("network/") and "running" not in name and "num_batches" not in name
    )
    alone = {"first": {"network": BATCH_NORM, "training": {"frozen_norms": True}}}
    with pytest.raises(RecipeError, match="no statistics to keep"):
        train(recipe(alone), prepared.folder, tmp_path / "alone")
    both = runs | {"second": runs["second"] | {"training": {"frozen_norms": True}}}
    with pytest.raises(RecipeError, match="not both"):
        recipe(both, training={"batch_norm_recalibration": 2})
