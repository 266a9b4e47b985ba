"""The transformer over a grid, against NumPy and SciPy in float64."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.special import erf, softmax

from gliodistill.errors import RecipeError
from gliodistill.networks.layers.transformer import (
    SelfAttention,
    TransformerLayer,
    VolumetricTransformer,
)


def tiny(embedding=6, layers=2, heads=3, hidden=10, grid=4, **options):
    """A transformer in float64 and evaluation mode, its positions and norms unlike fresh ones."""
    torch.manual_seed(0)
    transformer = (
        VolumetricTransformer(
            embedding, layers=layers, heads=heads, hidden=hidden, grid=grid, **options
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.5 if name == "positions" else 0.1))
    return transformer


def layer_norm(x, weight, bias):
    return (
        weight * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + bias
    )


def attend(x, qkv, weight, bias, heads):
    """One token and one head at a time."""
    n, e = x.shape
    q, k, v = np.split(x @ qkv.T, 3, axis=1)
    mixed, d = np.zeros((n, e)), e // heads
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        for token in range(n):
            mixed[token, part] = softmax(k[:, part] @ q[token, part] / np.sqrt(d)) @ v[:, part]
    return mixed @ weight.T + bias


def positions_on(grid, stored):
    """Trilinear interpolation between voxel centres, the outer half voxel held constant."""
    axes = [(np.arange(n) + 0.5) * stored.shape[1] / n - 0.5 for n in grid]
    at = np.meshgrid(*axes, indexing="ij")
    return np.stack(
        [map_coordinates(channel, at, order=1, mode="nearest") for channel in stored], axis=-1
    )


def by_hand(transformer, tokens, heads):
    state = {name: value.numpy() for name, value in transformer.state_dict().items()}
    placed = tokens + positions_on(tokens.shape[1:4], state["positions"][0])
    out = []
    for t in placed.reshape(len(tokens), -1, tokens.shape[-1]):
        for layer in range(len(transformer.layers)):
            norm1, attention, norm2, up, down = (
                [state[f"layers.{layer}.{name}.{kind}"] for kind in ("weight", "bias")]
                for name in (
                    "attention.0",
                    "attention.1.project.0",
                    "feed_forward.0",
                    "feed_forward.1",
                    "feed_forward.4",
                )
            )
            t = t + attend(
                layer_norm(t, *norm1),
                state[f"layers.{layer}.attention.1.qkv.weight"],
                *attention,
                heads,
            )
            h = layer_norm(t, *norm2) @ up[0].T + up[1]
            t = t + h * (1 + erf(h / np.sqrt(2))) / 2 @ down[0].T + down[1]
        out.append(t.reshape(tokens.shape[1:]))
    return np.stack(out)


@pytest.mark.parametrize("sides", [(4, 4, 4), (2, 3, 5), (1, 7, 4)])
def test_golden_values_against_numpy(sides):
    transformer = tiny()
    tokens = torch.randn(2, *sides, 6, dtype=torch.float64)
    np.testing.assert_allclose(
        transformer(tokens).detach().numpy(),
        by_hand(transformer, tokens.numpy(), 3),
        rtol=1e-9,
        atol=1e-12,
    )


def test_positions_alone_tell_tokens_apart():
    transformer = tiny()
    same = transformer(torch.ones(1, 4, 4, 4, 6, dtype=torch.float64)).flatten(0, 3)
    assert torch.cdist(same, same).add(torch.eye(64)).min() > 1e-3
    torch.nn.init.zeros_(transformer.positions)
    blind = transformer(torch.ones(1, 4, 4, 4, 6, dtype=torch.float64)).flatten(0, 3)
    torch.testing.assert_close(blind, blind[:1].expand_as(blind))


def test_attention_without_positions_moves_with_its_tokens():
    torch.manual_seed(0)
    layer = TransformerLayer(6, heads=2, hidden=12).double()
    tokens, order = torch.randn(2, 9, 6, dtype=torch.float64), torch.randperm(9)
    torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order])


def test_gradients():
    torch.manual_seed(0)
    attention = SelfAttention(4, 2).double()
    tokens = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    parameters = dict(attention.named_parameters())

    def apply(tokens, *values):
        return torch.func.functional_call(
            attention, dict(zip(parameters, values, strict=True)), (tokens,)
        )

    assert torch.autograd.gradcheck(
        apply, (tokens, *(p.detach().clone().requires_grad_() for p in parameters.values()))
    )


def test_dropout_rests_in_evaluation():
    transformer, tokens = tiny(dropout=0.5), torch.randn(1, 4, 4, 4, 6, dtype=torch.float64)
    np.testing.assert_allclose(
        transformer(tokens).detach().numpy(),
        by_hand(transformer, tokens.numpy(), 3),
        rtol=1e-9,
        atol=1e-12,
    )
    transformer.train()
    assert (transformer(tokens) - transformer(tokens)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("embedding", 0),
        ("layers", 0),
        ("heads", 0),
        ("heads", 4),
        ("hidden", 0),
        ("dropout", 1.0),
        ("dropout", -0.1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(RecipeError, match=f"field {option}"):
        tiny(**{option: value})
