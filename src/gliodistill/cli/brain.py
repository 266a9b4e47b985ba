"""The command that finds the brain in a scan: brain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(brain)


def brain(
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="SCAN",
            help="NIfTI file of an MR scan with skull: any contrast, orientation, slice thickness.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="MASK", help="NIfTI file to write.", show_default=False
        ),
    ],
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="Processor threads (default: all)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Extract the brain: write its mask, 1 in the brain and 0 elsewhere, on the scan's grid.

    Tumours and cavities belong to the brain. What is doubtful is said: an unusual volume, a brain
    in several parts, a field of view that cuts it.

    Example: [cyan]gliodistill brain scan.nii.gz -o brain.nii.gz[/cyan]
    """
    import numpy as np

    from gliodistill.brain import extract_brain
    from gliodistill.files import check_file
    from gliodistill.images import read_nifti, write_nifti

    check_file(out, [scan])
    volume = read_nifti(scan)
    found = extract_brain(volume, threads=threads)
    write_nifti(volume.with_data(found.mask.astype(np.uint8)), out)
    facts = {
        "mask": str(out),
        "volume_ml": round(found.volume_ml, 1),
        "stripped": found.stripped,
        "flags": list(found.flags),
    }
    emit(as_json, facts, lambda screen: _show(screen, facts))


def _show(screen: "Console", facts: dict[str, Any]) -> None:
    what = "already skull-stripped" if facts["stripped"] else "brain"
    screen.print(f"{facts['mask']}: {what}, {facts['volume_ml']:.0f} ml")
    for flag in facts["flags"]:
        screen.print(f"  doubt: {flag}")
