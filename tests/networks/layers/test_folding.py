"""Folding blocks into channels and back."""

import pytest
import torch

from gliodistill.networks.layers.folding import depth_to_space, space_to_depth


@pytest.mark.parametrize("s", [1, 2, 4])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_unfolding_undoes_folding(s, memory_format):
    x = torch.randn(2, 3, 8, 12, 4).to(memory_format=memory_format)
    folded = space_to_depth(x, s)
    assert folded.shape == (2, 3 * s**3, 8 // s, 12 // s, 4 // s)
    assert folded.is_contiguous(memory_format=memory_format)
    assert torch.equal(depth_to_space(folded, s), x)


def test_a_channel_holds_one_position_of_every_block():
    x = torch.randn(1, 2, 4, 4, 4)
    folded = space_to_depth(x, 2)
    assert torch.equal(folded[:, 8 + 4 * 1 + 2 * 0 + 1], x[:, 1, 1::2, 0::2, 1::2])


def test_equals_pixel_shuffle_in_a_plane():
    x = torch.randn(2, 4, 5, 6, 1)
    spread = x.repeat_interleave(2, dim=1)  # both halves along z alike
    expected = torch.nn.functional.pixel_shuffle(x[..., 0], 2)
    assert torch.equal(depth_to_space(spread, 2)[..., 0], expected)
