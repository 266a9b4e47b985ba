"""The 3-D attention U-Net: against Islam et al.'s design written out in torch's functions and
float64, and sizes by hand.
"""

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops


def reference(weights, x):
    """Two levels, from a state dict."""

    def twice(x, prefix, first=0):
        for conv, norm in ((first, first + 2), (first + 3, first + 5)):
            x = functional.conv3d(x, weights[f"{prefix}.{conv}.weight"], padding=1).relu()
            x = functional.group_norm(
                x, 8, weights[f"{prefix}.{norm}.weight"], weights[f"{prefix}.{norm}.bias"]
            )
        return x

    def attend(x, prefix):
        pooled = functional.adaptive_avg_pool3d(x, 1).flatten(1)
        squeezed, back = (
            (
                weights[f"{prefix}.channel.layers.{layer}.weight"],
                weights[f"{prefix}.channel.layers.{layer}.bias"],
            )
            for layer in (0, 2)
        )
        channel = functional.linear(
            functional.leaky_relu(functional.linear(pooled, *squeezed), 0.01), *back
        ).sigmoid()
        spatial = functional.conv3d(
            x, weights[f"{prefix}.spatial.mix.weight"].view(1, -1, 1, 1, 1)
        ).sigmoid()
        return x + x * channel[:, :, None, None, None] + x * spatial

    fine = twice(x, "encoders.0")
    x = twice(functional.max_pool3d(fine, 2), "encoders.1", 1)
    joined = torch.cat([fine, functional.interpolate(x, size=fine.shape[2:], mode="nearest")], 1)
    x = twice(attend(joined, "decoders.0.attention"), "decoders.0.stage")
    return functional.conv3d(x, weights["head.weight"], weights["head.bias"])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_is_the_design(memory_format):
    torch.manual_seed(0)
    network = build("attention_unet", widths=(16, 32)).double().to(memory_format=memory_format)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 4, 8, 16, 12, dtype=torch.float64)
    expected = reference(network.state_dict(), x)
    (got,) = network(x.to(memory_format=memory_format))
    torch.testing.assert_close(got, expected)


def test_parameters_and_convolutions_by_hand():
    widths, voxels = (16, 32, 64, 128, 256, 512), 128**3
    pairs = [
        [(i, max(i, o // 2)), (max(i, o // 2), o)]
        for i, o in zip((4, *widths), widths, strict=False)
    ]
    pairs += [[(3 * c, c), (c, c)] for c in widths[:-1]]
    levels = (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4)
    joined = [3 * c for c in widths[:-1]]
    gates = [c + (c * (c // 16) + c // 16) + ((c // 16) * c + c) for c in joined]
    with torch.device("meta"):
        network = build("attention_unet")
    assert (
        count_parameters(network)
        == sum(27 * i * o + 2 * o for stage in pairs for i, o in stage) + sum(gates) + 16 * 3 + 3
    )
    work = (
        sum(
            27 * i * o * voxels // 8**level
            for stage, level in zip(pairs, levels, strict=True)
            for i, o in stage
        )
        + 16 * 3 * voxels
    )
    work += sum(
        c * voxels // 8**level + 2 * c * (c // 16) for level, c in enumerate(joined)
    )  # attention
    assert flops(network, (1, 4, 128, 128, 128)) == 2 * work


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_features_stay_channels_last_and_logits_on_the_grid(stem_stride):
    network = build("attention_unet", widths=(8, 16, 24), stem_stride=stem_stride).to(
        memory_format=torch.channels_last_3d
    )
    kept = []
    for stage in [*network.encoders, *network.decoders]:
        stage.register_forward_hook(
            lambda m, i, o: kept.append(o.is_contiguous(memory_format=torch.channels_last_3d))
        )
    (logits,) = network(torch.randn(2, 4, 16, 24, 16).to(memory_format=torch.channels_last_3d))
    assert logits.shape == (2, 3, 16, 24, 16)
    assert network.divisor == 4 * stem_stride
    assert len(kept) == 5 and all(kept)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"widths": (8,)}, ["field widths", "two or more"]),
        ({"stem_stride": 3}, ["field stem_stride", "1, 2 or 4"]),
        ({"reduction": 0}, ["field reduction", "at least 1"]),
        ({"widths": (8, 16), "deep_supervision": 1}, ["field deep_supervision", "0 to 0"]),
        ({"in_channels": 0}, ["field in_channels"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("attention_unet", **options)
    assert all(part in str(error.value) for part in parts)
