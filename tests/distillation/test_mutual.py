"""Mutual learning against float64 NumPy: each network moves as if the other were its teacher."""

import numpy as np
import pytest
import torch

from gliodistill.distillation.mutual import mutual
from gliodistill.distillation.soft_target import soft_target

KINDS = ["regions", "classes"]


def logits(seed, scale=2.0, dtype=torch.float32):
    return scale * torch.randn(
        2, 3, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def by_numpy(first, second, outputs, temperature):
    """The symmetric sum in one go: (p − q)(log p − log q)."""
    a, b = (x.detach().double().numpy() / temperature for x in (first, second))
    if outputs == "classes":
        p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (a, b))
        divergence = ((p - q) * (np.log(p) - np.log(q))).sum(1)
    else:
        divergence = ((1 / (1 + np.exp(-a)) - 1 / (1 + np.exp(-b))) * (a - b)).sum(1)
    return temperature**2 * divergence.mean()


@pytest.mark.parametrize("outputs", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_golden_values_against_numpy(outputs, temperature):
    first, second = logits(0), logits(1)
    got = mutual(first, second, outputs=outputs, temperature=temperature)
    assert got.item() == pytest.approx(by_numpy(first, second, outputs, temperature), rel=1e-5)


@pytest.mark.parametrize("outputs", KINDS)
def test_each_learns_as_if_the_other_were_its_teacher(outputs):
    first, second = logits(2).requires_grad_(), logits(3).requires_grad_()
    mutual(first, second, outputs=outputs).backward()
    for own, other in ((first, second), (second, first)):
        alone = own.detach().clone().requires_grad_()
        soft_target(alone, other.detach(), outputs=outputs, temperature=1.0).backward()
        torch.testing.assert_close(own.grad, alone.grad)


@pytest.mark.parametrize("outputs", KINDS)
def test_zero_at_agreement_and_the_same_both_ways(outputs):
    first, second = logits(4), logits(5)
    torch.testing.assert_close(
        mutual(first, second, outputs=outputs), mutual(second, first, outputs=outputs)
    )
    assert mutual(first, first.clone(), outputs=outputs).item() == pytest.approx(0, abs=1e-7)
    assert mutual(first, second, outputs=outputs) > 0.1


@pytest.mark.parametrize("outputs", KINDS)
def test_the_halves_are_the_detached_divergences(outputs):
    """Detached, so the gradient is not that of the symmetric sum; each half passes gradcheck alone."""
    first, second = logits(6, dtype=torch.float64).requires_grad_(), logits(7, dtype=torch.float64)
    (got,) = torch.autograd.grad(mutual(first, second, outputs=outputs), first)
    half = soft_target(first, second, outputs=outputs, temperature=1.0)
    assert torch.autograd.gradcheck(
        lambda x: soft_target(x, second, outputs=outputs, temperature=1.0), (first,)
    )
    torch.testing.assert_close(got, torch.autograd.grad(half, first)[0])


@pytest.mark.parametrize("outputs", KINDS)
def test_the_size_of_the_loss_does_not_depend_on_batch_or_patch(outputs):
    first, second = logits(8), logits(9)
    tiled = mutual(first.repeat(2, 1, 1, 3, 1), second.repeat(2, 1, 1, 3, 1), outputs=outputs)
    torch.testing.assert_close(tiled, mutual(first, second, outputs=outputs))


@pytest.mark.parametrize("outputs", KINDS)
def test_finite_at_extreme_logits(outputs):
    first = (80 * logits(10).sign()).requires_grad_()
    second = (-first.detach()).requires_grad_()
    loss = mutual(first, second, outputs=outputs)
    loss.backward()
    assert loss.isfinite()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


@pytest.mark.parametrize("outputs", KINDS)
def test_float32_under_autocast(outputs):
    first, second = logits(11).bfloat16(), logits(12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = mutual(first, second, outputs=outputs)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(
        by_numpy(first.float(), second.float(), outputs, 1.0), rel=1e-5
    )
