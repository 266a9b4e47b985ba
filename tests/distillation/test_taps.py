"""Feature taps: any stage by name, no trace left behind."""

import pytest
import torch

from gliodistill.distillation import FeatureTaps, attention_transfer
from gliodistill.errors import RecipeError
from gliodistill.networks import build


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("unet", widths=(4, 6, 8))


X = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_reads_named_stages_and_any_submodule(network):
    with FeatureTaps(network, ["decoder0", "bottleneck", "encoders.1.0.0"]) as taps:
        network(X)
        assert [tuple(f.shape) for f in taps.values()] == [
            (2, 4, 8, 8, 8),
            (2, 8, 2, 2, 2),
            (2, 6, 4, 4, 4),
        ]
        assert taps["bottleneck"] is taps.values()[1]


def test_a_tap_holds_what_the_stage_put_out(network):
    with FeatureTaps(network, ["encoder0", "decoder0"]) as taps, torch.no_grad():
        (logits,) = network(X)
        torch.testing.assert_close(taps["encoder0"], network.encoders[0](X))
    with FeatureTaps(network, ["decoder0"]) as taps, torch.no_grad():
        network(X)
        torch.testing.assert_close(network.head(taps["decoder0"]), logits)


def test_no_hook_outlives_the_context(network):
    with FeatureTaps(network, ["bottleneck", "decoder0"]) as taps:
        assert hooks(network) == 2
        network(X)
    assert hooks(network) == 0
    with pytest.raises(RecipeError, match="was not reached"):
        taps["bottleneck"]
    with pytest.raises(RuntimeError, match="stop"), FeatureTaps(network, ["bottleneck"]):
        raise RuntimeError("stop")
    assert hooks(network) == 0


def test_gradients_reach_the_student_and_the_teacher_is_read_under_no_grad(network):
    teacher = build("unet", widths=(6, 8, 10)).eval()
    with (
        FeatureTaps(network, ["bottleneck", "decoder0"]) as inner,
        FeatureTaps(teacher, ["bottleneck", "decoder0"]) as outer,
    ):
        network(X)
        with torch.no_grad():
            teacher(X)
        assert not any(f.requires_grad for f in outer.values())
        attention_transfer(inner.values(), outer.values()).backward()
    assert network.encoders[0][0][0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_each_call_replaces_the_features_of_the_last(network):
    with FeatureTaps(network, ["bottleneck"]) as taps:
        network(X)
        first = taps["bottleneck"]
        network(X[:1])
        assert taps["bottleneck"].shape[0] == 1
        assert first.shape[0] == 2


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (
            ["bottlneck"],
            [
                "got bottlneck",
                "encoder0, encoder1, bottleneck, decoder1, decoder0",
                "did you mean bottleneck?",
            ],
        ),
        (["qqq"], ["got qqq", "or the path of any submodule"]),
        ([], ["no feature taps named", "bottleneck"]),
    ],
)
def test_unknown_names_are_told(network, names, parts):
    with pytest.raises(RecipeError) as error:
        FeatureTaps(network, names)
    for part in parts:
        assert part in str(error.value)
    assert hooks(network) == 0


def test_asking_for_a_tap_that_is_not_read(network):
    with FeatureTaps(network, ["bottleneck"]) as taps:
        network(X)
        with pytest.raises(RecipeError, match="is not read here"):
            taps["decoder0"]
