"""Attention transfer against float64 NumPy, and the properties the formula promises."""

import numpy as np
import pytest
import torch

from gliodistill.distillation import attention_transfer
from gliodistill.errors import RecipeError


def features(seed, channels=3, grid=(4, 2, 6), dtype=torch.float32):
    return torch.randn(
        2, channels, *grid, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def by_numpy(student, teacher):
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        a, b = (
            (f.detach().numpy().astype(np.float64) ** 2).mean(1).reshape(len(f), -1) for f in pair
        )
        a, b = (m / np.sqrt((m**2).sum(1, keepdims=True)) for m in (a, b))
        total += ((a - b) ** 2).sum(1).mean()
    return total


def test_golden_values_against_numpy():
    student = [features(0), features(1, 5, (2, 2, 2))]
    teacher = [features(2, 7), features(3, 4, (2, 2, 2))]
    assert attention_transfer(student, teacher).item() == pytest.approx(
        by_numpy(student, teacher), rel=1e-5
    )


def test_coarser_grid_is_met_by_averaging():
    student, teacher = features(4, 3, (2, 2, 3)), features(5, 8, (4, 2, 6))
    energy = teacher.square().mean(1, keepdim=True)
    pooled = energy.reshape(2, 1, 2, 2, 2, 3, 2).mean((3, 6)).sqrt()
    expected = by_numpy([student], [pooled])
    assert attention_transfer([student], [teacher]).item() == pytest.approx(expected, rel=1e-5)
    assert attention_transfer([teacher], [student]).item() == pytest.approx(expected, rel=1e-5)


def test_zero_at_identity_whatever_the_scale_or_channel_order():
    x = features(6)
    for other in (x, 5 * x, -x, x[:, [2, 0, 1]], x.repeat(1, 4, 1, 1, 1)):
        assert attention_transfer([x], [other]).item() == pytest.approx(0, abs=1e-10)


def test_maps_that_share_no_voxel_are_two_apart():
    a, b = torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 2, 2, 2, 2)
    a[..., 0, 0, 0], b[..., 1, 1, 1] = 3.0, 0.5
    assert attention_transfer([a], [b]).item() == pytest.approx(2.0)
    assert attention_transfer([a, a], [b, b]).item() == pytest.approx(4.0)


def test_order_of_voxels_and_cases_does_not_matter():
    student, teacher = features(7), features(8)
    expected = attention_transfer([student], [teacher])
    for dimension in (0, 2, 3, 4):
        order = torch.randperm(student.shape[dimension])
        got = attention_transfer(
            [student.index_select(dimension, order)], [teacher.index_select(dimension, order)]
        )
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("grid", [(4, 2, 6), (2, 2, 3)])
def test_gradient(grid):
    student, teacher = (
        features(9, 2, grid, torch.float64).requires_grad_(),
        features(10, 3, dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(lambda s: attention_transfer([s], [teacher]), (student,))


def test_nothing_flows_to_the_teacher():
    student, teacher = features(11).requires_grad_(), features(12).requires_grad_()
    attention_transfer([student], [teacher]).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_silent_features_give_finite_gradients():
    student = torch.zeros(1, 2, 2, 2, 2, requires_grad=True)
    attention_transfer([student], [torch.randn(1, 2, 2, 2, 2)]).backward()
    assert student.grad.isfinite().all()


def test_float32_under_autocast():
    student, teacher = features(13).bfloat16(), features(14).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = attention_transfer([student], [teacher])
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(by_numpy([student.float()], [teacher.float()]), rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [([], []), ([features(0)], []), ([features(0)], [features(1), features(2)])],
)
def test_stages_are_paired(student, teacher):
    with pytest.raises(RecipeError, match=f"{len(student)} and {len(teacher)} stages"):
        attention_transfer(student, teacher)
