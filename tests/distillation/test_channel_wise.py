"""Channel-wise distillation against float64 NumPy, and the properties the formula promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.distillation.channel_wise import channel_wise

KINDS = ["regions", "classes"]


def logits(seed, scale=2.0, dtype=torch.float32):
    return scale * torch.randn(
        2, 3, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def by_numpy(student, teacher, temperature):
    total, (b, k) = 0.0, student.shape[:2]
    for case in range(b):
        for channel in range(k):
            s, t = (
                np.exp(x[case, channel].double().numpy().ravel() / temperature)
                for x in (student, teacher)
            )
            p, q = t / t.sum(), s / s.sum()
            total += (p * np.log(p / q)).sum()
    return temperature**2 * total / (b * k)


@pytest.mark.parametrize("outputs", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_golden_values_against_numpy(outputs, temperature):
    student, teacher = logits(0), logits(1)
    got = channel_wise(student, teacher, outputs=outputs, temperature=temperature)
    assert got.item() == pytest.approx(by_numpy(student, teacher, temperature), rel=1e-5)


def test_a_value_worked_by_hand():
    """Two voxels, teacher 3:1, student 1:1: KL = ¾ ln(3/2) + ¼ ln(1/2), whatever the number of
    channels.
    """
    teacher = torch.tensor([np.log(3.0), 0.0]).float().reshape(1, 1, 2, 1, 1).repeat(2, 3, 1, 1, 1)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert channel_wise(
        torch.zeros_like(teacher), teacher, temperature=1.0
    ).item() == pytest.approx(expected, rel=1e-5)


@given(shift=st.lists(st.floats(-30, 30), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_teaches_where_not_how_sure(shift):
    student, teacher = logits(2), logits(3)
    moved = student + torch.tensor(shift).view(3, 1, 1, 1)
    torch.testing.assert_close(
        channel_wise(moved, teacher), channel_wise(student, teacher), rtol=1e-3, atol=1e-5
    )


def test_zero_at_identity_positive_elsewhere():
    x = logits(4)
    same = x.clone().requires_grad_()
    loss = channel_wise(same, x)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert same.grad.abs().max() < 1e-6
    assert channel_wise(x, logits(5)) > 0.1


def test_order_of_channels_voxels_and_cases_does_not_matter():
    student, teacher = logits(6), logits(7)
    for dimension in range(5):
        order = torch.randperm(student.shape[dimension])
        got = channel_wise(
            student.index_select(dimension, order), teacher.index_select(dimension, order)
        )
        torch.testing.assert_close(got, channel_wise(student, teacher))


def test_the_size_of_the_loss_does_not_depend_on_batch_patch_or_channels():
    student, teacher = logits(8), logits(9)
    for tiles in ((2, 1, 1, 1, 1), (1, 2, 1, 1, 1), (1, 1, 3, 1, 2)):
        torch.testing.assert_close(
            channel_wise(student.repeat(tiles), teacher.repeat(tiles)),
            channel_wise(student, teacher),
        )


def test_t_squared_keeps_the_gradient():
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        student = logits(10, 0.05).requires_grad_()
        channel_wise(student, logits(11, 0.05), temperature=temperature).backward()
        sizes.append(student.grad.norm().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.02)


def test_gradient_reaches_the_student_alone():
    student, teacher = (
        logits(12, dtype=torch.float64).requires_grad_(),
        logits(13, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda s: channel_wise(s, teacher.detach(), temperature=2.0), (student,)
    )
    channel_wise(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_finite_at_extreme_logits():
    student, teacher = torch.full((1, 2, 2, 2, 2), -80.0), torch.full((1, 2, 2, 2, 2), -80.0)
    student[..., 0], teacher[..., 1] = 80.0, 80.0
    student.requires_grad_()
    loss = channel_wise(student, teacher, temperature=1.0)
    assert loss.item() == pytest.approx(160, rel=1e-5)
    loss.backward()
    assert student.grad.isfinite().all()


def test_float32_under_autocast():
    student, teacher = logits(14).bfloat16(), logits(15).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = channel_wise(student, teacher)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(by_numpy(student.float(), teacher.float(), 4.0), rel=1e-5)
