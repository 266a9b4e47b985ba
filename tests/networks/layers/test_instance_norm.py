"""Instance norm by the channels-last road: torch's numbers, torch's gradients, the format kept."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gliodistill.networks.layers.instance_norm import InstanceNorm

LAST = torch.channels_last_3d


def norm_with_weights(channels, dtype):
    torch.manual_seed(1)
    norm = InstanceNorm(channels).to(dtype)
    with torch.no_grad():
        norm.weight.normal_(1.0, 0.3)
        norm.bias.normal_(0.0, 0.3)
    return norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
@pytest.mark.parametrize(
    "shape", [(1, 6, 4, 3, 5), (3, 2, 2, 2, 2), (2, 1, 3, 4, 2), (1, 5, 2, 1, 7)]
)
def test_golden_values_against_numpy(shape, memory_format):
    norm = norm_with_weights(shape[1], torch.float32)
    x = torch.randn(shape) * 3 + 7
    values = x.numpy().astype(np.float64)
    mean, variance = values.mean((2, 3, 4), keepdims=True), values.var((2, 3, 4), keepdims=True)
    gamma, beta = (
        p.detach().double().numpy().reshape(1, -1, 1, 1, 1) for p in (norm.weight, norm.bias)
    )
    expected = gamma * (values - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(
        norm(x.to(memory_format=memory_format)).detach().numpy(), expected, atol=2e-5
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients(batch):
    norm = norm_with_weights(3, torch.float64)
    x = torch.randn(batch, 3, 3, 2, 4, dtype=torch.float64).to(memory_format=LAST).requires_grad_()

    def apply(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(apply, (x, norm.weight, norm.bias))
    ours = torch.autograd.grad(norm(x).square().sum(), (x, norm.weight, norm.bias))
    theirs = torch.autograd.grad(
        functional.instance_norm(x, weight=norm.weight, bias=norm.bias).square().sum(),
        (x, norm.weight, norm.bias),
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 2])
def test_format_and_type_are_kept(dtype, batch):
    x = torch.randn(batch, 8, 4, 4, 4, dtype=dtype).to(memory_format=LAST).requires_grad_()
    y = InstanceNorm(8)(x)
    assert y.is_contiguous(memory_format=LAST)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_exact_on_a_large_volume(offset):
    """Channels-last group norm of PyTorch is wrong by 4e-4 and more here."""
    torch.manual_seed(0)
    x = torch.randn(1, 4, 96, 96, 96) + offset
    expected = functional.instance_norm(x.double())
    assert (InstanceNorm(4)(x.to(memory_format=LAST)) - expected).abs().max() < 2e-5
