"""The command that lists the shipped models: models."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit, table
from gliodistill.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from gliodistill.models import ModelPackage


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help=(
                "Print the card of this shipped model (glioma, or a version of it: glioma@1), or"
                " of the model in this folder."
            ),
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the shipped models, or print a model's card.

    The list shows each version: sequences, regions, parameters, size, formats, the Dice of its card
    and what it was trained on. A name without a version means the newest.

    Example: [cyan]gliodistill models glioma[/cyan]
    """
    from gliodistill.errors import printable
    from gliodistill.models import ModelPackage
    from gliodistill.models.card import read_card
    from gliodistill.models.shipped import DEFAULT, find_model, names, newest

    if name is None:
        listed = {known: _facts(ModelPackage.open(find_model(known))) for known in names()}
        told = {"models": listed, "default": DEFAULT, "newest": newest()}
        emit(as_json, told, lambda screen: _show(screen, listed, newest()))
        return
    package = ModelPackage.open(find_model(name))
    # The card may be untrusted: unprintable characters are escaped.
    card = printable(read_card(package.folder).replace("\r\n", "\n").expandtabs(4))
    emit(
        as_json,
        {"model": package.identity, **_facts(package), "card": card},
        lambda screen: _print(screen, card),
    )


def _facts(package: "ModelPackage") -> dict[str, Any]:
    from gliodistill.models.card import read_card, scores

    spec = package.spec
    return {
        "folder": str(package.folder),
        "sequences": [str(sequence) for sequence in spec.sequences],
        "may_lack": [str(sequence) for sequence in spec.may_lack],
        "outputs": list(spec.outputs.names),
        "parameters": package.runtime.parameters,
        "bytes": sum(file.stat().st_size for file in package.folder.iterdir()),
        "formats": [f"{export.runtime} {export.weights}" for export in package.exports],
        "dice": dict(spec.training.validation_dice),
        "cross_validation": scores(read_card(package.folder)),
        "data": spec.training.data,
    }


def _show(screen: "Console", listed: dict[str, dict[str, Any]], latest: dict[str, str]) -> None:
    columns = ["model", "sequences", "outputs", "parameters", "MB", "formats", "Dice"]
    rows = []
    for name, facts in listed.items():
        dice = _dice(facts["dice"]) or "; ".join(
            f"{_dice(values)} ({setting})" for setting, values in facts["cross_validation"].items()
        )
        cells = [
            _sequences(facts),
            " ".join(facts["outputs"]),
            f"{facts['parameters']:,}",
            f"{facts['bytes'] / 1e6:.1f}",
        ]
        rows.append([name, *cells, ", ".join(facts["formats"]), dice or "see its card"])
    table(screen, columns, rows)
    for name, facts in listed.items():
        screen.print(f"{name}: {printable(facts['data'])}", highlight=False)
    for name, version in latest.items():
        screen.print(f"{name} means {version}, the newest version.", highlight=False)
    screen.print("Next: gliodistill models MODEL; research use, not a medical device")


def _dice(values: "Mapping[str, float]") -> str:
    return ", ".join(f"{region} {value:.3f}" for region, value in values.items())


def _sequences(facts: dict[str, Any]) -> str:
    names, lacking = " ".join(facts["sequences"]), " ".join(facts["may_lack"])
    if facts["may_lack"] == facts["sequences"]:
        return f"any of {names}"
    return f"{names}, {lacking} if there" if lacking else names


def _print(screen: "Console", card: str) -> None:
    """Print the card, rendered in a terminal, else as Markdown."""
    if screen.is_terminal:
        from rich.markdown import Markdown

        screen.print(Markdown(printable(card)), soft_wrap=False)
    else:
        typer.echo(printable(card), nl=False)
