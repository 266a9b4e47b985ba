"""The command that says what a data set holds: inspect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Json,
    Labels,
    Layout,
    emit,
    table,
)
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(inspect)


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder of studies in any layout, one study, a manifest, or DICOM (also a zip).",
            show_default=False,
        ),
    ],
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Read all voxels, not only headers: background, brain size, label codes.",
        ),
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            metavar="SEQUENCE=SERIES",
            help="DICOM: use this series (number, UID or name), e.g. T1CE=7; may be repeated.",
            show_default=False,
        ),
    ] = None,
    keep_identity: Annotated[
        bool,
        typer.Option("--keep-identity", help="DICOM: show the names and ids of patients."),
    ] = False,
    layout: Layout = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Inspect a data set: layout, studies, sequences, label convention, every problem.

    For DICOM: every series, what it was classified as, and by which evidence.

    The exit code is 1 if a study cannot be used, or if the label convention cannot be determined.

    Example: [cyan]gliodistill inspect patients/[/cyan]
    """
    from gliodistill.dicom.source import looks_like_dicom

    if looks_like_dicom(path):
        from gliodistill.cli.scans import inspect_scans, show_scans

        scans = inspect_scans(path, series or [], keep_identity)
        emit(as_json, scans, lambda screen: show_scans(screen, scans))
        return
    if series or keep_identity:
        raise GliodistillError(
            "no DICOM", file=path, expected="DICOM, where --series or --keep-identity is given"
        )
    from gliodistill.studies.inspection import inspect as inspect_data

    facts = inspect_data(path, layout=layout, labels=labels, deep=deep).as_dict()
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
        if facts["tasks"]:
            many = len(facts["tasks"]) > 1
            screen.print(
                f"task       {', '.join(facts['tasks'])}"
                + (": all are coded so; name one in the recipe" if many else "")
            )
    else:
        screen.print("labels     none")
    if any(_is_partial(study) for study in studies):
        kinds: dict[str, int] = {}
        for study in studies:
            told = " ".join(study["known_regions"])
            kind = f"{told}{' in a part of the voxels' if study['known'] else ''}" or "no labels"
            kinds[kind] = kinds.get(kind, 0) + 1
        screen.print("known      " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    header, rows = (
        ["study", "patient", "sequences", "voxels", "mm", "axes", "reference"],
        [_row(study) for study in studies],
    )
    if any(_is_partial(study) for study in studies):
        header = [*header, "known"]
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
    return bool(study["partial"])


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
