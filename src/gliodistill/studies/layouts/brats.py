"""BraTS: one folder per case, files named after it.

≤ 2021 ``<case>_{t1,t1ce,t2,flair,seg}.nii.gz``, ≥ 2023 ``<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz``; the
cases are in the folder, one level below it (2018–2020: ``HGG``, ``LGG``), or the folder is itself a
case.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from gliodistill.studies.layouts.base import (
    Draft,
    Found,
    entries,
    folders,
    gather,
    is_nifti,
    nifti_files,
    stem,
)
from gliodistill.studies.layouts.named import drafts_of
from gliodistill.studies.other_formats import ending_of, foreign_files, what_to_do
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import StudyRecord

NAME = "brats"

# BraTS ≥ 2023: BraTS-GLI-00001-000 and -001 are two time points of one patient.
_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+(?:-RT)?-\d+)-\d+", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether some folder has files that begin with its name."""
    return any(_suffixes(folder) for folder in _candidates(root))


def find(root: Path) -> Found:
    """Every case folder in ``root``, in its sub-folders, or ``root`` itself."""
    drafts: list[Draft] = []
    problems: list[Problem] = []
    for folder in _candidates(root):
        suffixes = _suffixes(folder)
        if not suffixes:
            if not any(_suffixes(child) for child in folders(folder)):
                files = nifti_files(folder)
                if files:
                    problems.append(
                        Problem(
                            f"{len(files)} NIfTI files not named after their folder",
                            folder.name,
                            folder,
                        )
                    )
                elif folder.parent == root and not folders(folder):
                    foreign = [what_to_do(ending_of(f.name) or "") for f in foreign_files(folder)]
                    what = f": holds {foreign[0]}" if foreign else ""
                    problems.append(Problem(f"no NIfTI file{what}", folder.name, folder))
            continue

        def text_of(
            file: Path, text: str, name: str = folder.name, suffixes: dict[Path, str] = suffixes
        ) -> tuple[str, bool]:
            named = file in suffixes or text.startswith((f"{name}_", f"{name}-"))
            return suffixes.get(file, text[len(name) + 1 :] if named else text), named

        for draft in drafts_of(folder, folder.name, text_of, strict=True):
            draft.patient = patient_of(folder.name)
            drafts.append(draft)
    return gather(NAME, drafts, problems)


def patient_of(case: str) -> str:
    """The patient a case belongs to."""
    match = _TIME_POINT.fullmatch(case)
    return match[1] if match else case


def naming_of(records: Iterable[StudyRecord]) -> str | None:
    """``"2021"`` or ``"2023"`` if every file is named as in BraTS up to or from that year, else
    None.
    """
    endings = {
        stem(image.path)[-len(spelling) - 1 :]
        for record in records
        for sequence, image in record.images.items()
        if (spelling := record.spellings.get(sequence, "-"))
    }
    for year, official in (
        ("2021", {"_t1", "_t1ce", "_t2", "_flair"}),
        ("2023", {"-t1n", "-t1c", "-t2w", "-t2f"}),
    ):
        if endings and endings <= official:
            return year
    return None


def _candidates(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    if _suffixes(root):
        return [root]
    return [folder for child in folders(root) for folder in (child, *folders(child))]


def _suffixes(folder: Path) -> dict[Path, str]:
    """Files called ``<folder name>[-_]<something>.nii[.gz]`` → that something. A link to a folder
    counts by its own name and by that of the folder.
    """
    result = {}
    for name in {folder.name, folder.resolve().name} if folder.is_symlink() else {folder.name}:
        for file in entries(folder):
            if (
                is_nifti(file.name)
                and file.name.startswith((name + "_", name + "-"))
                and file.is_file()
            ):
                result[file] = stem(file)[len(name) + 1 :]
    return result
