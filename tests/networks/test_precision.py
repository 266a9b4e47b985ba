"""The default number format follows the hardware."""

import pytest
import torch

from gliodistill.networks import build, default_precision, mixed_precision
from gliodistill.networks.precision import processor_flags


def test_bfloat16_only_where_the_processor_multiplies_it():
    fast = bool(processor_flags() & {"amx_bf16", "avx512_bf16"})
    assert default_precision() == (torch.bfloat16 if fast else torch.float32)
    assert default_precision(torch.device("cpu")) == default_precision("cpu")


def test_the_flags_agree_with_torch():
    if processor_flags():
        assert ("avx2" in processor_flags()) == torch.cpu._is_avx2_supported()
        assert ("avx512_bf16" in processor_flags()) == torch.cpu._is_avx512_bf16_supported()


def test_unknown_devices_get_float32():
    assert default_precision("meta") == torch.float32


@pytest.mark.parametrize("sides", [(16, 16, 16), (16, 32, 32), (32, 32, 16)])
def test_gradients_do_not_depend_on_what_lies_in_memory(sides):
    """The coarsest features are 2 or 4 voxels deep; freed memory is full of NaN each time."""
    torch.manual_seed(0)
    network = build("unet", widths=[8, 16, 32, 64], norm="batch").train()
    network = network.to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 4, *sides).to(memory_format=torch.channels_last_3d)
    gradients = []
    for _ in range(4):
        for power in range(4, 20):
            torch.full((2**power,), float("nan"))
        network.zero_grad(set_to_none=True)
        with mixed_precision(image.device, torch.bfloat16):
            loss = network(image)[0].float().square().mean()
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for others in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], others, strict=True))


def test_thin_features_are_convolved_as_in_float32():
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(4, 4, 3, padding=1)
    for depth, exact in ((2, True), (3, False)):
        image = torch.randn(1, 4, depth, 8, 8)
        with mixed_precision(image.device, torch.bfloat16):
            found = convolution(image)
        assert found.dtype == (torch.float32 if exact else torch.bfloat16)
        assert torch.equal(found, convolution(image)) == exact
    with mixed_precision(image.device, torch.float32):
        assert convolution(image).dtype == torch.float32
