"""DIST against NumPy's own correlation, and the properties the formula promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.distillation.dist import dist

KINDS = ["regions", "classes"]


def logits(seed, scale=2.0, dtype=torch.float32, channels=4):
    return scale * torch.randn(
        2, channels, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def by_numpy(student, teacher, outputs, temperature=1.0, beta=1.0, gamma=1.0):
    """From `np.corrcoef`, one voxel and one class at a time."""
    rows = []
    for x in (student, teacher):
        z = np.moveaxis(x.detach().double().numpy(), 1, -1).reshape(-1, x.shape[1]) / temperature
        rows.append(
            np.exp(z) / np.exp(z).sum(1, keepdims=True)
            if outputs == "classes"
            else 1 / (1 + np.exp(-z))
        )
    q, p = rows
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T, strict=True)])
    if outputs == "regions":
        return gamma * intra
    return (
        beta * np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p, strict=True)])
        + gamma * intra
    )


@pytest.mark.parametrize("outputs", KINDS)
@pytest.mark.parametrize("options", [{}, {"temperature": 4.0}, {"beta": 0.5, "gamma": 3.0}])
def test_golden_values_against_numpy(outputs, options):
    student, teacher = logits(0), logits(1)
    got = dist(student, teacher, outputs=outputs, **options)
    assert got.item() == pytest.approx(by_numpy(student, teacher, outputs, **options), rel=1e-5)


def test_between_0_and_2_for_each_relation():
    """A region's map and its inside-out are two apart; so are classes in opposite order at every
    voxel.
    """
    x = logits(2)
    assert dist(-x, x).item() == pytest.approx(2, rel=1e-5)
    two = logits(3, channels=2)
    assert dist(two.flip(1), two, outputs="classes", gamma=0.0).item() == pytest.approx(2, rel=1e-5)


def test_weights_of_the_two_relations_add_up():
    student, teacher = logits(4), logits(5)
    inter = dist(student, teacher, outputs="classes", gamma=0.0)
    intra = dist(student, teacher, outputs="classes", beta=0.0)
    torch.testing.assert_close(
        dist(student, teacher, outputs="classes", beta=2.0, gamma=3.0), 2 * inter + 3 * intra
    )


def test_regions_have_no_relation_between_classes():
    student, teacher = logits(6), logits(7)
    assert dist(student, teacher, beta=100.0) == dist(student, teacher)
    each = [dist(student[:, [k]], teacher[:, [k]]) for k in range(4)]
    torch.testing.assert_close(dist(student, teacher), torch.stack(each).mean())


@given(size=st.floats(0.05, 1), shift=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_a_student_may_be_less_sure(size, shift):
    """Any rising linear map of a region's probabilities is forgiven."""
    teacher = logits(8, dtype=torch.float64)
    probability = size * teacher.sigmoid() + shift * (1 - size)
    assert dist(torch.logit(probability), teacher).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("outputs", KINDS)
def test_zero_at_identity_positive_elsewhere(outputs):
    x = logits(9)
    same = x.clone().requires_grad_()
    loss = dist(same, x, outputs=outputs)
    loss.backward()
    assert loss.item() == 0
    assert same.grad.abs().max() < 1e-6
    assert dist(x, logits(10), outputs=outputs) > 0.1


@pytest.mark.parametrize("outputs", KINDS)
def test_order_of_channels_voxels_and_cases_does_not_matter(outputs):
    student, teacher = logits(11), logits(12)
    for dimension in range(5):
        order = torch.randperm(student.shape[dimension])
        got = dist(
            student.index_select(dimension, order),
            teacher.index_select(dimension, order),
            outputs=outputs,
        )
        torch.testing.assert_close(got, dist(student, teacher, outputs=outputs))


@pytest.mark.parametrize("outputs", KINDS)
def test_the_size_of_the_loss_does_not_depend_on_batch_or_patch(outputs):
    student, teacher = logits(13), logits(14)
    tiled = dist(student.repeat(2, 1, 1, 3, 1), teacher.repeat(2, 1, 1, 3, 1), outputs=outputs)
    torch.testing.assert_close(tiled, dist(student, teacher, outputs=outputs))


@pytest.mark.parametrize("outputs", KINDS)
def test_the_gradient_of_small_logits_needs_no_t_squared(outputs):
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        student = logits(15, 0.1, torch.float64).requires_grad_()
        dist(
            student, logits(16, 0.1, torch.float64), outputs=outputs, temperature=temperature
        ).backward()
        sizes.append(student.grad.norm().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.02)


@pytest.mark.parametrize("outputs", KINDS)
def test_gradient_reaches_the_student_alone(outputs):
    student, teacher = (
        logits(17, dtype=torch.float64).requires_grad_(),
        logits(18, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda s: dist(s, teacher.detach(), outputs=outputs), (student,)
    )
    dist(student, teacher, outputs=outputs).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("outputs", KINDS)
def test_a_teacher_without_variation_pulls_at_nothing(outputs):
    student, constant = logits(19).requires_grad_(), torch.zeros(2, 4, 4, 3, 5)
    dist(student, constant, outputs=outputs).backward()
    assert student.grad.abs().max() < 1e-6
    assert dist(constant, constant, outputs=outputs).item() == 0


@pytest.mark.parametrize("outputs", KINDS)
def test_finite_where_a_student_says_nothing_and_at_extreme_logits(outputs):
    silent, teacher = torch.zeros(2, 4, 4, 3, 5, requires_grad=True), logits(20)
    dist(silent, teacher, outputs=outputs).backward()
    assert silent.grad.isfinite().all()
    extreme = (80 * logits(21).sign()).requires_grad_()
    loss = dist(extreme, -extreme.detach(), outputs=outputs)
    loss.backward()
    assert loss.isfinite()
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("outputs", KINDS)
def test_float32_under_autocast(outputs):
    student, teacher = logits(22).bfloat16(), logits(23).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = dist(student, teacher, outputs=outputs)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(
        by_numpy(student.float(), teacher.float(), outputs), rel=1e-5
    )
