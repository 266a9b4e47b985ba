"""The segmentation loss against float64 NumPy."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from gliodistill.methods.segmentation import (
    class_logits_to_region_logits,
    deep_supervision_weights,
    deeply_supervised,
    region_logits,
    regions_to_classes,
    segmentation_loss,
    soft_dice,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def dice_by_numpy(p, t, eps=1e-5):
    axes = (0, 2, 3, 4)
    return 1 - np.mean((2 * (p * t).sum(axes) + eps) / (p.sum(axes) + t.sum(axes) + eps))


def loss_by_numpy(logits, regions, outputs):
    logits, regions = logits.astype(np.float64), regions.astype(np.float64)
    if outputs == "regions":
        p = sigmoid(logits)
        return dice_by_numpy(p, regions) - np.mean(
            regions * np.log(p) + (1 - regions) * np.log(1 - p)
        )
    whole, core, enhancing = regions[:, 0], regions[:, 1], regions[:, 2]
    classes = np.stack([1 - whole, core - enhancing, whole - core, enhancing], 1)
    p = softmax(logits)
    return dice_by_numpy(p[:, 1:], classes[:, 1:]) - np.mean((classes * np.log(p)).sum(1))


def example(outputs, sides=(6, 4, 8), seed=0, dtype=torch.float32):
    random = np.random.default_rng(seed)
    nested = np.cumprod(random.random((2, 3, *sides)) < 0.6, axis=1).astype(np.float64)
    logits = random.normal(0, 2, (2, 3 if outputs == "regions" else 4, *sides))
    return torch.tensor(logits, dtype=dtype), torch.tensor(nested, dtype=dtype)


@pytest.mark.parametrize("outputs", ["regions", "classes"])
def test_loss_is_that_of_numpy(outputs):
    logits, regions = example(outputs)
    got = segmentation_loss(logits, regions, outputs).item()
    assert got == pytest.approx(loss_by_numpy(logits.numpy(), regions.numpy(), outputs), rel=1e-5)


def test_soft_dice_worked_by_hand():
    """p = ½ everywhere, truth one of two voxels: 2·½ / (1 + 1) = ½, and an absent channel predicted
    absent: 1.
    """
    p = torch.tensor([[[[[0.5, 0.5]]], [[[0.0, 0.0]]]]])
    t = torch.tensor([[[[[1.0, 0.0]]], [[[0.0, 0.0]]]]])
    assert soft_dice(p, t).item() == pytest.approx(1 - (0.5 + 1) / 2, abs=1e-5)


@pytest.mark.parametrize("outputs", ["regions", "classes"])
def test_deep_supervision_is_that_of_numpy(outputs):
    finest, regions = example(outputs, (8, 8, 4))
    coarse, coarsest = example(outputs, (4, 4, 2), 1)[0], example(outputs, (2, 2, 1), 2)[0]
    expected, total = 0.0, 0.0
    for head, factor, weight in ((finest, 1, 4), (coarse, 2, 2), (coarsest, 4, 1)):
        b, k, x, y, z = regions.shape
        blocks = regions.numpy().reshape(
            b, k, x // factor, factor, y // factor, factor, z // factor, factor
        )
        expected += weight * loss_by_numpy(head.numpy(), blocks.mean((3, 5, 7)), outputs)
        total += weight
    got = deeply_supervised((finest, coarse, coarsest), regions, outputs).item()
    assert got == pytest.approx(expected / total, rel=1e-5)


def test_deep_supervision_weights():
    assert deep_supervision_weights(1) == [1.0]
    np.testing.assert_allclose(deep_supervision_weights(3), np.array([4, 2, 1]) / 7)


def test_classes_and_regions_are_the_same_probabilities():
    logits = example("classes", dtype=torch.float64)[0]
    p = softmax(logits.numpy())
    expected = np.stack([p[:, 1:].sum(1), p[:, 1] + p[:, 3], p[:, 3]], 1)
    np.testing.assert_allclose(
        sigmoid(class_logits_to_region_logits(logits).numpy()), expected, rtol=1e-12
    )
    assert region_logits(logits, "classes").shape[1] == 3
    extreme = torch.tensor([60.0, -60.0, 0.0, 40.0], dtype=torch.float64).view(1, 4, 1, 1, 1)
    assert torch.isfinite(class_logits_to_region_logits(extreme)).all()


def test_regions_are_their_own_logits():
    logits = example("regions")[0]
    assert region_logits(logits, "regions") is logits


def test_shares_of_classes_sum_to_one_and_return():
    regions = torch.tensor([[0.75, 0.5, 0.125]]).view(1, 3, 1, 1, 1)
    classes = regions_to_classes(regions)
    assert classes.flatten().tolist() == [0.25, 0.375, 0.25, 0.125]
    _, necrosis, oedema, enhancing = classes.unbind(1)
    assert torch.equal(
        torch.stack([necrosis + oedema + enhancing, necrosis + enhancing, enhancing], 1), regions
    )


@pytest.mark.parametrize("outputs", ["regions", "classes"])
def test_a_perfect_prediction_costs_nothing(outputs):
    _, regions = example(outputs)
    truth = regions if outputs == "regions" else regions_to_classes(regions)
    assert segmentation_loss((truth * 2 - 1) * 50, regions, outputs).item() == pytest.approx(
        0, abs=1e-5
    )
    wrong = segmentation_loss((1 - truth * 2) * 50, regions, outputs).item()
    assert wrong > 10


@pytest.mark.parametrize("outputs", ["regions", "classes"])
def test_gradients(outputs):
    logits, regions = example(outputs, (2, 3, 2), dtype=torch.float64)
    assert gradcheck(lambda x: segmentation_loss(x, regions, outputs), (logits.requires_grad_(),))


def test_half_precision_logits_are_judged_in_float32():
    logits, regions = example("regions")
    half = logits.to(torch.bfloat16)
    got = segmentation_loss(half, regions, "regions")
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(
        loss_by_numpy(half.float().numpy(), regions.numpy(), "regions"), rel=1e-5
    )
