"""The U-Net: equal to MONAI's DynUNet, at the sizes the papers state, in the interface the losses
expect.
"""

import copy

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters

NNUNET = (32, 64, 128, 256, 320, 320)
THIRD = (11, 21, 43, 85, 107, 107)


def dynunet(widths, **options):
    strides = [1] + [2] * (len(widths) - 1)
    norm = ("INSTANCE", {"affine": True})
    return DynUNet(
        3, 4, 3, [3] * len(widths), strides, strides[1:], filters=widths, norm_name=norm, **options
    )


def in_order(network):
    """The layers with weights, in the order data meets them (DynUNet registers them so but for
    skip_layers aliases).
    """
    if isinstance(network, DynUNet):
        parts = [
            network.input_block,
            *network.downsamples,
            network.bottleneck,
            *network.upsamples,
            network.output_block,
        ]
    else:
        parts = [*network.encoders, *reversed(network.decoders), network.head]
    return [
        layer
        for part in parts
        for kind in (nn.Conv3d | nn.ConvTranspose3d, object)
        for layer in weighted(part, kind)
    ]


def weighted(part, kind):
    convolutions = nn.Conv3d | nn.ConvTranspose3d
    layers = [
        m for m in part.modules() if not list(m.children()) and list(m.parameters(recurse=False))
    ]
    return [m for m in layers if isinstance(m, convolutions) == (kind is not object)]


def copy_weights(source, target):
    theirs, ours = in_order(source), in_order(target)
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert a.weight.shape == b.weight.shape
        b.load_state_dict(
            {key: value for key, value in a.state_dict().items() if key in b.state_dict()},
            strict=True,
        )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_equals_monai_dynunet_weight_for_weight(memory_format):
    torch.manual_seed(0)
    theirs, ours = dynunet((8, 12, 16, 20)), build("unet", widths=(8, 12, 16, 20))
    for norm in (m for m in theirs.modules() if isinstance(m, nn.InstanceNorm3d)):
        nn.init.normal_(norm.weight, 1.0, 0.2)
        nn.init.normal_(norm.bias, 0.0, 0.2)
    copy_weights(theirs, ours)
    ours = ours.to(memory_format=memory_format)
    x = torch.randn(2, 4, 16, 24, 32)
    expected = theirs.train()(x)
    (got,) = ours.train()(x.to(memory_format=memory_format))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    (expected * weights).mean().backward()
    (got * weights).mean().backward()
    for a, b in zip(in_order(theirs), in_order(ours), strict=True):
        torch.testing.assert_close(b.weight.grad, a.weight.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "widths"), [("nnunet", NNUNET), ("nnunet_third", THIRD)])
def test_presets_have_the_parameters_of_dynunet(name, widths):
    assert count_parameters(build(name)) == count_parameters(dynunet(widths))


def test_the_width_third_student_is_eleven_percent_of_the_teacher():
    teacher, student = count_parameters(build("nnunet")), count_parameters(build("nnunet_third"))
    assert teacher / 1e6 == pytest.approx(
        31.19, abs=0.01
    )  # Xu et al. 2022 as read in 2026: 31.18 M without affine norms
    assert student / teacher == pytest.approx(0.1114, abs=1e-3)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_logits_lie_on_the_input_grid_and_deep_supervision_on_coarser_ones(stem_stride):
    network = build("unet", widths=(4, 6, 8, 10), stem_stride=stem_stride, deep_supervision=2)
    assert network.divisor == 8 * stem_stride
    x = torch.randn(2, 4, 32, 64, 32)
    shapes = [tuple(logits.shape) for logits in network.train()(x)]
    s = 2 * stem_stride
    assert shapes == [
        (2, 3, 32, 64, 32),
        (2, 3, 32 // s, 64 // s, 32 // s),
        (2, 3, 16 // s, 32 // s, 16 // s),
    ]
    with torch.no_grad():
        assert [tuple(logits.shape) for logits in network.eval()(x)] == shapes[:1]


def test_sides_must_suit_the_depth():
    network = build("fast")
    with pytest.raises(
        RecipeError, match=r"got \(32, 32, 30\), expected sides that are multiples of 16"
    ):
        network(torch.zeros(1, 4, 32, 32, 30))


def test_taps_name_every_stage():
    network = build("unet", widths=(4, 6, 8))
    assert list(network.taps) == ["encoder0", "encoder1", "bottleneck", "decoder1", "decoder0"]
    assert set(network.taps.values()) <= set(network.modules())
    twin = copy.deepcopy(network)
    assert set(twin.taps.values()) <= set(twin.modules())


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_features_stay_channels_last(norm, stem_stride):
    # Two samples: PyTorch sends a *single* small one (C·X·Y ≤ 20480) to a kernel that knows no
    # channels-last.
    network = build("unet", widths=(8, 16, 24), stem_stride=stem_stride, norm=norm).to(
        memory_format=torch.channels_last_3d
    )
    kept = []
    for module in network.modules():
        if not list(module.children()) and module is not network.head:
            module.register_forward_hook(
                lambda m, i, o: kept.append(
                    (type(m).__name__, o.is_contiguous(memory_format=torch.channels_last_3d))
                )
            )
    network(torch.randn(2, 4, 16, 16, 16).to(memory_format=torch.channels_last_3d))
    assert len(kept) > 20
    assert all(last for _, last in kept), kept


def test_the_untrained_folded_network_shows_no_checkerboard():
    torch.manual_seed(0)
    network = build("unet", widths=(8, 16), stem_stride=2).eval()
    with torch.no_grad():
        (logits,) = network(torch.randn(1, 4, 16, 16, 16))
    blocks = logits.reshape(1, 3, 8, 2, 8, 2, 8, 2)
    assert torch.equal(blocks[:, :, :, 0, :, 0, :, 0], blocks[:, :, :, 1, :, 0, :, 1])
    assert logits.std() > 0.1


def test_the_folded_network_can_tell_every_voxel_apart():
    network = build("unet", widths=(8, 16), out_channels=1, stem_stride=2)
    x = torch.randn(1, 4, 8, 8, 8)
    truth = (torch.rand(1, 1, 8, 8, 8) > 0.5).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(200):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[0], truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.2


def test_runs_in_bfloat16_under_autocast():
    torch.manual_seed(0)
    network = build("unet", widths=(4, 8), stem_stride=2)
    x = torch.randn(2, 4, 8, 8, 8)
    (plain,) = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        (half,) = network(x)
    assert half.dtype == torch.bfloat16
    assert (half - plain).abs().mean() < 0.05 * plain.std()
