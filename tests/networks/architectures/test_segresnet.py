"""SegResNet: MONAI's numbers, the paper's size, an autoencoder that only training sees."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from safetensors.torch import load_file

import tiny_model
from gliodistill.distillation import FeatureTaps
from gliodistill.errors import RecipeError
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import NetworkSpec
from gliodistill.models.export import export_package
from gliodistill.networks import build, count_parameters, flops

PATCH = (32, 16, 32)


def autoencoder(**options):
    torch.manual_seed(0)
    return build("segresnet_vae", **{"width": 8, "patch": PATCH, "dropout": 0.0} | options)


def images(*shape):
    return torch.randn(2, 4, *(shape or PATCH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_equals_monai(memory_format):
    torch.manual_seed(0)
    theirs = SegResNet(
        init_filters=8, in_channels=4, out_channels=3
    ).double()  # channels-last group norms are inexact in float32
    ours = build("segresnet", width=8, dropout=0.0).double().to(memory_format=memory_format)
    ours.body.load_state_dict(theirs.state_dict())
    x = images().double()
    expected, (got,) = theirs(x), ours(x.to(memory_format=memory_format))
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(expected)
    (expected * weights).mean().backward()
    (got * weights).mean().backward()
    for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad)


def test_parameters_and_operations_by_hand():
    widths, voxels = (32, 64, 128, 256), 128**3
    block = [27 * c * c * 2 for c in widths]
    stem, head = 27 * 4 * 32, 32 * 3
    down = [27 * fine * coarse for fine, coarse in pairwise(widths)]
    up = [coarse * fine for fine, coarse in pairwise(widths)]
    blocks = [1 + 1, 2 + 1, 2 + 1, 4]  # of the encoder and of the decoder, level by level
    weights = (
        stem
        + head
        + 3
        + sum(n * (b + 4 * c) for n, b, c in zip(blocks, block, widths, strict=True))
        + sum(down)
        + sum(up)
        + 2 * 32
    )
    with torch.device("meta"):
        network = build("segresnet")
    assert count_parameters(network) == weights
    at = [voxels // 8**level for level in range(4)]
    work = (stem + head) * at[0] + sum(n * b * v for n, b, v in zip(blocks, block, at, strict=True))
    work += sum(
        (d + u) * v for d, u, v in zip(down, up, at[1:], strict=True)
    )  # both run on the coarser grid
    assert flops(network, (1, 4, 128, 128, 128)) == 2 * work


def test_penalty_is_reconstruction_and_divergence():
    network, x, seen = autoencoder(), images(), {}
    for name in ("vae_fc1", "vae_fc2", "vae_fc3", "vae_conv_final"):
        getattr(network.body, name).register_forward_hook(
            lambda m, i, o, n=name: seen.update({n: (i[0], o)})
        )
    network.train()(x)
    mean, raw, drawn = (
        seen[name][side].detach().double().numpy()
        for name, side in (("vae_fc1", 1), ("vae_fc2", 1), ("vae_fc3", 0))
    )
    deviation = np.log1p(np.exp(raw))
    divergence = 0.5 * np.mean(mean**2 + deviation**2 - np.log(deviation**2) - 1)
    error = np.mean((seen["vae_conv_final"][1].detach().double().numpy() - x.double().numpy()) ** 2)
    assert mean.shape == (2, 128)
    assert network.penalty.item() == pytest.approx(0.1 * (divergence + error), rel=1e-5)
    noise = (drawn - mean) / deviation
    assert abs(noise.mean()) < 0.2 and abs(noise.std() - 1) < 0.2


def test_penalty_teaches_the_encoder_channels_last():
    network = autoencoder(vae_weight=2.0).to(memory_format=torch.channels_last_3d)
    network(images().to(memory_format=torch.channels_last_3d))
    network.penalty.backward()
    assert network.body.convInit.conv.weight.grad.abs().sum() > 0
    assert network.body.conv_final[2].conv.weight.grad is None  # of the segmentation alone


def test_evaluation_knows_no_autoencoder():
    network = autoencoder()
    network(images())
    assert copy.deepcopy(network).penalty is None  # its graph is not copied
    with torch.no_grad():
        (logits,) = network.eval()(images(16, 24, 8))
    assert network.penalty is None
    plain = build("segresnet", width=8)
    network.strip()
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(plain.eval()(images(16, 24, 8))[0], logits)


def test_taps_keep_the_features_of_the_segmentation():
    network, x = autoencoder(), images()
    with FeatureTaps(network, list(network.taps)) as taps, torch.no_grad():
        network.eval()(x)
        expected = taps.values()
        network.train()(x)
        for got, wanted in zip(taps.values(), expected, strict=True):
            assert torch.equal(got, wanted)


def test_dropout_acts_on_whole_channels_while_training():
    network = build("segresnet", width=8, dropout=0.5)
    seen = []
    network.body.dropout.register_forward_hook(lambda m, i, o: seen.append(o.flatten(2)))
    network(images())
    dropped = (seen[0] == 0).all(dim=2)
    assert 0 < dropped.sum() < dropped.numel() and not (seen[0] == 0)[~dropped].any()


def test_export_holds_no_autoencoder(tmp_path):
    spec = tiny_model.spec(
        "segresnet_vae", network=NetworkSpec("segresnet_vae", {"width": 8, "patch": list(PATCH)})
    )
    package = export_package(autoencoder(), spec, tmp_path / "model")
    assert not [name for name in load_file(package.folder / "model.safetensors") if "vae" in name]
    image = np.random.default_rng(1).integers(0, 256, (1, 4, 8, 24, 16), dtype=np.uint8)
    exported, reference = (open_runtime(name, package, 1)(image) for name in ("openvino", "torch"))
    np.testing.assert_allclose(exported, reference, atol=0.02 * max(1, np.abs(reference).max()))


def test_another_training_patch_is_named():
    with pytest.raises(
        RecipeError,
        match=r"field patch, got \(16, 16, 16\), expected \(32, 16, 32\).*sampling\.patch",
    ):
        autoencoder()(images(16, 16, 16))


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("segresnet", {"width": 12}, ["field width", "got 12", "a multiple of 8"]),
        ("segresnet", {"dropout": 1.0}, ["field dropout", "from 0 to below 1"]),
        ("segresnet", {"out_channels": 0}, ["field out_channels"]),
        ("segresnet_vae", {"patch": (32, 32, 24)}, ["field patch", "three multiples of 16"]),
        ("segresnet_vae", {"patch": (32, 32)}, ["field patch"]),
        ("segresnet_vae", {"vae_weight": -1.0}, ["field vae_weight"]),
    ],
)
def test_a_bad_option_is_named(name, options, parts):
    with pytest.raises(RecipeError) as error:
        build(name, **options)
    assert all(part in str(error.value) for part in parts)
