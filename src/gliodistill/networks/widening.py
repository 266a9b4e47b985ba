"""Widening: initialise a wide network to compute the same function as a trained narrow one
(Net2WiderNet).
"""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gliodistill.errors import RecipeError
from gliodistill.networks.base import Network
from gliodistill.networks.layers.refinement import Refinement
from gliodistill.networks.layers.transformer import SelfAttention

WIDTHS = {
    *(
        "in_channels",
        "out_channels",
        "groups",
        "num_channels",
        "num_features",
        "in_features",
        "out_features",
        "normalized_shape",
    ),
    "init_filters",  # of MONAI's SegResNet
}
"""Attributes of layers that widening may change; in all others two networks must agree."""

# Relative to the largest value of a stage: a hundred times the rounding of deep networks, and far
# below the effect of a wrong connection.
TOLERANCE = 1e-3


def widen(
    small: Network,
    large: Network,
    x: Float[Tensor, "B C X Y Z"],
    *,
    noise: float = 0.5,
    seed: int = 0,
) -> None:
    r"""Give ``large`` the weights of ``small``, so that both compute the same; only widths may
    differ.

    Net2WiderNet (Chen et al. 2016, arXiv 1511.05641, eqs. 1–2): channel i of the wide layer is a
    replica of channel s(i) of the narrow one, and weights that read a channel with n replicas are
    divided by n. This is our reading of the growing teacher assistant: each of a chain of ever
    wider networks is initialised from the previous one.

    Two things are ours. The paper draws s at random and follows it through the graph. We use
    :math:`s(i) = \lfloor i \cdot narrow / wide \rfloor`, which needs no graph: residual sums,
    concatenations of parts that widen by one ratio (the skips of a U-Net, whatever the ratio), norm
    groups and attention heads all map to themselves. The paper breaks the symmetry of replicas by
    noise on their weights, which changes the function. Our noise is on the division of outgoing
    weights among replicas and sums to zero over them: the function is unchanged, but replicas get
    different gradients and diverge from the first step.

    Exact for any wider widths with instance or batch norm (running statistics are copied),
    transposed convolutions, folded stems and deep supervision. Group and layer norms need every
    channel replicated equally often: whole factors and, for the former, as many groups as before.

    Args:
        small: the trained, narrow network; not changed.
        large: of the same class and options but for widths, none narrower, and a
            :class:`Refinement`, which it may have and ``small`` lack (it starts as fresh as built);
            overwritten, or unchanged if an error is raised.
        x: a batch that both take, not constant; every stage is compared on it in evaluation mode.
            Sides of twice the ``divisor`` suffice.
        noise: unevenness of the division of outgoing weights: each of n replicas gets (w + ε)/n,
            where ε has this standard deviation over that of the layer's weights. With 0, replicas
            stay equal and training uses only the narrow width.
        seed: of the noise.

    Raises:
        RecipeError: networks that differ in more than width, a narrower layer, norms that cannot be
            widened, or a stage that differs afterwards (e.g. concatenated parts that widen by
            different ratios). Names the layer or stage.
    """
    if not noise >= 0:
        raise RecipeError(
            "an option of widening is out of range", field="noise", got=noise, expected="at least 0"
        )
    check_widening(small, large)
    generator, old, new = (
        torch.Generator().manual_seed(seed),
        small.state_dict(),
        large.state_dict(),
    )
    added = _added(small, large)
    state = {
        key: new[key]
        if _within(key, added)
        else _widened(
            key,
            small.get_submodule(key.rpartition(".")[0]),
            old[key],
            new[key].shape,
            noise,
            generator,
        )
        for key in new
    }
    for name, layer in large.named_modules():
        if isinstance(
            layer, SelfAttention
        ):  # the dot product of r replicas is r times as large, of which √(embedding/head) takes √r
            queries = state[f"{name}.qkv.weight"].chunk(3)[0]
            queries *= (old[f"{name}.qkv.weight"].shape[1] / queries.shape[1]) ** 0.5
    trial = copy.deepcopy(large)
    trial.load_state_dict(state)
    _check_equal(small, trial, x)
    large.load_state_dict(state)


def _sources(narrow: int, wide: int) -> Int[Tensor, " wide"]:
    """For each wide channel, the replicated narrow one."""
    return torch.arange(wide) * narrow // wide


def _widened(
    key: str,
    layer: nn.Module,
    old: Tensor,
    shape: torch.Size,
    noise: float,
    generator: torch.Generator,
) -> Tensor:
    """The tensor ``key`` of ``layer``, widened to ``shape``."""
    reads = _reading_axis(layer) if key.endswith("weight") else None
    wide = old.cpu()
    for axis, (n, m) in enumerate(zip(old.shape, shape, strict=True)):
        if m > n:
            wide = wide.index_select(axis, _sources(n, m))
            wide = (
                _share_out(wide, axis, n, noise * old.std(correction=0).item(), generator)
                if axis == reads
                else wide
            )
    return wide


