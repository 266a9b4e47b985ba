"""Widening: the wide network computes what the narrow one does, and then learns more than it could."""

import copy
import itertools

import pytest
import torch
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.networks import Network, build, count_parameters
from gliodistill.networks.architectures.attention_fused import AttentionFused
from gliodistill.networks.widening import widen


def trained(widths, **options):
    """A network with norms, biases and running statistics unlike fresh ones."""
    torch.manual_seed(0)
    return shaken(build("unet", widths=widths, **options))


def shaken(network):
    for name, value in network.state_dict().items():
        if value.ndim == 1:
            value.copy_(
                torch.rand(value.shape) + 0.5
                if name.endswith(("weight", "var"))
                else torch.randn(value.shape) * 0.3
            )
    return network


def patch(channels=4, side=16, batch=2):
    return torch.randn(
        batch, channels, side, side, side, generator=torch.Generator().manual_seed(1)
    )


def assert_equal(got, expected):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("norm", "narrow", "wide"),
    [
        ("instance", (4, 6, 8), (8, 12, 16)),
        ("instance", (8, 8, 8), (12, 8, 21)),
        ("instance", (11, 21, 43), (32, 64, 128)),
        ("batch", (4, 6, 8), (12, 12, 8)),
        ("batch", (5, 7, 11), (6, 13, 32)),
        ("batch", (1, 2, 3), (4, 4, 4)),
        ("group", (8, 16, 24), (16, 48, 24)),
    ],
)
def test_computes_the_same(norm, narrow, wide, memory_format):
    small, large = trained(narrow, norm=norm), build("unet", widths=wide, norm=norm)
    large = large.to(memory_format=memory_format)
    widen(small, large, patch())
    x = torch.randn(2, 4, 16, 8, 24).to(memory_format=memory_format)
    with torch.no_grad():
        assert_equal(large.eval()(x), small.eval()(x))


@pytest.mark.parametrize("stem_stride", [2, 4])
def test_folded_stems_and_heads(stem_stride):
    small, large = (
        build("unet", widths=widths, stem_stride=stem_stride) for widths in ((4, 6), (9, 6))
    )
    shaken(small)
    widen(small, large, patch())
    x = patch(side=32)
    with torch.no_grad():
        assert_equal(large.eval()(x), small.eval()(x))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_deep_supervision_while_training(norm):
    options = {"norm": norm, "deep_supervision": 2}
    small, large = trained((4, 6, 8, 8), **options), build("unet", widths=(6, 8, 16, 20), **options)
    widen(small, large, patch())
    got, expected = large.train()(patch()), small.train()(patch())
    assert len(got) == 3
    assert_equal(got, expected)


def test_running_statistics_are_replicated():
    small, large = trained((4, 8), norm="batch"), build("unet", widths=(8, 12), norm="batch")
    small.train()(patch())
    widen(small, large, patch())
    narrow, wide = small.encoders[1][0][1], large.encoders[1][0][1]
    replicas = [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    assert wide.running_mean.tolist() == narrow.running_mean[replicas].tolist()
    assert wide.running_var.tolist() == narrow.running_var[replicas].tolist()
    assert wide.num_batches_tracked == narrow.num_batches_tracked


def test_the_shares_of_an_outgoing_weight_add_up_to_it():
    small, large = trained((4, 8)), build("unet", widths=(4, 12))
    widen(small, large, patch())
    up = large.decoders[0].up.weight  # reads 12 channels, writes 4
    owners = [(0, 1), (2,), (3, 4), (5,), (6, 7), (8,), (9, 10), (11,)]
    totals = torch.stack([up[list(owner)].sum(0) for owner in owners])
    torch.testing.assert_close(totals, small.decoders[0].up.weight, rtol=1e-5, atol=1e-6)


def test_equal_widths_copy():
    small, large = trained((4, 6, 8)), build("unet", widths=(4, 6, 8))
    widen(small, large, patch())
    for got, expected in zip(large.state_dict().values(), small.state_dict().values(), strict=True):
        assert got.equal(expected)


def equal_pairs(network):
    """How many pairs of the first convolution's filters are equal but for rounding."""
    rows = network.encoders[0][0][0].weight.detach().flatten(1)
    apart = torch.stack([(a - b).abs().max() for a, b in itertools.combinations(rows, 2)])
    return int((apart < 1e-6 * rows.abs().max()).sum())


@pytest.mark.parametrize(("noise", "still_equal"), [(0.0, 12), (0.1, 0)])
def test_noise_lets_replicas_part(noise, still_equal):
    small, large = trained((4, 6)), build("unet", widths=(12, 18))
    widen(small, large, patch(), noise=noise)
    assert equal_pairs(large) == 12  # 4 filters of 3 replicas each
    x, truth = patch(), torch.randn(2, 3, 16, 16, 16)
    optimiser = torch.optim.SGD(large.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.mse_loss(large.train()(x)[0], truth).backward()
        optimiser.step()
    assert equal_pairs(large) == still_equal


def test_every_weight_learns():
    small, large = (
        trained((4, 6, 8), deep_supervision=1),
        build("unet", widths=(8, 9, 12), deep_supervision=1),
    )
    widen(small, large, patch())
    sum(logits.square().mean() for logits in large.train()(patch())).backward()
    for name, parameter in large.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name


def test_the_large_network_keeps_its_size_and_the_small_one_its_values():
    small, large = trained((4, 6)), build("unet", widths=(8, 12))
    before, size = (
        copy.deepcopy(small.state_dict()),
        count_parameters(build("unet", widths=(8, 12))),
    )
    small.eval(), large.train()
    widen(small, large, patch())
    assert all(value.equal(before[key]) for key, value in small.state_dict().items())
    assert count_parameters(large) == size
    assert large.training and not small.training
    assert not large.encoders[0]._forward_hooks


def test_the_noise_follows_its_seed():
    def head(seed):
        large = build("unet", widths=(8, 12))
        widen(trained((4, 6)), large, patch(), seed=seed)
        return large.head.weight

    assert head(1).equal(head(1))
    assert not head(1).equal(head(2))


@pytest.mark.parametrize("connection", ["bottleneck", "skips"])
def test_transformers_and_gates(connection):
    options = {"layers": 2, "heads": 4, "connection": connection}
    torch.manual_seed(0)
    small, large = (
        AttentionFused(widths=w, embedding=e, **options)
        for w, e in [((5, 11, 21), 16), ((16, 32, 64), 48)]
    )
    shaken(small)
    for name, value in small.named_parameters():
        if name.endswith("positions"):
            nn.init.normal_(value)
        if name.endswith("qkv.weight"):
            value.data.mul_(3)  # attention that is far from uniform
    widen(small, large, patch(side=8))
    with torch.no_grad():
        assert_equal(large.eval()(patch()), small.eval()(patch()))
    with pytest.raises(RecipeError, match="heads=8"):
        widen(
            small,
            AttentionFused(widths=(16, 32, 64), embedding=48, **options | {"heads": 8}),
            patch(side=8),
        )


class Mixed(Network):
    """Residual sum, depthwise and grouped convolution, squeeze-and-excite gate, layer norm, learned
    positions, unequal parts.
    """

    divisor = 1

    def __init__(self, width, other=4):
        super().__init__()
        self.stem = nn.Conv3d(4, width, 3, padding=1)
        self.side = nn.Conv3d(4, other, 1)
        self.depthwise = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.grouped = nn.Conv3d(width, width, 1, groups=2)
        self.gate = nn.Sequential(
            nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width), nn.Sigmoid()
        )
        self.norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.randn(1, width, 4, 4, 4))
        self.mix = nn.Conv3d(width + other, width, 1)
        self.head = nn.Conv3d(width, 3, 1)

    @property
    def taps(self):
        return {"encoder0": self.stem, "decoder0": self.mix}

    def forward(self, x):
        y = self.stem(x)
        y = y + self.grouped(self.depthwise(y).relu()) + self.positions
        y = y * self.gate(y.mean((2, 3, 4)))[:, :, None, None, None]
        y = self.norm(y.movedim(1, -1)).movedim(-1, 1)
        return (self.head(self.mix(torch.cat((y, self.side(x)), 1))),)


