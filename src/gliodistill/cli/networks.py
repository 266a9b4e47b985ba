"""The command that lists networks and what they cost: networks."""

import copy
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit, table
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.distillation import FeatureTaps
    from gliodistill.networks import Network
    from gliodistill.networks.measure import Timing

COUNTED = 128
BATCH = 2


class Runtime(enum.StrEnum):
    """What runs the networks."""

    torch = "torch"
    openvino = "openvino"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(networks)


def networks(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Only these, with their options (default: all).",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            metavar="[KIND:]PATH",
            help=(
                "Instead: the stages and costs of a teacher of another tool, e.g. the results"
                " folder of an nnU-Net; as distil --teacher."
            ),
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time a forward pass on this machine.")
    ] = True,
    patch: Annotated[
        int,
        typer.Option("--patch", min=8, metavar="N", help="Size of the timed input: N×N×N voxels."),
    ] = 64,
    runtime: Annotated[Runtime, typer.Option("--runtime", help="Runtime to time.")] = Runtime.torch,
    as_json: Json = False,
) -> None:
    """List the networks with their size, cost and paper.

    Shows parameters, operations at 128³ and milliseconds on this machine; with NAME also its
    options.

    Example: [cyan]gliodistill networks unet segresnet[/cyan]
    """
    import torch

    from gliodistill import networks as known
    from gliodistill.progress import track

    if of is not None:
        stages = _stages(of)
        emit(as_json, stages, lambda screen: _show_stages(screen, stages))
        return
    chosen = list(dict.fromkeys(names or known.names()))
    with torch.device("meta"):
        ghosts = {name: known.build(name) for name in chosen}
    listed = {}
    for name, ghost in track(ghosts.items(), "measuring networks"):
        listed[name] = _facts(name, ghost)
        if measure:
            listed[name] |= _measure(name, _fitting(patch, ghost.divisor), runtime)
    conditions = {
        "runtime": runtime.value,
        "patch": patch,
        "batch": BATCH,
        "precision": "float32",
        "threads": torch.get_num_threads(),
    }
    facts = {"networks": listed, "measured": conditions if measure else None}
    emit(as_json, facts, lambda screen: _show(screen, facts, with_options=bool(names)))


def _stages(text: str) -> dict[str, Any]:
    """Stages of a teacher's network, with their channels and grids, and its costs."""
    import torch

    from gliodistill.distillation import FeatureTaps
    from gliodistill.networks import count_parameters, flops
    from gliodistill.teachers import parse_teacher

    named = parse_teacher(text, "--of")
    opened = named.open()
    network = opened.as_network()
    if network is None:
        raise GliodistillError(
            "the teacher has outputs only", field="--of", got=str(named),
            expected="one with a network of its own, e.g. nnunet or network",
        )  # fmt: skip
    side = _fitting(COUNTED, network.divisor)
    shape = (1, len(opened.sequences), side, side, side)
    names = list(network.taps)
    ghost = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FeatureTaps(ghost, names) as taps:
        ghost(torch.empty(shape, device="meta"))
        found = {name: sides for name in names if (sides := _sides(taps, name)) is not None}
    return {
        "teacher": named.as_dict(),
        "sequences": [str(sequence) for sequence in opened.sequences],
        "parameters": count_parameters(network),
        "divisor": network.divisor,
        "flops": flops(network, shape),
        "flops_side": side,
        "stages": found,
    }


def _sides(taps: "FeatureTaps", name: str) -> list[int] | None:
    """Channels and grid of a stage; None for a part that is not called, or gives no features."""
    try:
        features = taps[name]
    except GliodistillError:
        return None
    return list(features.shape[1:]) if getattr(features, "ndim", 0) == 5 else None


def _show_stages(screen: "Console", facts: dict[str, Any]) -> None:
    rows = [
        [name, str(channels), " × ".join(map(str, grid))]
        for name, (channels, *grid) in facts["stages"].items()
    ]
    table(screen, ["stage", "channels", f"grid at {facts['flops_side']}³"], rows)
    screen.print(
        f"{facts['parameters']:,} parameters, {facts['flops'] / 1e9:,.0f} GFLOP at"
        f" {facts['flops_side']}³, input {', '.join(facts['sequences'])}."
    )


