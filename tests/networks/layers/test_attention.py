"""Channel and spatial attention: the formula in float64, what moves the gates and what does not."""

import numpy as np
import pytest
import torch

from gliodistill.networks.layers.attention import ChannelGate, ChannelSpatialAttention, SpatialGate
from gliodistill.networks.layers.pointwise import Pointwise

LAST = torch.channels_last_3d


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
@pytest.mark.parametrize(("channels", "reduction"), [(6, 2), (3, 16)])
def test_golden_values_against_numpy(channels, reduction, memory_format):
    torch.manual_seed(0)
    attention = ChannelSpatialAttention(channels, reduction).double()
    x = torch.randn(2, channels, 3, 4, 5, dtype=torch.float64)
    values = x.numpy()
    narrow, wide = (
        layer for layer in attention.channel.layers if isinstance(layer, torch.nn.Linear)
    )
    assert narrow.out_features == max(1, channels // reduction)
    w1, b1, w2, b2 = (
        p.detach().numpy() for layer in (narrow, wide) for p in (layer.weight, layer.bias)
    )
    hidden = values.mean((2, 3, 4)) @ w1.T + b1
    channel = sigmoid(np.where(hidden > 0, hidden, 0.01 * hidden) @ w2.T + b2)
    spatial = sigmoid(
        np.einsum("bcxyz,c->bxyz", values, attention.spatial.mix.weight.detach().numpy()[0])
    )
    expected = values + values * channel[:, :, None, None, None] + values * spatial[:, None]
    np.testing.assert_allclose(
        attention(x.to(memory_format=memory_format)).detach().numpy(), expected, rtol=1e-12
    )


def test_the_channel_gate_does_not_see_where_voxels_lie():
    torch.manual_seed(0)
    gate = ChannelGate(8, 2).double()
    x = torch.randn(2, 8, 3, 4, 5, dtype=torch.float64)
    shuffled = x.flatten(2)[:, :, torch.randperm(60)].view_as(x)
    torch.testing.assert_close(gate(shuffled), gate(x), rtol=0, atol=1e-14)
    assert gate(x).std(dim=1).min() > 1e-3
    assert (gate(x + 1) - gate(x)).abs().max() > 1e-2


def test_the_spatial_gate_sees_each_voxel_alone():
    torch.manual_seed(0)
    gate = SpatialGate(8).double()
    x = torch.randn(1, 8, 3, 4, 5, dtype=torch.float64)
    order = torch.randperm(60)
    moved = gate(x.flatten(2)[:, :, order].view_as(x)).flatten()
    torch.testing.assert_close(moved, gate(x).flatten()[order], rtol=0, atol=1e-14)
    assert gate(x).std() > 1e-2


def test_gradients():
    torch.manual_seed(0)
    attention = ChannelSpatialAttention(3, 1).double()
    x = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64).to(memory_format=LAST).requires_grad_()
    parameters = dict(attention.named_parameters())

    def apply(x, *values):
        return torch.func.functional_call(
            attention, dict(zip(parameters, values, strict=True)), (x,)
        )

    assert torch.autograd.gradcheck(
        apply, (x, *(p.detach().clone().requires_grad_() for p in parameters.values()))
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_keeps_channels_last_forward_and_backward(batch):
    attention = ChannelSpatialAttention(8)
    x = torch.randn(batch, 8, 4, 5, 6).to(memory_format=LAST).requires_grad_()
    y = attention(x)
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    assert y.is_contiguous(memory_format=LAST) and not y.is_contiguous()
    assert gradient.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
def test_pointwise_equals_a_convolution_and_gives_channels_last(memory_format):
    torch.manual_seed(0)
    pointwise, x = Pointwise(5, 3), torch.randn(2, 5, 2, 3, 4)
    expected = torch.nn.functional.conv3d(
        x, pointwise.weight[:, :, None, None, None], pointwise.bias
    )
    got = pointwise(x.to(memory_format=memory_format))
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous(memory_format=LAST)
