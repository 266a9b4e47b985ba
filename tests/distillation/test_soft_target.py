"""Soft targets against float64 NumPy, and the properties the formula promises."""

import numpy as np
import pytest
import torch

from gliodistill.distillation import soft_target

KINDS = ["regions", "classes"]


def by_numpy(student, teacher, outputs, temperature):
    s, t = (x.detach().numpy().astype(np.float64) / temperature for x in (student, teacher))
    if outputs == "classes":
        p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (t, s))
        divergence = p * np.log(p / q)
    else:
        p, q = (1 / (1 + np.exp(-x)) for x in (t, s))
        divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    b, _, x, y, z = student.shape
    return temperature**2 * divergence.sum() / (b * x * y * z)


def logits(seed, scale=2.0, dtype=torch.float32):
    return scale * torch.randn(
        2, 3, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


@pytest.mark.parametrize("outputs", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.5, 4.0])
def test_golden_values_against_numpy(outputs, temperature):
    student, teacher = logits(0), logits(1)
    got = soft_target(student, teacher, outputs=outputs, temperature=temperature)
    assert got.item() == pytest.approx(by_numpy(student, teacher, outputs, temperature), rel=1e-5)


def test_a_value_worked_by_hand():
    """Teacher sure to odds 3:1, student undecided: KL = ¾ ln(3/2) + ¼ ln(1/2)."""
    teacher, student = torch.full((1, 1, 2, 2, 2), np.log(3.0)).float(), torch.zeros(1, 1, 2, 2, 2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert soft_target(student, teacher, temperature=1.0).item() == pytest.approx(
        expected, rel=1e-5
    )
    two = torch.cat([teacher, torch.zeros_like(teacher)], dim=1)
    assert soft_target(
        torch.zeros_like(two), two, outputs="classes", temperature=1.0
    ).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("outputs", KINDS)
def test_zero_at_identity_positive_elsewhere(outputs):
    x = logits(2)
    same = x.clone().requires_grad_()
    loss = soft_target(same, x, outputs=outputs)
    assert loss.item() == pytest.approx(0, abs=1e-7)
    loss.backward()
    assert same.grad.abs().max() < 1e-7
    assert soft_target(x, logits(3), outputs=outputs) > 0.1


@pytest.mark.parametrize("outputs", KINDS)
def test_gradient(outputs):
    student, teacher = (
        logits(4, dtype=torch.float64).requires_grad_(),
        logits(5, dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(lambda s: soft_target(s, teacher, outputs=outputs), (student,))


@pytest.mark.parametrize("outputs", KINDS)
def test_nothing_flows_to_the_teacher(outputs):
    student, teacher = logits(6).requires_grad_(), logits(7).requires_grad_()
    soft_target(student, teacher, outputs=outputs).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("outputs", KINDS)
def test_order_of_channels_voxels_and_cases_does_not_matter(outputs):
    student, teacher = logits(8), logits(9)
    expected = soft_target(student, teacher, outputs=outputs)
    for dimension in range(5):
        order = torch.randperm(student.shape[dimension])
        got = soft_target(
            student.index_select(dimension, order),
            teacher.index_select(dimension, order),
            outputs=outputs,
        )
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("outputs", KINDS)
def test_the_size_of_the_loss_does_not_depend_on_batch_or_patch(outputs):
    student, teacher = logits(10), logits(11)
    tiled = soft_target(
        student.repeat(2, 1, 1, 3, 1), teacher.repeat(2, 1, 1, 3, 1), outputs=outputs
    )
    torch.testing.assert_close(tiled, soft_target(student, teacher, outputs=outputs))


@pytest.mark.parametrize("outputs", KINDS)
def test_t_squared_keeps_the_gradient(outputs):
    """Small logits: the gradient tends to the same limit at any temperature (Hinton et al. 2015,
    eq. 4).
    """
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        student, teacher = logits(12, 0.05).requires_grad_(), logits(13, 0.05)
        soft_target(student, teacher, outputs=outputs, temperature=temperature).backward()
        sizes.append(student.grad.norm().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.02)


@pytest.mark.parametrize("outputs", KINDS)
def test_finite_at_extreme_logits(outputs):
    student, teacher = torch.full((1, 2, 1, 1, 1), -80.0), torch.full((1, 2, 1, 1, 1), 80.0)
    student[:, 1], teacher[:, 1] = 80.0, -80.0
    student.requires_grad_()
    loss = soft_target(student, teacher, outputs=outputs, temperature=1.0)
    assert loss.item() == pytest.approx(
        160, rel=1e-5
    )  # regions: −log σ(−80) twice; classes: −log softmax of 160 apart
    loss.backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("outputs", KINDS)
def test_float32_under_autocast(outputs):
    student, teacher = logits(14).bfloat16(), logits(15).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = soft_target(student, teacher, outputs=outputs)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(
        by_numpy(student.float(), teacher.float(), outputs, 4.0), rel=1e-5
    )