def _reading_axis(layer: nn.Module) -> int | None:
    """The axis of a layer's weight along which it sums over its input channels, if it does."""
    if isinstance(layer, nn.ConvTranspose3d):
        return 0
    return 1 if isinstance(layer, nn.Conv3d | nn.Linear) else None


def _share_out(
    weight: Tensor, axis: int, narrow: int, noise: float, generator: torch.Generator
) -> Tensor:
    """Divide replicated weights among the replicas, unevenly by ``noise``, keeping their sum."""
    sources = _sources(narrow, weight.shape[axis])
    shape = [-1 if other == axis else 1 for other in range(weight.ndim)]
    count = sources.bincount().view(shape)
    uneven = noise * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    total = torch.zeros_like(uneven.narrow(axis, 0, narrow)).index_add_(axis, sources, uneven)
    shares = weight + uneven - (total / count).index_select(axis, sources)
    return (shares / count.index_select(axis, sources)).to(weight.dtype)


def check_widening(small: Network, large: Network) -> None:
    """Check layers and shapes, without weights (also on the meta device).

    Raises:
        RecipeError: networks that differ in more than width, a narrower layer, or a norm that
            cannot be widened.
    """
    added = _added(small, large)
    narrow, wide = dict(small.named_modules()), dict(large.named_modules())
    wide = {name: layer for name, layer in wide.items() if not _within(name, added)}
    for name in dict.fromkeys((*narrow, *wide)):
        expected, got = _describe(narrow.get(name)), _describe(wide.get(name))
        if got != expected:
            raise RecipeError(
                "the networks differ in more than width",
                field=name or "network",
                got=got,
                expected=expected,
            )
    sizes = {key: tensor.shape for key, tensor in small.state_dict().items()}
    for key, tensor in large.state_dict().items():
        if _within(key, added):
            continue
        is_norm = isinstance(narrow[key.rpartition(".")[0]], nn.GroupNorm | nn.LayerNorm)
        for n, m in zip(sizes[key], tensor.shape, strict=True):
            if m < n:
                raise RecipeError(
                    "the wide network is narrower",
                    field=key,
                    got=f"{m} channels",
                    expected=f"at least {n}",
                )
            if m % n and is_norm:
                raise RecipeError(
                    "the norm would weight its channels differently",
                    field=key,
                    got=f"{m} channels",
                    expected=f"a multiple of {n}",
                )


def _added(small: Network, large: Network) -> list[str]:
    """Stages of ``large`` that ``small`` lacks and that are identities before training."""
    there = dict(small.named_modules())
    return [
        name
        for name, layer in large.named_modules()
        if isinstance(layer, Refinement) and name not in there
    ]


def _within(name: str, stages: list[str]) -> bool:
    """Whether a layer or tensor is one of some stages or a part of one."""
    return any(name == stage or name.startswith(f"{stage}.") for stage in stages)


def _describe(layer: nn.Module | None) -> str:
    if layer is None:
        return "no such layer"
    plain = {
        key: value
        for key, value in vars(layer).items()
        if isinstance(value, bool | int | float | str | tuple)
    }
    options = {
        key: value
        for key, value in plain.items()
        if key not in WIDTHS and key != "training" and not key.startswith("_")
    }
    return (
        f"{type(layer).__name__}({', '.join(f'{key}={value}' for key, value in options.items())})"
    )


def _check_equal(small: Network, large: Network, x: Tensor) -> None:
    """Compare the named stages, in the order they run, and the logits."""
    expected = _stages(small, x)
    try:
        got = _stages(large, x)
    except RuntimeError as error:
        raise RecipeError(
            "the wide network does not take the input of the narrow one",
            got=error,
            expected=tuple(x.shape),
        ) from error
    logits, outputs = tuple(expected["logits"].shape), tuple(got["logits"].shape)
    if outputs != logits:
        raise RecipeError(
            "the networks differ in more than width", field="logits", got=outputs, expected=logits
        )
    for name, old in expected.items():
        same = old.index_select(1, _sources(old.shape[1], got[name].shape[1]))
        apart = ((got[name] - same).abs().max() / same.abs().max()).item()
        if not apart <= TOLERANCE:
            raise RecipeError(
                "the network cannot be widened to these widths",
                field=name,
                got=f"a stage that differs by {apart:.1%}",
                expected="the values of the narrow network",
                hint=(
                    "widen all parts of a concatenation by one ratio, and everything under"
                    " attention or a channel mean by whole factors"
                ),
            )


@torch.no_grad()
def _stages(network: Network, x: Tensor) -> dict[str, Tensor]:
    """The outputs of the taps, in the order they run, then the logits; in evaluation mode, on the
    CPU (no TF32).
    """
    network = copy.deepcopy(network).cpu().eval()
    seen: dict[str, Tensor] = {}
    for name, stage in network.taps.items():
        stage.register_forward_hook(
            lambda _stage, _inputs, output, name=name: seen.update({name: output})
        )
    seen["logits"] = network(x.cpu())[0]
    return seen
