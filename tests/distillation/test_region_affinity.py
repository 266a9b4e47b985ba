"""Region affinity against float64 NumPy loops, and the properties the formula promises."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.distillation.region_affinity import region_affinity
from gliodistill.errors import RecipeError

GRID = (4, 4, 4)


def features(seed, channels=5, grid=GRID, dtype=torch.float32):
    return torch.randn(
        2, channels, *grid, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def labels(seed=0, grid=GRID):
    """0 background, 1 NCR, 2 ED, 3 ET at random; in the second case no ET."""
    drawn = torch.randint(0, 4, (2, *grid), generator=torch.Generator().manual_seed(seed))
    drawn[1][drawn[1] == 3] = 2
    return drawn


def regions_of(labels):
    return torch.stack([labels > 0, (labels == 1) | (labels == 3), labels == 3], 1).float()


def by_numpy(student, teacher, labels):
    """One cosine at a time; features on the grid of the labels."""

    def cosine(f, case, i, j):
        f, where = f.detach().double().numpy()[case], labels.numpy()[case]
        a, b = f[:, where == i].mean(1), f[:, where == j].mean(1)
        return a @ b / np.sqrt((a @ a) * (b @ b))

    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        squares = []
        for case, (i, j) in itertools.product(
            range(len(labels)), itertools.combinations(range(4), 2)
        ):
            if (labels[case] == i).any() and (labels[case] == j).any():
                squares.append((cosine(s, case, i, j) - cosine(t, case, i, j)) ** 2)
        total += np.mean(squares)
    return total


def test_golden_values_against_numpy():
    where = labels()
    student, teacher = [features(0), features(1, 3)], [features(2, 7), features(3, 3)]
    got = region_affinity(student, teacher, regions=regions_of(where))
    assert got.item() == pytest.approx(by_numpy(student, teacher, where), rel=1e-5)


def test_a_value_worked_by_hand():
    """Two tissues: the student holds them orthogonal, the teacher alike: (0 − 1)² = 1."""
    where = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    where[:, 0] = 2
    student = torch.stack([(where == 2), (where != 2)], 1).float()
    teacher = torch.ones(1, 3, 2, 2, 2)
    assert region_affinity([student], [teacher], regions=regions_of(where)).item() == pytest.approx(
        1
    )


def test_coarse_stages_see_tissues_by_their_share():
    """On a grid half as fine, a voxel's weight is its share: the same as features repeated onto the
    fine grid.
    """
    where = labels(1)
    coarse, teacher = features(4, 5, (2, 2, 2)), features(5, 6)
    repeated = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    got = region_affinity([coarse], [teacher], regions=regions_of(where))
    assert got.item() == pytest.approx(by_numpy([repeated], [teacher], where), rel=1e-5)


def test_absent_tissues_are_left_out():
    """Absent, or only a trace of interpolation: the same loss."""
    where = labels(2)
    student, teacher = features(6), features(7)
    expected = region_affinity([student], [teacher], regions=regions_of(where))
    traced = regions_of(where)
    traced[1, 2] += 1e-6
    torch.testing.assert_close(region_affinity([student], [teacher], regions=traced), expected)
    alone = region_affinity([student[:1]], [teacher[:1]], regions=regions_of(where)[:1])
    rest = region_affinity([student[1:]], [teacher[1:]], regions=regions_of(where)[1:])
    torch.testing.assert_close(
        expected, (6 * alone + 3 * rest) / 9
    )  # six pairs with ET, three without


def test_a_patch_without_tumour_asks_for_nothing():
    student = features(8).requires_grad_()
    loss = region_affinity([student], [features(9)], regions=torch.zeros(2, 3, *GRID))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@given(size=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_zero_at_identity_whatever_the_scale_channel_order_or_rotation(size):
    x, truth = features(10, dtype=torch.float64), regions_of(labels())
    rotation = torch.linalg.qr(
        torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    turned = torch.einsum("ij,bjxyz->bixyz", rotation, x)
    for other in (x, size * x, -x, x.flip(1), x.repeat(1, 3, 1, 1, 1), turned):
        assert region_affinity([x], [other], regions=truth).item() == pytest.approx(0, abs=1e-12)
    assert region_affinity([x], [features(11, dtype=torch.float64)], regions=truth) > 1e-3


def test_order_of_voxels_and_cases_does_not_matter():
    student, teacher, truth = features(12), features(13), regions_of(labels())
    for dimension in (0, 2, 3, 4):
        order = torch.randperm(student.shape[dimension])
        s, t, r = (x.index_select(dimension, order) for x in (student, teacher, truth))
        torch.testing.assert_close(
            region_affinity([s], [t], regions=r),
            region_affinity([student], [teacher], regions=truth),
        )


def test_the_size_of_the_loss_does_not_depend_on_batch_or_patch():
    student, teacher, truth = features(14), features(15), regions_of(labels())
    s, t, r = (x.repeat(2, 1, 1, 3, 1) for x in (student, teacher, truth))
    torch.testing.assert_close(
        region_affinity([s], [t], regions=r), region_affinity([student], [teacher], regions=truth)
    )


@pytest.mark.parametrize("grid", [(4, 4, 4), (2, 2, 4)])
def test_gradient_reaches_the_student_alone(grid):
    student, teacher = (
        features(16, 3, grid, torch.float64).requires_grad_(),
        features(17, dtype=torch.float64).requires_grad_(),
    )
    truth = regions_of(labels())
    assert torch.autograd.gradcheck(
        lambda s: region_affinity([s], [teacher.detach()], regions=truth), (student,)
    )
    region_affinity([student], [teacher], regions=truth).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_finite_for_silent_and_huge_features():
    truth = regions_of(labels())
    for student in (torch.zeros(2, 5, *GRID), 1e6 * features(18)):
        student.requires_grad_()
        loss = region_affinity([student], [features(19)], regions=truth)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.isfinite().all()


def test_float32_under_autocast():
    student, teacher, where = features(20).bfloat16(), features(21).bfloat16(), labels()
    with torch.autocast("cpu", torch.bfloat16):
        got = region_affinity([student], [teacher], regions=regions_of(where))
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(
        by_numpy([student.float()], [teacher.float()], where), rel=1e-5
    )


def test_stages_are_paired():
    with pytest.raises(
        RecipeError, match=r"region affinity pairs stages one to one .*2 and 1 stages"
    ):
        region_affinity([features(0), features(1)], [features(2)], regions=regions_of(labels()))
