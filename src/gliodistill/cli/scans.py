"""Scans: what ``inspect`` shows of a DICOM export, and phantoms as a scanner leaves them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gliodistill.cli.output import issue, table
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console


def inspect_scans(path: Path, series: list[str], keep_identity: bool) -> dict[str, Any]:
    """The facts, judged by the appearance that the shipped model knows."""
    from gliodistill.dicom.inspection import inspect_dicom, read_overrides
    from gliodistill.inference.cases.dicom import shipped_appearance

    return inspect_dicom(path, shipped_appearance(), read_overrides(series), keep_identity)


def show_scans(screen: "Console", facts: dict[str, Any]) -> None:
    """One table a study, then the reasons."""
    screen.print(facts["path"], style="bold")
    issue(facts["notes"])
    for patient in facts["patients"]:
        for study in patient["studies"]:
            who = f" ({patient['identity']})" if patient["identity"] else ""
            screen.print(f"patient {patient['patient']}{who}, study {study['study']}")
            table(
                screen,
                ["series", "name", "taken for", "voxels", "mm", "plane"],
                [_row(one) for one in study["series"]],
            )
            for one in study["series"]:
                _show_reasons(screen, one)
            for sequence, rule in study["rules"].items():
                screen.print(f"{sequence}: {rule}", highlight=False)


def _row(one: dict[str, Any]) -> list[str]:
    taken = one["sequence"] or one["other"] or "cannot be told"
    if one["used"]:
        taken = f"{taken}, used"
    elif one["sequence"]:
        taken = f"{taken}, not used"
    name = f"{one['name']} [{one['part']}]" if one["part"] else one["name"]
    shape, spacing = one["shape"], one["spacing"]
    return [
        one["key"],
        name,
        taken + (" (doubtful)" if one["doubts"] else ""),
        "×".join(map(str, shape)) if shape else "–",
        "×".join(f"{step:.3g}" for step in spacing) if spacing else "–",
        one["plane"] or "–",
    ]


def _show_reasons(screen: "Console", one: dict[str, Any]) -> None:
    said = "; ".join(one["evidence"])
    screen.print(f"{one['key']}: {said}", highlight=False, markup=False)
    for doubt in one["doubts"]:
        screen.print("doubt: ", style="yellow", end="")
        screen.print(f"{one['key']}: {doubt}", highlight=False, markup=False)


def write_phantoms(
    out: Path,
    n: int,
    seed: int,
    spacing: float,
    difficulty: float,
    raw: bool,
    dicom: bool,
    enhanced: bool,
) -> list[Path]:
    """Synthetic studies with skull (``raw``), as NIfTI or DICOM.

    Raises:
        GliodistillError: ``enhanced`` without ``dicom``, or pydicom is not installed.
    """
    from gliodistill.phantom.raw import make_raw, stripped, write_niftis, write_scans

    if enhanced and not dicom:
        raise GliodistillError("a form of DICOM", field="--enhanced", expected="with --dicom")
    make, write = (make_raw if raw else stripped), write_niftis
    if dicom:
        from gliodistill.dicom.synthetic import write_study
        from gliodistill.extras import load

        load()
        write = partial(write_study, enhanced=enhanced)
    settings = {
        "seed": seed,
        "spacing": spacing,
        "difficulty": difficulty,
        "raw": raw,
        "dicom": dicom,
        "enhanced": enhanced,
    }
    return write_scans(
        out,
        n,
        lambda index: make(seed, index, spacing=spacing, difficulty=difficulty),
        write,
        settings,
    )
