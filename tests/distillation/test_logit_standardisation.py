"""The z-score of logits against SciPy, and what soft targets become with it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gliodistill.distillation.logit_standardisation import standardise
from gliodistill.distillation.soft_target import soft_target
from gliodistill.errors import RecipeError


def logits(seed, channels=4, dtype=torch.float32):
    return 3 * torch.randn(
        2, channels, 4, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_golden_values_against_scipy(temperature):
    x = logits(0)
    expected = torch.from_numpy(stats.zscore(x.double().numpy(), axis=1) / temperature).float()
    torch.testing.assert_close(standardise(x, temperature), expected, rtol=1e-5, atol=1e-6)


def test_over_classes_not_over_space():
    z = standardise(logits(1).double())
    torch.testing.assert_close(z.mean(1), torch.zeros(2, 4, 3, 4, dtype=torch.float64))
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(2, 4, 3, 4, dtype=torch.float64))
    assert (z.std(4, correction=0) - 1).abs().max() > 0.1


@given(size=st.floats(0.01, 100), shift=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_size_and_level_of_logits_do_not_matter(size, shift):
    x = logits(2, dtype=torch.float64)
    torch.testing.assert_close(standardise(size * x + shift), standardise(x), rtol=1e-6, atol=1e-9)


def test_order_of_the_classes_is_kept():
    x = logits(3)
    assert torch.equal(standardise(x).argsort(1), x.argsort(1))


def test_equal_logits_become_zero_with_finite_gradients():
    x = torch.full((1, 4, 2, 2, 2), 7.0, requires_grad=True)
    z = standardise(x)
    assert torch.equal(z, torch.zeros_like(z))
    (z * logits(4)[:1, :, :2, :2, :2]).sum().backward()
    assert x.grad.isfinite().all()


def test_gradient():
    assert torch.autograd.gradcheck(standardise, (logits(5, dtype=torch.float64).requires_grad_(),))


def test_float32_from_bfloat16():
    assert standardise(logits(6).bfloat16()).dtype == torch.float32


def test_soft_targets_of_standardised_logits():
    student, teacher = logits(7), logits(8)
    got = soft_target(student, teacher, outputs="classes", temperature=2.0, standardise=True)
    expected = soft_target(
        standardise(student), standardise(teacher), outputs="classes", temperature=2.0
    )
    torch.testing.assert_close(got, expected)
    assert got != soft_target(student, teacher, outputs="classes", temperature=2.0)


def test_a_smaller_student_of_the_same_mind_has_nothing_to_learn():
    teacher = logits(9)
    assert soft_target(
        teacher / 5 + 1, teacher, outputs="classes", standardise=True
    ).item() == pytest.approx(0, abs=1e-5)
    assert soft_target(teacher / 5 + 1, teacher, outputs="classes") > 0.1


def test_gradient_through_soft_targets_reaches_the_student_alone():
    student, teacher = (
        logits(10, dtype=torch.float64).requires_grad_(),
        logits(11, dtype=torch.float64).requires_grad_(),
    )

    def loss(s):
        return soft_target(s, teacher, outputs="classes", temperature=2.0, standardise=True)

    assert torch.autograd.gradcheck(loss, (student,))
    loss(student).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_regions_have_no_common_soft_max():
    with pytest.raises(RecipeError, match="standardisation needs classes") as error:
        soft_target(logits(12, 3), logits(13, 3), outputs="regions", standardise=True)
    assert "independent sigmoids" in str(error.value)