def test_layers_beyond_the_unet():
    torch.manual_seed(0)
    small, large = Mixed(4, 4), Mixed(8, 8)
    widen(small, large, patch(side=4))
    with torch.no_grad():
        assert_equal(large(patch(side=4)), small(patch(side=4)))


def test_what_cannot_be_widened_is_named():
    torch.manual_seed(0)
    large = Mixed(8, 4)
    before = copy.deepcopy(large.state_dict())
    with pytest.raises(RecipeError, match="cannot be widened to these widths") as caught:
        widen(Mixed(4, 4), large, patch(side=4))
    assert caught.value.field == "decoder0"
    assert "one ratio" in caught.value.hint
    assert all(value.equal(before[key]) for key, value in large.state_dict().items())
    with pytest.raises(RecipeError, match="weight its channels differently") as caught:
        widen(Mixed(4, 4), Mixed(6, 6), patch(side=4))
    assert (caught.value.field, caught.value.got, caught.value.expected) == (
        "norm.weight",
        "6 channels",
        "a multiple of 4",
    )


@pytest.mark.parametrize(
    ("options", "field", "got", "expected"),
    [
        ({"widths": (8, 12, 16)}, "network", "divisor=4", "divisor=2"),
        ({"stem_stride": 2}, "network", "stem_stride=2", "stem_stride=1"),
        ({"norm": "batch"}, "encoders.0.0.1", "BatchNorm3d(", "InstanceNorm()"),
        ({"convs_per_stage": 1}, "encoders.0.1", "no such layer", "ConvBlock"),
        ({"widths": (2, 12)}, "encoders.0.0.0.weight", "2 channels", "at least 4"),
        ({"in_channels": 5}, None, "5 channels", "(2, 4, 16, 16, 16)"),
        ({"out_channels": 6}, "logits", "(2, 6, 16, 16, 16)", "(2, 3, 16, 16, 16)"),
    ],
)
def test_networks_that_differ_in_more_than_width(options, field, got, expected):
    large = build("unet", **({"widths": (8, 12)} | options))
    with pytest.raises(RecipeError) as caught:
        widen(trained((4, 6)), large, patch())
    assert caught.value.field == field
    assert got in str(caught.value.got)
    assert expected in str(caught.value.expected)


def test_group_norm_keeps_its_groups():
    with pytest.raises(RecipeError, match="more than width") as caught:
        widen(trained((12, 8), norm="group"), build("unet", widths=(24, 8), norm="group"), patch())
    assert caught.value.field == "encoders.0.0.1"
    assert "num_groups=8" in caught.value.got and "num_groups=6" in caught.value.expected


def test_noise_has_a_range():
    with pytest.raises(RecipeError, match="out of range"):
        widen(trained((4, 6)), build("unet", widths=(8, 12)), patch(), noise=-0.1)
