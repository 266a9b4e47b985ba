"""The last stage at full resolution: it starts as nothing, sees every voxel, and learns."""

import copy

import pytest
import torch

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops
from gliodistill.networks.widening import widen

OPTIONS = {"widths": (4, 8, 8), "stem_stride": 2, "deep_supervision": 1}


def image(batch=2, side=16):
    return torch.randn(batch, 4, side, side, side, generator=torch.Generator().manual_seed(3))


def test_an_untrained_stage_changes_nothing():
    network = build("unet", **OPTIONS, norm="batch", refine=6).eval()
    plain = copy.deepcopy(network)
    plain.refinement = None
    assert torch.equal(network(image())[0], plain(image())[0])


@pytest.mark.parametrize("norm", ["instance", "batch", "subset"])
def test_a_trained_network_gets_one_and_computes_the_same(norm):
    torch.manual_seed(0)
    small = build("unet", **OPTIONS, norm=norm)
    large = build("unet", **{**OPTIONS, "widths": (8, 16, 16)}, norm=norm, refine=6)
    widen(small, large, image())
    torch.testing.assert_close(
        large.eval()(image())[0], small.eval()(image())[0], rtol=1e-4, atol=1e-4
    )
    with pytest.raises(RecipeError, match="differ in more than width"):
        widen(large, small, image())  # but does not lose one


def test_both_the_stage_and_the_trunk_learn():
    torch.manual_seed(0)
    network = build("unet", **OPTIONS, norm="instance", refine=6)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(2):  # the first step moves the last convolution alone, which starts at 0
        optimiser.zero_grad()
        network(image())[0].square().mean().backward()
        optimiser.step()
    for name, parameter in network.named_parameters():
        if not name.startswith("coarse_heads"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_sees_every_voxel_of_the_image():
    """And to those within two voxels: two convolutions of 3³, on the grid of the image."""
    torch.manual_seed(0)
    network = build("unet", **OPTIONS, norm="batch", refine=6).eval()
    torch.nn.init.normal_(network.refinement.correction.weight)
    one, other = image(1), image(1)
    other[0, :, 8, 8, 8] += 5
    plain = copy.deepcopy(network)
    plain.refinement = None
    logits = plain(one)[0]
    fixed = [network.refinement(logits, x) - logits for x in (one, other)]
    changed = (fixed[0] - fixed[1]).abs().sum(1)[0] > 1e-6
    where = changed.nonzero()
    assert changed[8, 8, 8]
    assert where.min(0).values.tolist() == [6, 6, 6] and where.max(0).values.tolist() == [10] * 3


def test_costs_what_two_convolutions_cost():
    plain, refined = (build("unet", **OPTIONS, norm="batch", refine=n) for n in (0, 6))
    convolutions = 27 * (7 * 6 + 6 * 6) + 6 * 3
    assert count_parameters(refined) - count_parameters(plain) == convolutions + 3 + 4 * 6
    shape = (1, 4, 16, 16, 16)
    assert flops(refined, shape) - flops(plain, shape) == 2 * 16**3 * convolutions


def test_refuses_a_negative_width():
    with pytest.raises(RecipeError, match="refine"):
        build("unet", **OPTIONS, refine=-1)
