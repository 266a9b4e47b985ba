"""Studies of a folder, by the names of its files."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from gliodistill.studies.layouts.base import Draft, nifti_files, stem
from gliodistill.studies.naming import Reading, read_name
from gliodistill.studies.other_formats import ending_of, foreign_files, foreign_stem, what_to_do
from gliodistill.studies.vocabulary import TIME

STRAY = "not named after its folder"
Named = list[tuple[Path, Reading]]


def drafts_of(
    folder: Path,
    name: str,
    text_of: Callable[[Path, str], tuple[str, bool]] = lambda file, text: (text, True),
    *,
    strict: bool = False,
) -> list[Draft]:
    """The study in ``folder``, or several distinguished by the rest of their files' names.

    Args:
        folder: holds the files.
        name: id and patient of the study if there is one.
        text_of: file and its name without ending → the part to read, and whether the file is
            named after the study.
        strict: the study's name is known, so an unknown word is undecided, the plain name of a
            sequence (``<case>_t1``) wins over others (``<case>_t1_brain``), and several studies
            extend the name.
    """
    files = _read(folder, text_of, strict)
    groups = _groups(files)
    if len(groups) < 2:
        return [Draft(name, name, read=files, prefers_plain=strict)]
    drafts = []
    for key, members in groups.items():
        id, patient = key, _without_time(key)
        if strict or not patient:
            id, patient = f"{name}_{key}", name
        drafts.append(Draft(id, patient, read=[*members], prefers_plain=strict))
    own = dict(zip(groups, drafts, strict=True))
    for pair in files:
        if not any(pair in members for members in groups.values()):
            own.get(pair[1].key, drafts[0]).read.append(pair)
    return drafts


def holds_sequence(folder: Path) -> bool:
    """Whether the name of some NIfTI file in ``folder`` contains a sequence."""
    readings = (read_name(stem(file)) for file in nifti_files(folder))
    return any(reading.sequence or reading.undecided for reading in readings)


def _read(folder: Path, text_of: Callable[[Path, str], tuple[str, bool]], strict: bool) -> Named:
    found = []
    for file in [*nifti_files(folder), *foreign_files(folder)]:
        ending = ending_of(file.name)
        text, after_study = text_of(file, foreign_stem(file.name) if ending else stem(file))
        reading = read_name(text)
        about = bool(reading.sequence or reading.undecided)
        if ending:
            why = what_to_do(ending)
            reading = reading.doubted(why) if about else Reading(why=why)
        elif not after_study:
            why = f"not named after its folder; {reading.why}" if reading.undecided else STRAY
            reading = reading.doubted(why) if about else Reading(why=why)
        elif strict and reading.sequence and reading.unknown:
            reading = reading.doubted(f"unknown word {reading.unknown[0]!r} in its name")
        found.append((file, reading))
    return found


def _groups(files: Named) -> dict[str, Named]:
    """Key → files, of several studies; or one group of everything.

    There are several only if every file has the name of its study and every study has, e.g., a T1;
    else a sequence is repeated, which a draft refuses.
    """
    found: dict[str, Named] = defaultdict(list)
    for file, reading in files:
        if reading.sequence or reading.label or reading.undecided:
            found[reading.key].append((file, reading))
    kinds = {key: set(_kinds(members)) for key, members in found.items()}
    for key in sorted(found, key=len, reverse=True):
        # anna_T1_new beside the four sequences of anna is not a separate study.
        longer = [k for k in found if key.startswith(f"{k}_") and kinds[key] < kinds[k]]
        if longer:
            found[longer[0]] += found.pop(key)
    shared = set.intersection(*(kinds[key] for key in found)) if found else set()
    return dict(found) if len(found) > 1 and "" not in found and shared else {"": files}


def _kinds(members: Iterable[tuple[Path, Reading]]) -> Iterable[str]:
    for _, reading in members:
        if reading.label:
            yield "label map"
        else:
            yield from map(str, reading.candidates or {reading.sequence})


def _without_time(key: str) -> str:
    """The words of a key that name the patient, not the time point."""
    words, kept = key.split("_"), []
    for i, word in enumerate(words):
        timed = re.fullmatch(TIME, word.lower())
        numbered = word.isdigit() and i and re.fullmatch(TIME, words[i - 1].lower())
        if not timed and not numbered:
            kept.append(word)
    return "_".join(kept)
