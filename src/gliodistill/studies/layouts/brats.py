"""BraTS: one folder per case, files named after it.

≤ 2021 ``<case>_{t1,t1ce,t2,flair,seg}.nii.gz``, ≥ 2023 ``<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz``; the cases lie in the
folder, one level below it (2018–2020: ``HGG``, ``LGG``), or the folder is itself a case.
"""

import re
from pathlib import Path

from gliodistill.studies.layouts.found import Draft, Found, entries, folders, gather, is_nifti, nifti_files, stem
from gliodistill.studies.problem import Problem

NAME = "brats"

# BraTS ≥ 2023: BraTS-GLI-00001-000 and -001 are two time points of one patient.
_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+-\d+)-\d+", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether some folder holds files that begin with its own name."""
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
                    problems.append(Problem(f"{len(files)} NIfTI files not named after their folder", folder.name, folder))
                elif folder.parent == root and not folders(folder):
                    problems.append(Problem("no NIfTI file", folder.name, folder))
            continue
        draft = Draft(folder.name, patient_of(folder.name))
        for file in nifti_files(folder):
            if file in suffixes:
                draft.add_named(file, suffixes[file])
            else:
                draft.note("not named after its folder", file)
        drafts.append(draft)
    return gather(NAME, drafts, problems)


def patient_of(case: str) -> str:
    """The patient a case belongs to."""
    match = _TIME_POINT.fullmatch(case)
    return match[1] if match else case


def is_2023_naming(spellings: set[str], file_names: set[str]) -> bool:
    """Whether the files are named as from BraTS 2023 on (``t1n``, ``t2f``, …; ``-`` before the sequence)."""
    return bool({s.lower() for s in spellings} & {"t1n", "t2f"}) or (
        bool({s.lower() for s in spellings} & {"t1c", "t2w"}) and all(re.search(r"-t\d\w\.nii", name.lower()) for name in file_names)
    )


def _candidates(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    if _suffixes(root):
        return [root]
    return [folder for child in folders(root) for folder in (child, *folders(child))]


def _suffixes(folder: Path) -> dict[Path, str]:
    """Files called ``<folder name>[-_]<something>.nii[.gz]`` → that something."""
    name = folder.resolve().name
    result = {}
    for file in entries(folder):
        if is_nifti(file.name) and file.name.startswith((name + "_", name + "-")) and file.is_file():
            result[file] = stem(file)[len(name) + 1 :]
    return result
