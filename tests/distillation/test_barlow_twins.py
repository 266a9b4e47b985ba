"""Barlow Twins against float64 NumPy and MONAI, and the properties the formula promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import BarlowTwinsLoss

from gliodistill.distillation.barlow_twins import barlow_twins
from gliodistill.errors import RecipeError


def latent(seed, channels=5, grid=(4, 2, 6), dtype=torch.float32):
    mixing = torch.randn(
        channels, channels, generator=torch.Generator().manual_seed(99), dtype=dtype
    )
    x = torch.randn(2, channels, *grid, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.einsum("ij,bjxyz->bixyz", mixing, x) + 3


def rows(x):
    return x.detach().movedim(1, -1).reshape(-1, x.shape[1])


def by_numpy(student, teacher, off_diagonal=5e-3):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        c = np.corrcoef(rows(s).double().numpy().T, rows(t).double().numpy().T)[
            : s.shape[1], s.shape[1] :
        ]
        total += ((1 - np.diag(c)) ** 2).sum() + off_diagonal * (
            c[~np.eye(len(c), dtype=bool)] ** 2
        ).sum()
    return total


@pytest.mark.parametrize("off_diagonal", [0.0, 5e-3, 1.0])
def test_golden_values_against_numpy(off_diagonal):
    student, teacher = [latent(0), latent(1, 3, (2, 2, 2))], [latent(2), latent(3, 3, (2, 2, 2))]
    got = barlow_twins(student, teacher, off_diagonal=off_diagonal)
    assert got.item() == pytest.approx(by_numpy(student, teacher, off_diagonal), rel=1e-5)


def test_golden_values_against_monai():
    """MONAI divides by the unbiased deviation and then by N, so its correlations are (N − 1)/N of
    ours.
    """
    student, teacher = latent(4, dtype=torch.float64), latent(5, dtype=torch.float64)
    n = len(rows(student))

    def redundancy(loss):  # what λ multiplies
        return loss(1.0) - loss(0.0)

    theirs = redundancy(lambda weight: BarlowTwinsLoss(weight)(rows(student), rows(teacher)))
    ours = redundancy(lambda weight: barlow_twins([student], [teacher], off_diagonal=weight))
    assert ours.item() == pytest.approx(
        theirs.item() * (n / (n - 1)) ** 2, rel=1e-4
    )  # MONAI adds 1e-6 to the deviation
    many = 500  # N grows, the correlations stay, and the difference goes
    full = BarlowTwinsLoss()(rows(student).repeat(many, 1), rows(teacher).repeat(many, 1))
    assert barlow_twins([student], [teacher]).item() == pytest.approx(full.item(), rel=1e-4)


def test_independent_channels_that_agree_lose_nothing():
    """Columns of a Hadamard matrix are uncorrelated, so C is the identity."""
    h = torch.ones(1, 1)
    for _ in range(4):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    x = h[:, 1:9].T.reshape(1, 8, 4, 2, 2).clone().requires_grad_()
    loss = barlow_twins([x], [x.detach()])
    assert loss.item() == pytest.approx(0, abs=1e-10)
    loss.backward()
    assert x.grad.abs().max() < 1e-6
    assert barlow_twins([x], [-x]).item() == pytest.approx(8 * 4, rel=1e-5)  # each C_ii = −1


def test_equal_latents_of_chance_keep_the_documented_floor():
    """λ C (C − 1) / N for independent channels."""
    x = torch.randn(2, 64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert barlow_twins([x], [x]).item() == pytest.approx(5e-3 * 64 * 63 / 128, rel=0.1)


@given(size=st.floats(0.1, 10), shift=st.floats(-10, 10))
@settings(max_examples=10, deadline=None)
def test_level_and_size_of_channels_do_not_matter(size, shift):
    student, teacher = latent(6, dtype=torch.float64), latent(7, dtype=torch.float64)
    torch.testing.assert_close(
        barlow_twins([size * student + shift], [teacher]), barlow_twins([student], [teacher])
    )


def test_order_of_cases_channels_and_voxels_does_not_matter():
    student, teacher = latent(8), latent(9)
    for dimension in range(5):
        order = torch.randperm(student.shape[dimension])
        got = barlow_twins(
            [student.index_select(dimension, order)], [teacher.index_select(dimension, order)]
        )
        torch.testing.assert_close(got, barlow_twins([student], [teacher]))


def test_the_size_of_the_loss_does_not_depend_on_batch_or_patch():
    student, teacher = latent(10), latent(11)
    tiled = barlow_twins([student.repeat(2, 1, 1, 3, 1)], [teacher.repeat(2, 1, 1, 3, 1)])
    torch.testing.assert_close(tiled, barlow_twins([student], [teacher]))


def test_coarser_grid_is_met_by_averaging():
    student, teacher = latent(12, grid=(2, 2, 3)), latent(13, grid=(4, 2, 6))
    pooled = teacher.reshape(2, 5, 2, 2, 2, 3, 2).mean((3, 6))
    assert barlow_twins([student], [teacher]).item() == pytest.approx(
        by_numpy([student], [pooled]), rel=1e-5
    )


def test_gradient_flows_into_both_unless_stopped():
    student, teacher = (
        latent(14, 3, dtype=torch.float64).requires_grad_(),
        latent(15, 3, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(lambda s, t: barlow_twins([s], [t]), (student, teacher))
    barlow_twins([student], [teacher], stop_gradient=True).backward()
    assert teacher.grad is None
    stopped, student.grad = student.grad, None
    barlow_twins([student], [teacher]).backward()
    torch.testing.assert_close(student.grad, stopped)
    assert teacher.grad.abs().sum() > 0


def test_constant_channels_give_finite_gradients():
    student, teacher = latent(16), latent(17)
    student[:, 0], teacher[:, 1] = 2.0, 0.0
    student.requires_grad_()
    teacher.requires_grad_()
    loss = barlow_twins([student], [teacher])
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert teacher.grad.isfinite().all()


def test_float32_under_autocast():
    student, teacher = latent(18).bfloat16(), latent(19).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = barlow_twins([student], [teacher])
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(by_numpy([student.float()], [teacher.float()]), rel=1e-4)


def test_channels_must_agree():
    with pytest.raises(RecipeError, match="5 and 7 channels") as error:
        barlow_twins([latent(0)], [latent(1, 7)])
    assert "stages of the same width" in str(error.value)


def test_one_row_has_no_correlation():
    with pytest.raises(RecipeError, match="one voxel"):
        barlow_twins([torch.zeros(1, 4, 1, 1, 1)], [torch.zeros(1, 4, 1, 1, 1)])


def test_stages_are_paired():
    with pytest.raises(RecipeError, match=r"Barlow Twins pairs stages one to one .*0 and 0 stages"):
        barlow_twins([], [])
