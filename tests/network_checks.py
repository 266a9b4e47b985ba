"""What every network must do, whatever is inside it."""

import copy
import warnings

import numpy as np
import torch
from torch.nn import functional

from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import build


def check_interface(name, sides, strides, **options):
    """Heads on the grids ``strides`` in training, one in evaluation; a gradient for every
    parameter; taps; the same weights again.

    ``sides``: of the inputs tried. A loss of all heads must reach every parameter.
    """
    torch.manual_seed(0)
    network = build(name, **options)
    for x, y, z in sides:
        image = torch.randn(2, 4, x, y, z)
        heads = network.train()(image)
        assert [tuple(head.shape) for head in heads] == [
            (2, 3, x // s, y // s, z // s) for s in strides
        ]
        with torch.no_grad():
            assert [tuple(head.shape) for head in network.eval()(image)] == [(2, 3, x, y, z)]
    sum((head * torch.randn_like(head)).sum() for head in heads).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path
    network.zero_grad()
    assert {"encoder0", "bottleneck", "decoder0"} <= set(network.taps)
    assert set(network.taps.values()) <= set(network.modules())
    torch.manual_seed(0)
    again = build(name, **options)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True)
    )
    again.load_state_dict(copy.deepcopy(network.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(image)[0], network.eval()(image)[0], rtol=0, atol=0)


def check_channels_last(name, side, **options):
    """The same logits in either memory format."""
    torch.manual_seed(0)
    network, image = build(name, **options).eval(), torch.randn(2, 4, side, side, side)
    with torch.no_grad():
        (plain,) = network(image)
        (last,) = network.to(memory_format=torch.channels_last_3d)(
            image.to(memory_format=torch.channels_last_3d)
        )
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-4)


def check_openvino(name, **options):
    """The graph traced on one cube computes the network's logits on another shape."""
    torch.manual_seed(0)
    network = build(name, **options).eval()
    side = network.divisor
    openvino = import_openvino()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the tracer warns of every shape that Python reads; the other shape is what counts
        shape = openvino.PartialShape([-1, 4, -1, -1, -1])
        graph = openvino.convert_model(
            network, example_input=torch.randn(1, 4, 2 * side, 2 * side, 2 * side), input=[shape]
        )
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    image = torch.randn(1, 4, 3 * side, 2 * side, 2 * side)
    with torch.no_grad():
        (expected,) = network(image)
    np.testing.assert_allclose(compiled(image.numpy())[0], expected.numpy(), rtol=1e-3, atol=1e-3)


def check_learning(name, side, *, steps=15, **options):
    """Two noisy images with boxes in them are soon learned by heart."""
    torch.manual_seed(0)
    network = build(name, **options)
    image, truth = torch.randn(2, 4, side, side, side), torch.zeros(2, 3, side, side, side)
    for region, rim in enumerate((2, 4, 6)):
        truth[:, region, rim:-rim, rim:-rim, rim:-rim] = 1
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        truths = (
            (head, functional.adaptive_avg_pool3d(truth, head.shape[2:])) for head in network(image)
        )
        loss = sum(
            functional.binary_cross_entropy_with_logits(head, target) for head, target in truths
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
