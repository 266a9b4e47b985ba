"""BIDS: ``sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR}.nii.gz``, contrast agent as ``ce-``, labels in
``derivatives/``.

Names: https://bids-specification.readthedocs.io (MRI, anatomy; imaging derivatives, segmentations).
"""

import re
from dataclasses import replace
from pathlib import Path

from gliodistill.studies.layouts.base import Draft, Found, folders, gather, nifti_files, stem
from gliodistill.studies.naming import read_name
from gliodistill.studies.other_formats import ending_of, foreign_files, foreign_stem, what_to_do
from gliodistill.studies.records import ImageFile

NAME = "bids"

_SUFFIXES = ("T1w", "T2w", "FLAIR")
_TUMOUR = re.compile(r"tumou?r|lesion|glioma|\b(?:seg|wt|tc|et)\b", re.IGNORECASE)
_ANATOMY = re.compile(r"brain|aseg|synthseg|aparc|tissue|gm|wm|csf|head|skull", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether some ``sub-*`` folder holds an ``anat`` folder; ``root`` may be such a subject."""
    return any(_anatomies(subject) for subject in _subjects(root))


def find(root: Path) -> Found:
    """One study per subject and session."""
    drafts = []
    for subject in _subjects(root):
        for anatomy in _anatomies(subject):
            session = anatomy.parent.name if anatomy.parent != subject else None
            draft = Draft("_".join(part for part in (subject.name, session) if part), subject.name)
            for file in [*nifti_files(anatomy), *foreign_files(anatomy)]:
                _add_image(draft, file)
            _add_truth(draft, subject, session)
            drafts.append(draft)
    return gather(NAME, drafts)


def _subjects(root: Path) -> list[Path]:
    if root.name.startswith("sub-") and root.is_dir():
        return [root]
    return [folder for folder in folders(root) if folder.name.startswith("sub-")]


def _anatomies(subject: Path) -> list[Path]:
    places = [subject, *(folder for folder in folders(subject) if folder.name.startswith("ses-"))]
    return [place / "anat" for place in places if nifti_files(place / "anat")]


def _add_image(draft: Draft, file: Path) -> None:
    """The suffix names the sequence; entities for contrast and other images are read by the general
    rules of names.
    """
    if ending := ending_of(file.name):
        reading = read_name(foreign_stem(file.name).rpartition("_")[2])
        draft.take(file, reading.doubted(what_to_do(ending)) if reading.sequence else reading)
        return
    entities, suffix = _parse(file)
    if suffix not in _SUFFIXES:
        draft.note("not T1w, T2w or FLAIR; not used", file)
        return
    told = [entities[key] for key in ("acq", "rec", "desc") if key in entities]
    if "ce" in entities:
        told = ["ce", entities["ce"], *told]
    reading = read_name("_".join([suffix, *told]))
    own = file.name[file.name.index("ce-") :] if "ce" in entities else suffix
    draft.take(file, replace(reading, spelling=stem(file.with_name(own))))


def _add_truth(draft: Draft, subject: Path, session: str | None) -> None:
    """The derivative labelled as tumour; else a ``dseg`` without another label."""
    candidates = []
    for pipeline in folders(subject.parent / "derivatives"):
        place = pipeline / subject.name / (session or "")
        candidates += [file for folder in (place, place / "anat") for file in nifti_files(folder)]
    ranked: dict[int, list[Path]] = {}
    for file in candidates:
        entities, suffix = _parse(file)
        if suffix not in ("dseg", "mask"):
            continue
        words = " ".join(entities.get(key, "") for key in ("label", "desc"))
        named = bool(_TUMOUR.search(words)) and not _ANATOMY.search(words)
        if named or (suffix == "dseg" and not _ANATOMY.search(words)):
            ranked.setdefault((suffix == "mask") + 2 * (not named), []).append(file)
    for file in ranked[min(ranked)] if ranked else ():
        draft.add_truth(ImageFile(file))


def _parse(file: Path) -> tuple[dict[str, str], str]:
    """``sub-01_ce-gad_T1w`` → entities, suffix."""
    *parts, suffix = stem(file).split("_")
    return {key: value for key, _, value in (part.partition("-") for part in parts)}, suffix
