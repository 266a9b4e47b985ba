"""The command that segments studies with a model: segment."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Device,
    Json,
    Layout,
    OnCluster,
    Runtime,
    Threads,
    cluster_of,
    emit,
    error_as_dict,
    issue,
    notes_of,
    nothing_left,
    report_failures,
    show_machines,
    table,
    unusable_of,
)
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.inference.outputs.base import Writer
    from gliodistill.studies.sequence import MRSequence


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(segment)


def segment(
    studies: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY",
            help="Studies or folders of studies: NIfTI in any layout, prepared or as scanned, or"
            " DICOM (folders, zips).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder of the segmentations.", show_default=False
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help=(
                "Folder of a model made by export, or a shipped one: glioma (the default: its"
                " newest version), or a version by name, e.g. glioma@1."
            ),
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAME",
            help="Label convention of the output (default: that of the model's training data).",
            show_default=False,
        ),
    ] = None,
    tta: Annotated[
        str,
        typer.Option(
            "--tta",
            metavar="AXES",
            help=(
                "Test-time augmentation by mirroring: none, all, or some of x, y, z. Each axis"
                " doubles the time."
            ),
        ),
    ] = "none",
    probability: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Also write <study>_prob.nii.gz: the regions from 0 to 1 (4-D).",
        ),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--no-postprocessing", help="Do not apply the model's clean-up rules."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip studies already segmented by this model with these settings."
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Studies processed at once: one in the network, others read, prepared or written.",
        ),
    ] = 2,
    cluster: OnCluster = None,
    memory: Annotated[
        float,
        typer.Option(
            "--memory",
            min=0,
            metavar="GB",
            help="Memory limit of a whole-brain pass; above it a sliding window is used.",
        ),
    ] = 3.0,
    runtime: Runtime = "openvino",
    device: Device = "cpu",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help=(
                "f32; with openvino also bf16, or int8 if the model has an int8 graph (default: the"
                " model's own)."
            ),
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    form: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FORM",
            help="What NIfTI is: prepared (co-registered, skull-stripped), scanned, or auto.",
        ),
    ] = "auto",
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            metavar="SEQUENCE=SERIES",
            help="DICOM: use this series (number, UID or name), e.g. T1CE=7; may be repeated.",
            show_default=False,
        ),
    ] = None,
    seg_on: Annotated[
        str | None,
        typer.Option(
            "--seg-on",
            metavar="SEQUENCE",
            help="DICOM: the series that SEG and SR belong to, or all (default: T1CE, else FLAIR).",
            show_default=False,
        ),
    ] = None,
    rtstruct: Annotated[
        bool, typer.Option("--dicom-rtstruct", help="DICOM: also write contours (RTSTRUCT).")
    ] = False,
    no_dicom: Annotated[
        bool, typer.Option("--no-dicom", help="DICOM: write no SEG and SR, only NIfTI.")
    ] = False,
    deidentify: Annotated[
        bool,
        typer.Option(
            "--deidentify", help="DICOM: leave the patient's name, id and dates out of SEG and SR."
        ),
    ] = False,
    keep_identity: Annotated[
        bool,
        typer.Option("--keep-identity", help="DICOM: show names and ids of patients in results."),
    ] = False,
    layout: Layout = None,
    as_json: Json = False,
) -> None:
    """Segment studies with a model.

    For each study, writes a label map on the study's own grid ([bold]<study>.nii.gz[/bold]) and a
    summary with the files used, volumes in ml, predicted Dice and quality flags
    ([bold]<study>.json[/bold]); for all studies, [bold]volumes.csv[/bold]. If a study fails, the
    others are still segmented, and the exit code is 1.

    Studies as scanned are aligned and the brain is extracted. Their folder ([bold]<study>/[/bold])
    holds a label map on the grid of each series, a page with pictures ([bold]report.html[/bold]),
    every decision with its reason ([bold]study.json[/bold]) and, for DICOM, SEG and SR.

    Example: [cyan]gliodistill segment patients/ -o segmentations[/cyan]
    """
    from gliodistill.inference.batch import segment_studies
    from gliodistill.inference.cases.finding import find_cases
    from gliodistill.inference.outputs.dicom import DicomWriter
    from gliodistill.inference.predictor import Predictor
    from gliodistill.inference.tta import parse_tta
    from gliodistill.reports.pages.study import PageWriter

    writers: list[Writer] = [PageWriter()]
    if not no_dicom:
        writers.insert(0, DicomWriter(seg_on, rtstruct, deidentify))
    elif seg_on or rtstruct or deidentify:
        raise GliodistillError(
            "options that exclude each other",
            field="--no-dicom",
            expected="without --seg-on, --dicom-rtstruct and --deidentify",
        )
    with (
        nothing_left(out),
        find_cases(
            studies,
            layout=layout,
            form=form,
            series=_overrides(series or []),
            keep_identity=keep_identity,
        ) as found,
    ):
        predictor = Predictor(
            model,
            runtime,
            threads,
            device=device,
            precision=precision,
            memory_gb=memory,
            tta=parse_tta(tta),
            postprocess=not raw,
        )
        executor = cluster_of(
            cluster, out, cpus=threads, gpus=int(predictor.device == "cuda"), at_once=jobs
        )
        report = segment_studies(
            found.cases,
            predictor,
            out,
            labels=labels,
            probability=probability,
            resume=resume,
            jobs=jobs,
            writers=writers,
            executor=executor,
        )
    unusable, notes = unusable_of(*found.found), [*notes_of(*found.found), *found.notes]

    def show(screen: "Console") -> None:
        from gliodistill.inference.cases.base import PREPARED_STUDY

        rows, flags, files, untouched = [], [], [], 0
        every = [region for values in report.done.values() for region in values["volumes_ml"]]
        regions = list(dict.fromkeys(every))
        for id, summary in report.done.items():
            values: dict[str, Any] = summary
            volumes, seconds, quality = values["volumes_ml"], values["seconds"], values["quality"]
            dice = quality["predicted_dice"] or {}
            said = (
                " ".join("–" if value is None else f"{value:.2f}" for value in dice.values()) or "–"
            )
            files.append(_files(id, values["sequences"]))
            files += _steps(id, values["preprocessing"])
            untouched += values["preprocessing"]["form"] == PREPARED_STUDY
            rows.append(
                [
                    id,
                    " ".join(values["sequences"]["used"]),
                    *(f"{volumes[each]:.1f}" if each in volumes else "–" for each in regions),
                    said,
                    f"{sum(seconds.values()):.2f}",
                ]
            )
            flags += [f"{id}: {flag['text']}" for flag in quality["flags"]]
        if rows:
            volumes = [f"{region} ml" for region in regions]
            columns = ["study", "sequences", *volumes, "predicted Dice", "seconds"]
            table(screen, columns, rows)
        for line in files:
            screen.print(line)
        if untouched:
            screen.print(f"used as they are, co-registered and skull-stripped: {untouched}")
        for flag in flags:
            screen.print(f"flagged: {flag}")
        if report.skipped:
            screen.print(f"{len(report.skipped)} already finished")
        if rows or report.skipped:
            screen.print(f"segmentations in {out}; research use, not a medical device")
        show_machines(screen, executor)

    issue(notes)
    failures: dict[str, Any] = {id: error_as_dict(error) for id, error in report.failed.items()}
    failures |= {path: error_as_dict(error) for path, error in found.failed.items()}
    failures |= {id: {"message": line} for id, line in unusable.items()}
    facts = {
        "folder": str(out),
        "done": report.done,
        "skipped": report.skipped,
        "failed": failures,
        "notes": notes,
    }
    emit(as_json, facts, show)
    report_failures({id: failure["message"] for id, failure in failures.items()})


def _overrides(series: list[str]) -> "Mapping[MRSequence, str]":
    """The DICOM series that were named; without any, what reads DICOM is not imported."""
    if not series:
        return {}
    from gliodistill.dicom.inspection import read_overrides

    return read_overrides(series)


def _files(id: str, sequences: dict[str, Any]) -> str:
    """One line: the file of each sequence, and which are absent."""
    used = ", ".join(f"{name} {file or 'in memory'}" for name, file in sequences["used"].items())
    absent = ", ".join(sequences["absent"])
    return f"used: {id}: {used}" + (f"; absent: {absent}" if absent else "")


def _steps(id: str, told: dict[str, Any]) -> list[str]:
    """Lines on what was done to a study as scanned."""
    if "steps" not in told:
        return []
    who = f" ({told['identity']})" if told.get("identity") else ""
    lines = [f"preprocessed: {id}{who}: {told['form']}; {told['done']}"]
    return [*lines, *(f"chosen: {id}: {rule}" for rule in told.get("rules", []))]
