"""Batch norm of each subset of the channels."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, flops
from gliodistill.networks.layers.subset_norm import SubsetNorm, telling_subsets

LAST = torch.channels_last_3d


def subset_norm(channels=3, momentum=0.1):
    norm = SubsetNorm(channels)
    norm.momentum = momentum
    with torch.no_grad():
        norm.weight.normal_(1.0, 0.3)
        norm.bias.normal_(0.0, 0.3)
    return norm


def lacking(*rows, sides=(4, 4, 6)):
    """A batch of images with four channels, of which sample number i has those of the i-th row."""
    x = torch.randn(len(rows), 4, *sides)
    for image, row in zip(x, rows, strict=True):
        image[[channel for channel in range(4) if not row >> channel & 1]] = 0
    return x


def moments(x):
    """Mean and unbiased variance of each channel, float64."""
    values = x.numpy().astype(np.float64).transpose(1, 0, 2, 3, 4).reshape(x.shape[1], -1)
    return values.mean(1), values.var(1, ddof=1)


def test_subsets_are_told_by_what_is_not_0():
    torch.manual_seed(0)
    network = nn.Sequential(subset_norm(), subset_norm())
    with telling_subsets(network, lacking(15, 9, 8, 0)):
        assert all(norm.subset.tolist() == [15, 9, 8, 0] for norm in network)
    assert all(norm.subset is None for norm in network)


def test_each_sample_is_normalised_by_the_statistics_of_its_subset():
    torch.manual_seed(0)
    norm = subset_norm().eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    rows, x = [15, 9, 1], torch.randn(3, 3, 4, 5, 6)
    gamma, beta, means, variances = (
        t.detach().double().numpy()
        for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    expected = [
        (x[i].double().numpy() - means[row][:, None, None, None])
        * (gamma / np.sqrt(variances[row] + 1e-5))[:, None, None, None]
        + beta[:, None, None, None]
        for i, row in enumerate(rows)
    ]
    with telling_subsets(norm, lacking(*rows)):
        np.testing.assert_allclose(norm(x).detach().numpy(), np.stack(expected), atol=1e-5)


def test_training_normalises_by_the_batch_and_remembers_it_for_its_subsets():
    torch.manual_seed(0)
    norm, first, second, other = (
        subset_norm(),
        *(torch.randn(2, 3, 4, 4, 4) * 2 + 1 for _ in range(3)),
    )
    with telling_subsets(norm, lacking(5, 5)):
        y = norm(first)
        expected = functional.batch_norm(first, None, None, norm.weight, norm.bias, training=True)
        torch.testing.assert_close(y, expected)
        norm(second)
    with telling_subsets(norm, lacking(15, 3)):
        norm(other)
    (mean, variance), (later, wider) = moments(first), moments(second)
    np.testing.assert_allclose(norm.running_mean[5], 0.9 * mean + 0.1 * later, atol=1e-6)
    np.testing.assert_allclose(norm.running_var[5], 0.9 * variance + 0.1 * wider, rtol=1e-5)
    for row in (15, 3):  # the first batch of its own replaces what a row had
        np.testing.assert_allclose(norm.running_mean[row], moments(other)[0], atol=1e-6)
    # A subset that was never met has the statistics of whatever was.
    assert norm.batches_seen.tolist() == [0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (norm.running_mean[7] - norm.running_mean[5]).abs().max() < 1
    assert not norm.running_var[7].eq(1).any()


def test_without_a_momentum_it_is_the_plain_mean_of_all_batches():
    torch.manual_seed(0)
    norm, batches = (
        subset_norm(momentum=None),
        [torch.randn(2, 3, 4, 4, 4) + step for step in range(4)],
    )
    with telling_subsets(norm, lacking(6, 6)):
        for batch in batches:
            norm(batch)
    np.testing.assert_allclose(
        norm.running_mean[6], np.mean([moments(b)[0] for b in batches], axis=0), atol=1e-5
    )
    np.testing.assert_allclose(
        norm.running_var[6], np.mean([moments(b)[1] for b in batches], axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(norm.running_mean[2], norm.running_mean[6], atol=1e-5)  # never met
    norm.reset_running_stats()
    assert not norm.batches_seen.any()
    assert norm.running_var.eq(1).all()


def test_a_network_answers_for_each_study_as_if_it_were_alone_and_like_batch_norm_where_nothing_is_missing():
    torch.manual_seed(0)
    network, plain = (build("unet", widths=(4, 8), norm=kind) for kind in ("subset", "batch"))
    plain.load_state_dict(
        {k: v for k, v in network.state_dict().items() if "running" not in k and "seen" not in k},
        strict=False,
    )
    for _ in range(3):
        x = torch.randn(2, 4, 8, 8, 8)
        torch.testing.assert_close(network(x)[0], plain(x)[0])
        network(lacking(9, 9, sides=(8, 8, 8)))
    x = lacking(15, 9, 2, sides=(8, 8, 8))
    network.eval(), plain.eval()
    together = network(x)[0]
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1])[0][0], together[i], atol=1e-5, rtol=1e-5)
    for norm, other in zip(
        (m for m in network.modules() if isinstance(m, SubsetNorm)), batch_norms(plain), strict=True
    ):
        other.running_mean.copy_(norm.running_mean[15])
        other.running_var.copy_(norm.running_var[15])
    torch.testing.assert_close(plain(x[:1])[0], together[:1], atol=1e-5, rtol=1e-5)
    assert (plain(x[1:2])[0] - together[1:2]).abs().max() > 0.01


def test_shapes_alone_will_do_to_count_operations():
    network = build("unet", widths=(4, 8), norm="subset")
    assert (
        flops(network, (2, 4, 8, 8, 8))
        == flops(build("unet", widths=(4, 8), norm="batch"), (2, 4, 8, 8, 8))
        > 0
    )


def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_subset_norm_keeps_the_format(dtype):
    x = torch.randn(2, 8, 4, 4, 4, dtype=dtype).to(memory_format=LAST)
    norm = SubsetNorm(8)
    for training in (True, False):
        with telling_subsets(norm.train(training), lacking(15, 1)):
            y = norm(x)
        assert y.is_contiguous(memory_format=LAST)
        assert y.dtype == dtype


def test_subsets_need_to_be_told_and_have_four_channels():
    with pytest.raises(RecipeError, match="does not pass on"):
        SubsetNorm(2)(torch.randn(1, 2, 4, 4, 4))
    with pytest.raises(RecipeError, match="at most 4"):
        build("unet", in_channels=5, norm="subset")
    with pytest.raises(RecipeError, match="at most 4"):
        build("residual_unet", in_channels=5, norm="subset", widths=(4, 8), encoder_blocks=(1, 1))(
            torch.randn(1, 5, 8, 8, 8)
        )
