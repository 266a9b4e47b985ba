"""The command that makes synthetic studies: phantom."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Jobs,
    Json,
    OnCluster,
    cluster_of,
    emit,
    nothing_left,
    show_machines,
)
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(phantom)


def phantom(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder of the studies: new, or one to continue.",
            show_default=False,
        ),
    ],
    n: Annotated[
        int, typer.Option("--n", "-n", min=1, metavar="N", help="Number of studies.")
    ] = 10,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, metavar="S", help="Random seed; the same seed gives the same studies."
        ),
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
            help="0: clean, strong contrast; 1: similar to real cohorts; 2: noisy, faint.",
        ),
    ] = 1.0,
    shapes: Annotated[
        Path | None,
        typer.Option(
            "--shapes",
            metavar="FOLDER",
            help="Label maps whose tumour shapes are used instead of simulated growth.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task", metavar="TASK", help="Whose tumours they have: a name of `gliodistill tasks`."
        ),
    ] = "glioma",
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="Write no reference segmentations."),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="As scanned: heads with skull, a grid of its own for each sequence, moved between"
            " them. Scans in OUT/scans, references and movements in OUT/truth.",
        ),
    ] = False,
    dicom: Annotated[
        bool,
        typer.Option("--dicom", help="As DICOM, with series of other kinds among them."),
    ] = False,
    enhanced: Annotated[
        bool, typer.Option("--enhanced", help="With --dicom: as Enhanced multi-frame images.")
    ] = False,
    jobs: Jobs = None,
    cluster: OnCluster = None,
    as_json: Json = False,
) -> None:
    """Make synthetic brain-tumour studies with reference segmentations, in BraTS layout.

    Example: [cyan]gliodistill phantom synthetic -n 20 --seed 1 --spacing 2[/cyan]
    """
    from gliodistill.phantom.cohort import write_cohort
    from gliodistill.tasks.catalogue import find_task

    if raw or dicom or enhanced:
        from gliodistill.cli.scans import write_phantoms

        if shapes is not None or unlabelled or cluster is not None or task != "glioma":
            given = {
                "--shapes": shapes is not None,
                "--unlabelled": unlabelled,
                "--cluster": cluster is not None,
                "--task": True,
            }
            raise GliodistillError(
                "not for scans",
                field=next(option for option, is_given in given.items() if is_given),
                expected="without --raw and --dicom",
            )
        with nothing_left(out):
            folders = write_phantoms(out, n, seed, spacing, difficulty, raw, dicom, enhanced)
        scans = [folder.name for folder in folders]
        emit(
            as_json,
            {"folder": str(out), "studies": scans},
            lambda screen: screen.print(f"{len(scans)} synthetic studies in {out / 'scans'}"),
        )
        return
    with nothing_left(out):
        executor = cluster_of(cluster, out)
        made = write_cohort(
            out,
            n,
            seed,
            spacing=spacing,
            jobs=jobs,
            difficulty=difficulty,
            shapes=shapes,
            labelled=not unlabelled,
            task=task,
            executor=executor,
        )
        ids = [folder.name for folder in made]
    coded = find_task(task).conventions[0].name
    told = {} if task == "glioma" else {"task": task, "labels": coded}
    use = "" if task == "glioma" else f"; recipes: task: {task}, label maps: --labels {coded}"

    def show(screen: "Console") -> None:
        screen.print(f"{len(ids)} synthetic studies in {out}{use}")
        show_machines(screen, executor)

    emit(as_json, {"folder": str(out), "studies": ids} | told, show)
