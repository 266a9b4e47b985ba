"""Commands about data: phantom, inspect, prepare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Jobs,
    Json,
    Labels,
    Layout,
    emit,
    notes_of,
    nothing_left,
    show_notes,
    table,
    unusable_of,
)
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.preparation.preparation import Preparation

SEQUENCES = "T1,T1CE,T2,FLAIR"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(phantom)
    app.command()(inspect)
    app.command()(prepare)


def phantom(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder of the studies: new, or one to continue.",
            show_default=False,
        ),
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=1, metavar="N", help="How many studies.")] = 10,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, metavar="S", help="The same seed gives the same studies."),
    ] = 0,
    spacing: Annotated[
        float, typer.Option("--spacing", min=0.5, max=6.0, metavar="MM", help="Voxel size in mm.")
    ] = 1.0,
    difficulty: Annotated[
        float,
        typer.Option(
            "--difficulty",
            min=0.0,
            max=2.0,
            metavar="D",
            help="0: clean, strong contrast; 1: like real cohorts; 2: noisy, faint.",
        ),
    ] = 1.0,
    shapes: Annotated[
        Path | None,
        typer.Option(
            "--shapes",
            metavar="FOLDER",
            help="Label maps whose tumours are placed, instead of grown ones.",
            show_default=False,
        ),
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="Leave the reference segmentations out."),
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Make synthetic brain-tumour studies with reference segmentations, in BraTS layout.

    Example: [cyan]gliodistill phantom synthetic -n 20 --seed 1 --spacing 2[/cyan]
    """
    from gliodistill.phantom.cohort import write_cohort

    with nothing_left(out):
        made = write_cohort(
            out,
            n,
            seed,
            spacing=spacing,
            jobs=jobs,
            difficulty=difficulty,
            shapes=shapes,
            labelled=not unlabelled,
        )
        ids = [folder.name for folder in made]
    emit(
        as_json,
        {"folder": str(out), "studies": ids},
        lambda screen: screen.print(f"{len(ids)} synthetic studies in {out}"),
    )


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder of studies in any layout, one study, or a manifest.",
            show_default=False,
        ),
    ],
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Read every voxel, not only the headers: background, size of the brain, codes.",
        ),
    ] = False,
    layout: Layout = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Say what is there: layout, studies, sequences, what the labels mean, every problem found.

    Exit code 1 if something found forbids the use of a study, or if it cannot be told what the
    labels mean.

    Example: [cyan]gliodistill inspect patients/[/cyan]
    """
    from gliodistill.studies.inspection import inspect as look

    facts = look(path, layout=layout, labels=labels, deep=deep).as_dict()
    emit(as_json, facts, lambda screen: _show_inspection(screen, facts))
    undecided = facts["convention"] is None and any(study["truth"] for study in facts["studies"])
    if undecided or any(problem["blocking"] for problem in facts["problems"]):
        raise typer.Exit(1)


def _show_inspection(screen: "Console", facts: dict[str, Any]) -> None:
    studies = facts["studies"]
    patients = len({study["patient"] for study in studies})
    counted = (
        f"{len(studies)} {'study' if len(studies) == 1 else 'studies'} of {patients}"
        f" {'patient' if patients == 1 else 'patients'}"
    )
    screen.print(facts["path"], style="bold")
    screen.print(f"layout     {facts['layout']}: {counted}")
    for sequence in ("T1", "T1CE", "T2", "FLAIR"):
        spelt: dict[str, int] = {}
        for study in studies:
            if sequence in study["sequences"]:
                spelling = study["sequences"][sequence]["spelling"] or "?"
                spelt[spelling] = spelt.get(spelling, 0) + 1
        matched = ", ".join(f"{count} named {spelling}" for spelling, count in spelt.items())
        screen.print(f"{sequence:<10} {matched or 'none'}")
    truths = sum(study["truth"] is not None for study in studies)
    if truths:
        screen.print(
            f"labels     {truths} studies; convention {facts['convention'] or 'unknown'}"
            + "".join(f"\n           {e}" for e in facts["evidence"])
        )
    else:
        screen.print("labels     none")
    if any(_is_partial(study) for study in studies):
        kinds: dict[str, int] = {}
        for study in studies:
            told = " ".join(study["known_regions"])
            kind = f"{told}{' in a part of the voxels' if study['known'] else ''}" or "no labels"
            kinds[kind] = kinds.get(kind, 0) + 1
        screen.print("teach      " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    header, rows = (
        ["study", "patient", "sequences", "voxels", "mm", "axes", "truth"],
        [_row(study) for study in studies],
    )
    if any(_is_partial(study) for study in studies):
        header = [*header, "teaches"]
        rows = [[*row, study["teaches"]] for row, study in zip(rows, studies, strict=True)]
    if any(study["group"] for study in studies):
        header = [*header, "group"]
        rows = [[*row, study["group"] or "–"] for row, study in zip(rows, studies, strict=True)]
    table(screen, header, rows)
    for problem in facts["problems"]:
        place = ": ".join(
            part
            for part in (problem["study"], problem["file"] and Path(problem["file"]).name)
            if part
        )
        line = (
            problem["problem"]
            if problem["file"] and problem["problem"].startswith(problem["file"])
            else f"{place}: {problem['problem']}".lstrip(": ")
        )
        screen.print(
            "problem: " if problem["blocking"] else "note: ",
            style="red" if problem["blocking"] else "yellow",
            end="",
        )
        screen.print(line)
    if not facts["problems"]:
        screen.print("no problems found")


def _is_partial(study: dict[str, Any]) -> bool:
    """Whether the label map leaves a region or a voxel open."""
    return bool(study["truth"]) and (len(study["known_regions"]) < 3 or study["known"] is not None)


def _row(study: dict[str, Any]) -> list[str]:
    """One study: its geometry is that of its first readable image (others that differ are
    problems).
    """
    grid = next((image for image in study["sequences"].values() if image["shape"]), None)
    voxels = "×".join(map(str, grid["shape"])) if grid else "–"
    spacing = "×".join(f"{step:.3g}" for step in grid["spacing"]) if grid else "–"
    truth = (
        "–"
        if study["truth"] is None
        else "yes"
        if study["codes"] is None
        else " ".join(map(str, study["codes"])) or "empty"
    )
    if study["convention"]:
        truth += f", {study['convention']}"
    patient = "same" if study["patient"] == study["id"] else study["patient"]
    return [
        study["id"],
        patient,
        " ".join(study["sequences"]),
        voxels,
        spacing,
        grid["orientation"] if grid else "–",
        truth,
    ]


def prepare(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Studies in any layout.", show_default=False)
    ],
    cache: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="CACHE",
            help="Folder of the cache: new, or one to continue.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="Prepare as a recipe wants it (its `data`), to train it on.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            "--spacing",
            min=0.3,
            max=8.0,
            metavar="MM",
            help="Voxel size in mm (default: each study's own).",
            show_default=False,
        ),
    ] = None,
    sequences: Annotated[
        str | None,
        typer.Option(
            "--sequences",
            metavar="LIST",
            help=f"Channels in order, with commas between (default: {SEQUENCES}).",
            show_default=False,
        ),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Prepare studies for training, once: crop to the brain, resample, normalise, one byte a voxel.

    Example: [cyan]gliodistill prepare patients/ -o cache --recipe compression[/cyan]
    """
    from gliodistill.preparation import build_cache
    from gliodistill.studies.cohort import find_cohort, open_cohort

    preparation = _preparation(recipe, spacing, sequences)
    cohort = open_cohort(path, layout=layout, labels=labels)
    _, found = find_cohort(path, layout)
    notes = [*unusable_of(found).values(), *notes_of(found)]
    cohort.warn_unlabelled()
    with nothing_left(cache):
        built = build_cache(cohort, preparation, cache, jobs)
        notes += built.notes
    size = sum(file.stat().st_size for study in built for file in study.folder.iterdir())
    facts = {
        "cache": str(cache),
        "studies": [study.id for study in built],
        "bytes": size,
        "preparation": preparation.to_dict(),
        "notes": notes,
    }

    def show(screen: "Console") -> None:
        show_notes(screen, notes)
        screen.print(f"{len(built)} studies prepared in {cache} ({size / 1e6:.1f} MB)")

    emit(as_json, facts, show)


def _preparation(recipe: str | None, spacing: float | None, sequences: str | None) -> "Preparation":
    if recipe is not None:
        if spacing is not None or sequences is not None:
            raise GliodistillError(
                "two sources of settings",
                field="--recipe",
                expected="either --recipe, or --spacing and --sequences",
            )
        from gliodistill.recipes.schema import Recipe

        return Recipe.open(recipe).data.preparation()
    from gliodistill.preparation import Preparation
    from gliodistill.studies.naming import parse_sequence

    channels = tuple(parse_sequence(name) for name in (sequences or SEQUENCES).split(","))
    if len(set(channels)) < len(channels):
        raise GliodistillError(
            "a sequence named twice",
            field="--sequences",
            got=sequences,
            expected="each at most once",
        )
    return Preparation(channels, None if spacing is None else (spacing, spacing, spacing))
