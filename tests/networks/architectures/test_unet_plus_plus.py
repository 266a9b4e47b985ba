"""UNet++: MONAI's numbers, heads of deep supervision that cost nothing where they are not asked
for.
"""

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters

WIDTHS = (4, 8, 12, 16, 20)


def monai(widths, **options):
    return BasicUNetPlusPlus(3, 4, 3, (*widths, widths[0]), deep_supervision=True, **options)


def images():
    return torch.randn(2, 4, 16, 32, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_equals_monai_with_every_head(memory_format):
    torch.manual_seed(0)
    theirs, ours = (
        monai(WIDTHS),
        build("unet_plus_plus", widths=WIDTHS, deep_supervision=3).to(memory_format=memory_format),
    )
    for norm in (m for m in theirs.modules() if isinstance(m, nn.InstanceNorm3d)):
        nn.init.normal_(norm.weight, 1.0, 0.2)
        nn.init.normal_(norm.bias, 0.0, 0.2)
    ours.body.load_state_dict(theirs.state_dict())
    expected, got = theirs(images())[::-1], ours.train()(images().to(memory_format=memory_format))
    assert len(got) == len(expected) == 4
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        (alone,) = ours.eval()(images())
    torch.testing.assert_close(alone, expected[0].detach(), rtol=1e-4, atol=1e-4)


def test_has_the_parameters_of_monai_less_the_heads_not_asked_for():
    with torch.device("meta"):
        theirs, ours = monai((32, 64, 128, 256, 512)), build("unet_plus_plus")
    assert count_parameters(ours) == count_parameters(theirs) - 3 * (32 * 3 + 3)


def test_heads_are_dropped_for_use():
    network = build("unet_plus_plus", widths=WIDTHS, deep_supervision=2).eval()
    plain = build("unet_plus_plus", widths=WIDTHS)
    with torch.no_grad():
        (before,) = network(images())
        network.strip()
        (after,) = network(images())
    assert torch.equal(before, after)
    assert count_parameters(network) == count_parameters(plain)
    plain.load_state_dict(network.state_dict())


def test_every_weight_learns_and_features_stay_channels_last():
    network = build("unet_plus_plus", widths=WIDTHS, deep_supervision=1).to(
        memory_format=torch.channels_last_3d
    )
    kept = []
    for name, module in network.named_modules():
        if not list(module.children()) and not name.startswith("body.final"):
            module.register_forward_hook(
                lambda m, i, o: kept.append(o.is_contiguous(memory_format=torch.channels_last_3d))
            )
    logits = network(images().to(memory_format=torch.channels_last_3d))
    assert len(kept) > 50 and all(kept)
    sum(part.square().mean() for part in logits).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"widths": (8, 16, 32)}, ["field widths", "five positive numbers"]),
        ({"widths": (4, 8, 15, 16, 20)}, ["field widths", "even"]),
        ({"deep_supervision": 4}, ["field deep_supervision", "0 to 3"]),
        ({"in_channels": 0}, ["field in_channels"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("unet_plus_plus", **options)
    assert all(part in str(error.value) for part in parts)
