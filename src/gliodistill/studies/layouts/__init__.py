"""The layouts of data sets: one module each, detected by the files on disk."""

from pathlib import Path
from typing import Any

from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.registry import Registry
from gliodistill.studies.layouts import bids, brats, loose, manifest, msd, nnunet
from gliodistill.studies.layouts.base import (
    Draft,
    Found,
    Layout,
    gather,
    is_nifti,
    named,
    nifti_files,
)
from gliodistill.studies.other_formats import ending_of, what_to_do


def _check_layout(name: str, layout: Any) -> None:
    if getattr(layout, "NAME", None) != name or not all(
        callable(getattr(layout, part, None)) for part in ("matches", "find")
    ):
        raise ValueError(f"layout {name!r} has not NAME = {name!r}, matches(root) and find(root)")


LAYOUTS: Registry[Layout] = Registry("layout", "gliodistill.layouts", StudyError, _check_layout)
"""Name → layout: a module, or an object, as :class:`~gliodistill.studies.layouts.base.Layout`."""
for _layout in (brats, msd, nnunet, bids, manifest, loose):
    LAYOUTS.register(_layout.NAME)(_layout)
register = LAYOUTS.register
"""Decorator that adds a layout under a name; a module of ``NAME``, ``matches`` and ``find``."""
names = LAYOUTS.names
"""The names of all layouts, sorted."""

__all__ = [
    "LAYOUTS",
    "Draft",
    "Found",
    "Layout",
    "find_studies",
    "gather",
    "look_for_studies",
    "names",
    "register",
]


def find_studies(root: Path, layout: str | None = None) -> Found:
    """The studies under ``root``, by the declared layout or the only one that fits.

    Raises:
        StudyError: no such path, an unknown name, no layout that fits, or several.
    """
    found = look_for_studies(root, layout)
    if found is None or not found.studies:
        raise StudyError(
            "no study found",
            file=root,
            field="layout",
            got=_what_lies_in(root, found),
            expected=(
                f"one of {', '.join(LAYOUTS)}" if layout is None else f"studies in layout {layout}"
            ),
            hint=_next_step(root),
        )
    return found


def look_for_studies(root: Path, layout: str | None = None) -> Found | None:
    """As :func:`find_studies`, but None if no layout fits.

    Raises:
        StudyError: no such path, an unknown name, or several layouts that fit.
    """
    root = named(root)
    if not root.exists():
        raise StudyError(
            "no such file or folder",
            file=root,
            field="path",
            got="nothing",
            expected="a folder of studies or a manifest",
        )
    if layout is not None:
        chosen = [LAYOUTS.find(layout, "layout", file=root)]
    else:
        chosen = [
            candidate
            for candidate in LAYOUTS.values()
            if candidate is not loose and candidate.matches(root)
        ]
        # The layout loose is tried last, because it accepts any names.
        chosen = chosen or [
            candidate for candidate in (LAYOUTS[loose.NAME],) if candidate.matches(root)
        ]
    if len(chosen) > 1:
        raise StudyError(
            "several layouts fit",
            file=root,
            field="layout",
            got=", ".join(candidate.NAME for candidate in chosen),
            expected="one",
            hint="declare it with --layout NAME",
        )
    return chosen[0].find(root) if chosen else None


def _next_step(root: Path) -> str:
    if root.is_dir() and (foreign := _foreign(root)):
        return f"{shown_name(foreign.name)} is {what_to_do(ending_of(foreign.name) or '')}"
    if root.is_file() and is_nifti(root.name):
        return "give the folder that holds it and the study's other sequences"
    return (
        "give the folder that holds the case folders, or write a manifest (CSV with columns id, t1,"
        " t1ce, t2, flair, truth)"
    )


def _foreign(root: Path) -> Path | None:
    """An image in another format below ``root``; preferably DICOM, the source of the others."""
    found = [file for file in root.rglob("*") if ending_of(file.name) and file.is_file()]
    found.sort(key=lambda file: (ending_of(file.name) not in (".dcm", ".ima"), file))
    return found[0] if found else None


def _what_lies_in(root: Path, found: Found | None) -> str:
    if found is not None and found.problems:
        return "; ".join(str(problem) for problem in found.problems[:3])
    if root.is_file():
        return "a file"
    names = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    return (
        f"{len(names)} entries, {len(nifti_files(root))} NIfTI: {', '.join(names[:4]) or 'nothing'}"
    )
