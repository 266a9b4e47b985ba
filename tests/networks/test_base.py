"""Parameters and floating-point operations, counted by hand."""

import torch
from torch import nn

from gliodistill.networks import build, count_parameters, flops


def test_flops_of_a_convolution_count_a_multiply_add_as_two():
    convolution = nn.Conv3d(5, 7, 3, padding=1)
    assert flops(convolution, (2, 5, 8, 9, 10)) == 2 * (27 * 5 * 7) * (2 * 8 * 9 * 10)


def test_flops_of_a_transposed_convolution():
    assert flops(nn.ConvTranspose3d(6, 4, 2, stride=2), (1, 6, 4, 4, 4)) == 2 * (8 * 6 * 4) * 4**3


def test_flops_of_a_u_net_by_hand_and_coarse_heads_cost_nothing_in_use():
    widths, voxels = (4, 6), 16**3
    by_hand = 27 * (4 * 4 + 4 * 4) * voxels  # encoder 0
    by_hand += 27 * (4 * 6 + 6 * 6) * voxels // 8  # bottleneck
    by_hand += 8 * 6 * 4 * voxels // 8  # transposed convolution
    by_hand += 27 * (8 * 4 + 4 * 4) * voxels  # decoder 0
    by_hand += 4 * 3 * voxels  # head
    assert flops(build("unet", widths=widths), (1, 4, 16, 16, 16)) == 2 * by_hand
    deep = build("unet", widths=(4, 6, 8), deep_supervision=1)
    assert flops(deep, (1, 4, 16, 16, 16)) == flops(
        build("unet", widths=(4, 6, 8)), (1, 4, 16, 16, 16)
    )


def test_counting_leaves_the_network_as_it_is():
    network = build("unet", widths=(4, 6)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert flops(network, (1, 4, 240, 240, 160)) > 0
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_shared_parameters_count_once():
    shared = nn.Linear(3, 2)
    assert count_parameters(nn.Sequential(shared, shared)) == 8
