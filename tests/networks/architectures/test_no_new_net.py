"""No New-Net: against the design written out in torch's functions and float64, and sizes counted by
hand.
"""

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops


def reference(weights, x):
    """Three levels, from a state dict."""

    def convolve(x, prefix):
        x = functional.conv3d(x, weights[f"{prefix}.0.weight"], padding=1)
        x = functional.instance_norm(
            x, weight=weights[f"{prefix}.1.weight"], bias=weights[f"{prefix}.1.bias"]
        )
        return functional.leaky_relu(x, 0.01)

    def twice(x, prefix, first=0):
        return convolve(convolve(x, f"{prefix}.{first}"), f"{prefix}.{first + 1}")

    def up(x):
        return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

    first = twice(x, "encoders.0")
    second = twice(functional.max_pool3d(first, 2), "encoders.1", 1)
    x = twice(functional.max_pool3d(second, 2), "encoders.2", 1)
    x = twice(torch.cat([up(x), second], 1), "decoders.1.stage")
    x = twice(torch.cat([up(x), first], 1), "decoders.0.stage")
    return functional.conv3d(x, weights["head.weight"], weights["head.bias"])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_is_the_design(memory_format):
    torch.manual_seed(0)
    network = build("no_new_net", widths=(6, 8, 12)).double().to(memory_format=memory_format)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 4, 8, 16, 12, dtype=torch.float64)
    expected = reference(network.state_dict(), x)
    (got,) = network(x.to(memory_format=memory_format))
    torch.testing.assert_close(got, expected)


def test_parameters_and_operations_by_hand():
    fine, voxels = (30, 60, 120, 240), 128**3
    pairs = [[(i, o), (o, o)] for i, o in zip((4, *fine), fine, strict=False)]  # encoder
    pairs += [[(240, 480), (480, 240)]]
    pairs += [[(2 * c, c), (c, max(30, c // 2))] for c in fine]  # decoder
    levels = (0, 1, 2, 3, 4, 0, 1, 2, 3)
    with torch.device("meta"):
        network = build("no_new_net")
    assert (
        count_parameters(network)
        == sum(27 * i * o + 2 * o for stage in pairs for i, o in stage) + 30 * 3 + 3
    )
    work = (
        sum(
            27 * i * o * voxels // 8**level
            for stage, level in zip(pairs, levels, strict=True)
            for i, o in stage
        )
        + 30 * 3 * voxels
    )
    assert flops(network, (1, 4, 128, 128, 128)) == 2 * work


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_features_stay_channels_last_and_logits_on_the_grid(stem_stride):
    network = build("no_new_net", widths=(6, 8, 12), stem_stride=stem_stride).to(
        memory_format=torch.channels_last_3d
    )
    kept = []
    for name, module in network.named_modules():
        if not list(module.children()) and "head" not in name:
            module.register_forward_hook(
                lambda m, i, o: kept.append(o.is_contiguous(memory_format=torch.channels_last_3d))
            )
    (logits,) = network(torch.randn(2, 4, 16, 24, 16).to(memory_format=torch.channels_last_3d))
    assert logits.shape == (2, 3, 16, 24, 16)
    assert network.divisor == 4 * stem_stride
    assert len(kept) > 20 and all(kept)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"widths": (8,)}, ["field widths", "two or more"]),
        ({"stem_stride": 3}, ["field stem_stride", "1, 2 or 4"]),
        ({"norm": "layer"}, ["field norm", "got layer"]),
        ({"out_channels": 0}, ["field out_channels"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("no_new_net", **options)
    assert all(part in str(error.value) for part in parts)
