"""Segmentation losses by name: options, partial labels, and what a recipe is told."""

import numpy as np
import pytest
import torch

from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation import (
    SEGMENTATION_LOSSES,
    SegmentationLoss,
    class_logits_to_region_logits,
    dice_focal,
    regions_to_classes,
    segmentation_loss,
    soft_dice,
)
from gliodistill.training.resolve import resolve_run
from tiny_cohort import STUDENT, recipe


def nested(seed: int = 0) -> torch.Tensor:
    shares = torch.from_numpy(np.random.default_rng(seed).random((2, 3, 4, 5, 3)))
    return torch.cummin(shares, dim=1).values


def logits(channels: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, channels, 4, 5, 3)))


@pytest.mark.parametrize(("outputs", "channels"), [("regions", 3), ("classes", 4)])
@pytest.mark.parametrize("partial", [False, True])
def test_focal_without_focus_is_cross_entropy(outputs, channels, partial):
    known = nested(5) if partial else None
    plain = segmentation_loss(logits(channels), nested(), outputs, known=known)
    torch.testing.assert_close(
        dice_focal(logits(channels), nested(), outputs, known=known, gamma=0.0), plain
    )


def test_focal_is_its_formula():
    z, t = logits(3).numpy(), nested().numpy()
    p = 1 / (1 + np.exp(-z))
    focal = -(t * (1 - p) ** 1.5 * np.log(p) + (1 - t) * p**1.5 * np.log(1 - p)).mean()
    dice = float(soft_dice(torch.from_numpy(p), torch.from_numpy(t)))
    got = float(dice_focal(torch.from_numpy(z), nested(), "regions", gamma=1.5))
    assert got == pytest.approx(dice + focal, rel=1e-9)
    z = logits(4).numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    classes = regions_to_classes(nested())
    focal = -(classes.numpy() * (1 - p) ** 2 * np.log(p)).sum(1).mean()
    dice = float(soft_dice(torch.from_numpy(p)[:, 1:], classes[:, 1:]))
    got = float(dice_focal(torch.from_numpy(z), nested(), "classes"))
    assert got == pytest.approx(dice + focal, rel=1e-9)


@pytest.mark.parametrize("name", ["dice_cross_entropy", "dice_focal"])
def test_what_is_not_known_has_no_gradient(name):
    known = torch.zeros(2, 3, 4, 5, 3, dtype=torch.float64)
    known[:, 0, :2] = 1
    z = logits(4).requires_grad_()
    SegmentationLoss(name)(z, nested(), "classes", known).backward()
    assert z.grad[:, :, 2:].abs().sum() == 0
    assert z.grad[:, :, :2].abs().sum() > 0
    whole = class_logits_to_region_logits(z)[:, :1]
    assert whole.shape[1] == 1


def test_a_recipe_names_one_for_all_runs_or_for_one():
    named = {"name": "dice_focal", "options": {"gamma": 1.5}}
    runs = {"first": {"network": STUDENT}, "second": {"network": STUDENT}}
    shared = recipe(runs, segmentation_loss=named)
    assert resolve_run(shared, "second").segmentation_loss == SegmentationLoss(
        "dice_focal", {"gamma": 1.5}
    )
    runs["second"]["segmentation_loss"] = named
    own = recipe(runs)
    assert resolve_run(own, "first").segmentation_loss == SegmentationLoss("dice_cross_entropy")
    method = resolve_run(own, "second").build_method(lambda name: None)
    assert method.segmentation_loss.options == {"gamma": 1.5}


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"name": "dice_focl"}, "did you mean dice_focal"),
        ({"name": "dice_focal", "options": {"gama": 1}}, "did you mean gamma"),
        ({"name": "dice_focal", "options": {"gamma": "x"}}, "segmentation_loss.options.gamma"),
        ({"name": "dice_focal", "options": {"gamma": -1}}, "runs.baseline.segmentation_loss.gamma"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(loss, words):
    with pytest.raises(RecipeError, match=words):
        recipe(segmentation_loss=loss)


def test_a_method_that_leaves_dice_out_needs_a_loss_with_that_option():
    method = {"name": "single_stage", "options": {"teacher": STUDENT, "dice": False}}
    runs = {"single": {"network": STUDENT, "method": method}}
    built = resolve_run(recipe(runs), "single").build_method(lambda name: None)
    assert built.segmentation_loss.options == {"dice": False}
    with pytest.raises(RecipeError, match=r"runs\.single\.method\.options\.dice"):
        recipe(runs, segmentation_loss={"name": "dice_focal"})


def test_a_loss_that_does_not_ask_what_is_known_refuses_partial_labels():
    name = "whole_only_example"

    def whole_only(logits, regions, outputs):
        """An example that takes every label as known."""
        return logits.mean()

    if name not in SEGMENTATION_LOSSES:
        SEGMENTATION_LOSSES.register(name)(whole_only)
    assert SegmentationLoss(name)(logits(3), nested(), "regions").ndim == 0
    with pytest.raises(RecipeError, match="partial labels"):
        SegmentationLoss(name)(logits(3), nested(), "regions", nested())