def _fitting(side: int, divisor: int) -> int:
    """The smallest side from this one on that a network takes."""
    return -(-side // divisor) * divisor


def _facts(name: str, network: "Network") -> dict[str, Any]:
    from gliodistill.networks import count_parameters, describe, flops
    from gliodistill.networks.architectures.papers import PAPERS

    network.strip()
    described, paper, side = describe(name), PAPERS.get(name), _fitting(COUNTED, network.divisor)
    return {
        "summary": described.summary,
        "paper": paper and paper.citation,
        "parameters": count_parameters(network),
        "divisor": network.divisor,
        "flops": flops(network, (1, _channels(name), side, side, side)),
        "flops_side": side,
        "options": {
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in described.options.items()
        },
    }


def _channels(name: str) -> int:
    """Of the input with default options."""
    from gliodistill.networks import describe

    return int(str(describe(name).options.get("in_channels", 4)))


def _measure(name: str, side: int, runtime: Runtime) -> dict[str, Any]:
    from gliodistill.networks import build
    from gliodistill.networks.measure import time_in_torch

    network, shape = build(name), (BATCH, _channels(name), side, side, side)
    timing = (
        time_in_torch(network, shape)
        if runtime is Runtime.torch
        else _time_in_openvino(network, shape)
    )
    return {"milliseconds": 1000 * timing.seconds / BATCH, "side": side, "passes": timing.passes}


def _time_in_openvino(network: "Network", shape: tuple[int, ...]) -> "Timing":
    import warnings

    import torch

    from gliodistill.models.telemetry import import_openvino
    from gliodistill.networks.measure import time_passes

    openvino, image = import_openvino(), torch.randn(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that Python reads
        graph = openvino.convert_model(
            network.eval(), example_input=image, input=[openvino.PartialShape(shape)]
        )
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    array = image.numpy()
    return time_passes(lambda: compiled(array))


def _show(screen: "Console", facts: dict[str, Any], *, with_options: bool) -> None:
    measured = facts["measured"]
    columns = [
        "network",
        "parameters",
        f"GFLOP at {COUNTED}³",
        *([f"ms at {measured['patch']}³"] if measured else []),
        "paper",
    ]
    rows = []
    for name, network in facts["networks"].items():
        row = [
            name,
            f"{network['parameters']:,}",
            _scaled(network["flops"] / 1e9, network["flops_side"], COUNTED),
            network["paper"] or "–",
        ]
        if measured:
            row.insert(3, _scaled(network["milliseconds"], network["side"], measured["patch"]))
        rows.append(row)
    table(screen, columns, rows)
    screen.print("With default options, as exported; a multiply–add is two operations.")
    if any(row[cell].endswith("*") for row in rows for cell in range(2, len(row) - 1)):
        screen.print(
            "*: measured on the next larger patch that the network accepts, and scaled to this"
            " number of voxels."
        )
    if measured:
        screen.print(
            f"Milliseconds a patch, in batches of {measured['batch']}: {measured['runtime']},"
            f" {measured['precision']}, {measured['threads']}"
            f" {'thread' if measured['threads'] == 1 else 'threads'}; the median of up to 7 passes,"
            " of one where it takes longer than a second."
        )
    for name, network in facts["networks"].items() if with_options else ():
        screen.print(f"\n{name}", style="bold", end="")
        screen.print(f"  {network['summary']}")
        table(
            screen,
            ["option", "default"],
            [[key, _written(value)] for key, value in network["options"].items()],
        )


def _scaled(value: float, side: int, wanted: int) -> str:
    """A cost in proportion to the voxels."""
    return f"{value * (wanted / side) ** 3:,.0f}{'' if side == wanted else '*'}"


def _written(default: object) -> str:
    """As in a recipe."""
    return f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else str(default)
