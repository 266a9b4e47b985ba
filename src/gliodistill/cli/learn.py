"""Commands that learn: train, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Json,
    Labels,
    Layout,
    emit,
    first_of,
    notes_of,
    table,
    unusable_of,
)
from gliodistill.errors import GliodistillError, PackageError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(export)


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or the name of one that comes along, e.g. compression.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Studies in any layout, or a cache made by prepare.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="RUN", help="Folder of the training.", show_default=False
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help=(
                "Continue a training that was stopped, by the recipe stored in RUN; the result is"
                " as if it had never been stopped."
            ),
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe, e.g. training.steps=500; may be repeated.",
            show_default=False,
        ),
    ] = None,
    pseudo: Annotated[
        Path | None,
        typer.Option(
            "--pseudo",
            metavar="OUT",
            help=(
                "What pseudo-label wrote, synthetic studies of phantom, or a cache of either, for"
                " runs that learn from it."
            ),
            show_default=False,
        ),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            metavar="RUN",
            help="A finished run of another training, for runs with init_from: pretrained.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help="Train this run of the recipe only; may be repeated.",
            show_default=False,
        ),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Train every run of a recipe: teacher, baseline, distilled student.

    A start that fails may be repeated into the same folder. With --resume the recipe stored there
    is used, and what RECIPE says otherwise is named; --set must agree with it, but for
    training.device, compile, prefetch, save_every and tensorboard.

    Example: [cyan]gliodistill train compression --data patients/ -o runs/first --set
    training.steps=500[/cyan]
    """
    from gliodistill.recipes.schema import Recipe
    from gliodistill.recipes.shipped import find_recipe
    from gliodistill.training.resolve import resolve
    from gliodistill.training.run import print_note
    from gliodistill.training.run import train as train_recipe
    from gliodistill.training.starting import recipe_to_resume
    from gliodistill.training.watching import watcher

    notes: list[str] = []

    def tell(text: str) -> None:
        notes.append(text)
        print_note(text)

    file = find_recipe(recipe)
    parsed = Recipe.open(file, settings or [])
    resolve(parsed, file)
    if resume:
        parsed, differing = recipe_to_resume(out, parsed, settings or [])
        for text in differing:
            tell(text)
    for name in only or []:
        if name not in parsed.runs:
            raise RecipeError(
                "no such run in the recipe",
                file=recipe,
                field="--only",
                got=name,
                expected=", ".join(parsed.runs),
            )
    for text in _unused(data, layout):
        tell(text)
    with watcher(parsed) as watch:
        experiment = train_recipe(
            parsed,
            data,
            out,
            resume=resume,
            layout=layout,
            labels=labels,
            only=tuple(only or ()),
            pseudo=pseudo,
            pretrained=pretrained,
            watch=watch,
            tell=tell,
        )
    finished = {
        name: experiment.summary(name) for name in parsed.runs if experiment.is_finished(name)
    }

    def show(screen: "Console") -> None:
        rows = [
            [
                name,
                f"{s['parameters']:,}",
                f"{s['flops'] / 1e9:.3g}",
                str(s["steps"]),
                f"{s['seconds']:.0f}",
                *_dice(s),
            ]
            for name, s in finished.items()
        ]
        table(
            screen,
            [
                "run",
                "parameters",
                "GFLOP a patch",
                "steps",
                "seconds",
                "WT Dice",
                "TC Dice",
                "ET Dice",
            ],
            rows,
        )
        screen.print(
            f"Dice of the validation studies as prepared. Next: gliodistill export {out} -o model"
        )

    facts = {"folder": str(out), "runs": finished, "split": experiment.split, "notes": notes}
    emit(as_json, facts, show)


def _unused(data: Path, layout: str | None) -> list[str]:
    """What lies among the studies and is not used; of a cache nothing."""
    from gliodistill.preparation.cache import is_cache
    from gliodistill.studies.cohort import find_cohort

    if is_cache(data):
        return []
    try:
        _, found = find_cohort(data, layout)
    except GliodistillError:
        return []  # what is wrong is said in its turn
    return first_of([*unusable_of(found).values(), *notes_of(found)])


def _dice(summary: dict[str, Any]) -> list[str]:
    dice = summary.get("dice") or {}
    return [
        "–" if dice.get(region) is None else f"{dice[region]:.3f}" for region in ("WT", "TC", "ET")
    ]


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a training (its last run is taken) or of one of its runs.",
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
            help="Some of openvino, onnx, torch, with commas between; or monai: a MONAI bundle.",
        ),
    ] = "openvino,torch",
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Add an int8 OpenVINO graph, calibrated on training studies."),
    ] = False,
    int8_default: Annotated[
        bool,
        typer.Option(
            "--int8-default", help="Add it, and let OpenVINO take it unless told --precision."
        ),
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            metavar="P",
            help="Probability above which segment draws a region, between 0 and 1.",
        ),
    ] = 0.5,
    clean_up: Annotated[
        list[str] | None,
        typer.Option(
            "--clean-up",
            metavar="RULE=VALUE",
            help="A rule that segment applies, e.g. drop_small_et=33.",
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
            help="JSON that predicts the Dice of answers, from a cross-validation.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a model of a finished run: the network in one or more forms, description, checksums,
    model card.

    Every form must give the trained network's answers, else nothing is written.

    Example: [cyan]gliodistill export runs/first/distilled -o model --format openvino,onnx
    --int8[/cyan]
    """
    from gliodistill.inference.postprocessing import parse_steps
    from gliodistill.models.card import read_sections
    from gliodistill.training.packaging import bundle_run
    from gliodistill.training.packaging import export as export_run
    from gliodistill.trust.expected_quality import QualityModel

    rules = parse_steps(clean_up or ())
    sections = read_sections(card) if card else ""
    predicts = QualityModel.read(quality) if quality else None
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
        ):
            expected = "monai alone, without --int8, --threshold, --clean-up, --card and --quality"
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
    )
    size = sum(file.stat().st_size for file in model.iterdir())

    def show(screen: "Console") -> None:
        rows = []
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
                    *(f"{dice[region]:.4f}" for region in ("WT", "TC", "ET")),
                ]
            )
        table(
            screen,
            ["runtime", "weights", "MB", "logits within", "WT Dice", "TC Dice", "ET Dice"],
            rows,
        )
        screen.print(
            f"model {package.name} in {model}; compared with the trained network's own answers, not"
            " with the truth"
        )

    exports = [export.to_dict() | {"files": export.files} for export in package.exports]
    emit(
        as_json,
        {"model": package.name, "folder": str(model), "bytes": size, "exports": exports},
        show,
    )
