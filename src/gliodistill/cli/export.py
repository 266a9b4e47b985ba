"""The command that makes a model of a finished run: export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Json,
    emit,
    table,
)
from gliodistill.errors import PackageError

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(export)


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a training (its last run is exported) or of one of its runs.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="MODEL", help="Folder of the model: new.", show_default=False
        ),
    ],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAMES",
            help="Comma-separated list of openvino, onnx, torch; or monai: a MONAI bundle.",
        ),
    ] = "openvino,torch",
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Add an int8 OpenVINO graph, calibrated on training studies."),
    ] = False,
    int8_default: Annotated[
        bool,
        typer.Option("--int8-default", help="As --int8, and make it OpenVINO's default precision."),
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            metavar="P",
            help="Probability above which a voxel belongs to a region, between 0 and 1.",
        ),
    ] = 0.5,
    clean_up: Annotated[
        list[str] | None,
        typer.Option(
            "--clean-up",
            metavar="RULE=VALUE",
            help="A clean-up rule that segment applies, e.g. drop_small_et=33.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Name of the model (default: recipe and run).",
            show_default=False,
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            metavar="FILE",
            help="Markdown sections (## …) to add to the model card.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(
            "--quality",
            metavar="FILE",
            help="JSON of a model that predicts Dice, fitted in a cross-validation.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="JSON of temperatures of the probabilities, fitted in a cross-validation.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a finished run as a model.

    A model is a folder: the network in one or more formats, its description, checksums and model
    card. Each format must reproduce the output of the trained network; otherwise nothing is
    written.

    Example: [cyan]gliodistill export runs/first/distilled -o model --format openvino,onnx
    --int8[/cyan]
    """
    from gliodistill.inference.postprocessing import parse_steps
    from gliodistill.models.card import read_sections
    from gliodistill.training.packaging import bundle_run
    from gliodistill.training.packaging import export as export_run
    from gliodistill.trust.calibration import Calibration
    from gliodistill.trust.expected_quality import QualityModel

    rules = parse_steps(clean_up or ())
    sections = read_sections(card) if card else ""
    predicts = QualityModel.read(quality) if quality else None
    temperatures = Calibration.read(calibration) if calibration else None
    wanted = [word.strip() for word in formats.split(",")]
    if "monai" in wanted:
        if (
            wanted != ["monai"]
            or int8
            or int8_default
            or threshold != 0.5
            or rules
            or sections
            or predicts
            or temperatures
        ):
            expected = (
                "only monai, without --int8, --threshold, --clean-up, --card, --quality and"
                " --calibration"
            )
            raise PackageError(
                "a MONAI bundle is a folder of its own",
                field="--format",
                got=formats,
                expected=expected,
            )
        bundle = bundle_run(run, model, name=name)
        emit(
            as_json,
            {"bundle": str(bundle)},
            lambda screen: screen.print(f"MONAI bundle in {bundle}"),
        )
        return
    package = export_run(
        run,
        model,
        name=name,
        formats=wanted,
        int8=int8,
        int8_default=int8_default,
        threshold=threshold,
        postprocessing=rules,
        card=sections,
        quality=predicts,
        calibration=temperatures,
    )
    size = sum(file.stat().st_size for file in model.iterdir())

    def show(screen: "Console") -> None:
        rows, regions = [], package.spec.task.names
        for export in package.exports:
            dice = (export.studies or export.random).dice
            megabytes = sum((model / file).stat().st_size for file in export.files) / 1e6
            worst = f"{export.max_abs_difference:.2g}"
            rows.append(
                [
                    export.runtime,
                    export.weights,
                    f"{megabytes:.1f}",
                    worst,
                    *(f"{value:.4f}" for value in dice.values()),
                ]
            )
        table(
            screen,
            [
                "runtime",
                "weights",
                "MB",
                "logits within",
                *(f"{region} Dice" for region in regions),
            ],
            rows,
        )
        screen.print(
            f"model {package.name} in {model}; compared with the output of the trained network, not"
            " with reference segmentations"
        )

    exports = [export.to_dict() | {"files": export.files} for export in package.exports]
    emit(
        as_json,
        {"model": package.name, "folder": str(model), "bytes": size, "exports": exports},
        show,
    )
