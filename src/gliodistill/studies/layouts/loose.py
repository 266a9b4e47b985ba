"""A folder of NIfTI files whose names hold sequence spellings somewhere: the last resort.

``visit1_FLAIR.nii.gz``, ``T1W.nii``, ``brain-t1-gd-2.nii.gz``; one study in the folder, several
told apart by the rest of their names, or one per sub-folder.
"""

import re
from pathlib import Path

from gliodistill.studies.layouts.found import (
    TRUTH_SPELLINGS,
    Draft,
    Found,
    folders,
    gather,
    nifti_files,
    sequence_of,
    stem,
)
from gliodistill.studies.problem import Problem
from gliodistill.studies.study import ImageFile

NAME = "loose"


def matches(root: Path) -> bool:
    """Whether some NIfTI file in ``root`` or its sub-folders names a sequence."""
    return any(
        _spelling(stem(file)) for folder in (root, *folders(root)) for file in nifti_files(folder)
    )


def find(root: Path) -> Found:
    """The studies of ``root``, or of its sub-folders."""
    problems: list[Problem] = []
    drafts: list[Draft] = []
    for folder in (root,) if nifti_files(root) else folders(root):
        drafts += _of_folder(folder, problems)
    return gather(NAME, drafts, problems)


def _of_folder(folder: Path, problems: list[Problem]) -> list[Draft]:
    """One study, or several where sequences repeat and the rest of the names tells them apart."""
    name = folder.name
    groups: dict[str, list[tuple[Path, str]]] = {}
    for file in nifti_files(folder):
        spelling, rest = _spelling(stem(file)) or ("", "")
        if not spelling:
            problems.append(Problem("no sequence in its name", name, file))
            continue
        groups.setdefault(rest, []).append((file, spelling))
    kinds = [{_kind(spelling) for _, spelling in files} for files in groups.values()]
    # Several studies only if every one of them has, say, a T1; else a sequence is there twice,
    # which add() refuses.
    if len(groups) > 1 and set.intersection(*kinds):
        studies = {rest or name: files for rest, files in groups.items()}
    else:
        studies = {name: [pair for files in groups.values() for pair in files]}
    drafts = []
    for id, files in studies.items():
        draft = Draft(id, id)
        for file, spelling in files:
            sequence = sequence_of(spelling)
            if sequence is None:
                draft.add_truth(ImageFile(file))
            else:
                draft.add(sequence, ImageFile(file), spelling)
        drafts.append(draft)
    return drafts


def _kind(spelling: str) -> str:
    return str(sequence_of(spelling) or "truth")


def _spelling(name: str) -> tuple[str, str] | None:
    """The longest run of words that spells a sequence or the truth (the last such run), and the
    name without it.
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    for length in (3, 2, 1):
        for start in reversed(range(len(words) - length + 1)):
            run = words[start : start + length]
            joined = "".join(run)
            if sequence_of(joined) is not None or (
                length == 1 and joined.lower() in TRUTH_SPELLINGS
            ):
                return "_".join(run), "_".join(words[:start] + words[start + length :])
    return None
