"""Manifests: CSV (or TSV) with a header, or JSON, that list the files of studies.

Columns: ``id``; ``patient`` (default: the id); any spelling of T1, T1CE, T2, FLAIR; ``truth`` (or
``seg``, ``label``); ``labels``, the label convention of the row's reference (column ``truth``).
Paths are relative to the manifest; ``images.nii.gz#2`` is channel 2 of a 4-D file. Partial labels
are declared: ``known_regions`` (``WT``, or several regions of the task) and ``known`` (a mask, 1
where the label of a voxel is known). ``group`` is a name for a recipe's sampling shares;
``normalised`` (``yes``) means that the images are z-scores over the whole brain. JSON is a list of
such rows, or an object with that list under ``studies`` and optionally, as in a ``dataset.json``,
the meaning of codes under ``labels``. A folder with a ``manifest.json`` may be given instead.
"""

import re
from pathlib import Path
from typing import Any

from gliodistill.documents import Refusal, read_table
from gliodistill.errors import StudyError
from gliodistill.studies.ids import check_id, check_patient
from gliodistill.studies.labels import CONVENTIONS, find_convention
from gliodistill.studies.layouts.base import (
    TRUTH_SPELLINGS,
    Draft,
    Found,
    gather,
    is_file,
    read_json,
    sequence_of,
)
from gliodistill.studies.naming import read_declared
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import ImageFile
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import known_regions

NAME = "manifest"
_LONGEST = 4096
"""Most characters of a cell; no path is longer."""
FILE = "manifest.json"
"""Name of a folder's manifest."""

LABELS = "labels"
_ID = frozenset({"id", "case", "study", "caseid", "studyid"})
_PATIENT = frozenset({"patient", "patientid", "subject", "subjectid"})
_WORDS = {
    "id": _ID,
    "patient": _PATIENT,
    "truth": TRUTH_SPELLINGS,
    "known_regions": frozenset({"knownregions"}),
    "known": frozenset({"known", "knownvoxels", "knownmask"}),
    "group": frozenset({"group"}),
    "normalised": frozenset({"normalised", "normalized"}),
}
"""Meaning of a column → its spellings."""
_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def matches(root: Path) -> bool:
    """Whether ``root`` is a .csv, .tsv or .json file, or a folder with a ``manifest.json``."""
    return (root / FILE).is_file() or (
        root.is_file() and root.suffix.lower() in (".csv", ".tsv", ".json")
    )


def find(root: Path) -> Found:
    """Every row.

    Raises:
        StudyError: a table that cannot be read, lacks an id or any sequence, or names one twice.
    """
    if not matches(root):
        raise StudyError(
            "not a manifest",
            file=root,
            field="name",
            got=root.name,
            expected="a .csv, .tsv or .json file",
        )
    root = root / FILE if root.is_dir() else root
    rows, label_names = (
        _json_rows(root) if root.suffix.lower() == ".json" else (_csv_rows(root), None)
    )
    if not rows:
        raise StudyError(
            "empty manifest", file=root, field="rows", got=0, expected="one row per study"
        )
    drafts, strange = [], set()
    declares = _declares_labels(rows)
    for number, row in enumerate(rows, 1):
        columns = _columns(row, root, declares)
        strange |= {name for name, meaning in columns.items() if meaning is None}
        cells: dict[str | MRSequence, tuple[str, str]] = {}
        for name, meaning in columns.items():
            if isinstance(row[name], str) and len(row[name]) > _LONGEST:
                raise StudyError(
                    "malformed manifest",
                    file=root,
                    field=f"row {number} {name}",
                    got=f"{len(row[name])} characters",
                    expected=f"at most {_LONGEST}",
                )
            if meaning is not None and row[name] is not None and str(row[name]).strip():
                cells[meaning] = (str(row[name]).strip(), name)
        if "id" not in cells:
            raise StudyError(
                "row without an id",
                file=root,
                field="id",
                got=f"row {number}",
                expected="a name in column id",
            )
        id = cells.pop("id")[0]
        draft = Draft(
            check_id(id, root, "give it another id"),
            check_patient(cells.pop("patient", (id, ""))[0], root),
        )
        _say_what_is_known(draft, cells, root)
        if LABELS in cells:
            name = cells.pop(LABELS)[0]
            draft.convention = find_convention(name, file=root, field=f"labels of {id}")
        for meaning, (text, spelling) in cells.items():
            image = _image(text, root.parent)
            if not is_file(image.path):
                draft.block(f"no such file: {text}, named in {root.name}", image.path)
            elif isinstance(meaning, MRSequence):
                draft.add(meaning, image, spelling)
            elif meaning == "known":
                draft.known = image
            else:
                draft.add_truth(image)
        drafts.append(draft)
    problems = (
        [Problem(f"columns not used: {', '.join(sorted(strange))}", file=root)] if strange else []
    )
    return gather(NAME, drafts, problems, label_names)


def _declares_labels(rows: list[dict[str, Any]]) -> bool:
    """Whether a column ``labels`` names conventions, and not files of label maps."""
    columns = {_plain(name): name for row in rows for name in row}
    named = {str(row.get(columns.get(LABELS, LABELS)) or "").strip() for row in rows} - {""}
    return bool(columns.keys() & (TRUTH_SPELLINGS - {LABELS})) or (
        bool(named) and named <= set(CONVENTIONS)
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _columns(row: dict[str, Any], file: Path, declares: bool) -> dict[str, str | MRSequence | None]:
    """Column name → a word of ``_WORDS``, ``"labels"`` (a convention's name), a sequence, or None
    for others.
    """
    meanings: dict[str, str | MRSequence | None] = {}
    for name in row:
        plain = _plain(name)
        meaning: str | MRSequence | None = sequence_of(name)
        if (reading := read_declared(name)).undecided:
            raise StudyError(
                f"cannot decide what the column holds: {reading.why}",
                file=file,
                field="header",
                got=name,
                expected="t1, t1ce, t2 or flair",
                hint="rename the column",
            )
        for word, spellings in _WORDS.items():
            meaning = word if plain in spellings else meaning
        if plain == LABELS and declares:
            meaning = LABELS
        if meaning is not None and meaning in meanings.values():
            raise StudyError(
                "two columns with the same meaning",
                file=file,
                field=name,
                got=str(meaning),
                expected="each once",
            )
        meanings[name] = meaning
    if (
        not any(
            isinstance(meaning, MRSequence) or meaning == "truth" for meaning in meanings.values()
        )
        or "id" not in meanings.values()
    ):
        raise StudyError(
            "manifest lacks columns",
            file=file,
            field="header",
            got=", ".join(row),
            expected="id and at least one of t1, t1ce, t2, flair, or only truth",
        )
    return meanings


def _say_what_is_known(
    draft: Draft, cells: dict[str | MRSequence, tuple[str, str]], file: Path
) -> None:
    """Remove from ``cells`` what is no file: known regions, group, and whether normalised.

    Raises:
        StudyError: an invalid cell.
    """
    for meaning in ("known_regions", "known"):
        if meaning in cells and "truth" not in cells:
            raise StudyError(
                "known labels without a label map",
                file=file,
                field=meaning,
                got=f"row {draft.id} has no truth",
                expected="a label map, or an empty cell",
            )
    if "known_regions" in cells:
        text = cells.pop("known_regions")[0]
        named, known = re.findall(r"\w+", text.upper()), known_regions()
        if not named or not set(named) <= {region.upper() for region in known}:
            raise StudyError(
                "unknown region",
                file=file,
                field=f"known_regions of {draft.id}",
                got=text,
                expected=f"one or more of {', '.join(known)}, e.g. WT or WT+TC",
            )
        draft.known_regions = tuple(dict.fromkeys(named))
    if "group" in cells:
        draft.group = cells.pop("group")[0]
    if "normalised" in cells:
        text = cells.pop("normalised")[0]
        if text.lower() not in _ANSWERS:
            raise StudyError(
                "neither yes nor no",
                file=file,
                field=f"normalised of {draft.id}",
                got=text,
                expected="yes or no",
            )
        draft.normalised = _ANSWERS[text.lower()]


def _csv_rows(file: Path) -> list[dict[str, Any]]:
    _, rows = read_table(file, Refusal(StudyError, "cannot read the manifest"), "\t;,")
    return list(rows)


def _json_rows(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The rows, and the meaning of the labels if given."""
    content = read_json(file)
    rows, label_names = (
        (content.get("studies"), content.get("labels"))
        if isinstance(content, dict)
        else (content, None)
    )
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise StudyError(
            "malformed manifest",
            file=file,
            field="studies",
            got=type(content).__name__,
            expected="a list of objects",
        )
    for number, row in enumerate(rows, 1):
        for name, cell in row.items():
            if not (cell is None or type(cell) in (str, int)):
                raise StudyError(
                    "malformed manifest",
                    file=file,
                    field=f"studies {number} {name}",
                    got=cell,
                    expected="text",
                )
    if label_names is not None and not isinstance(label_names, dict):
        raise StudyError(
            "malformed manifest",
            file=file,
            field="labels",
            got=type(label_names).__name__,
            expected="code → meaning",
        )
    return rows, label_names


def _image(text: str, folder: Path) -> ImageFile:
    match = re.fullmatch(r"(.+)#([0-9]{1,4})", text)
    return ImageFile(folder / match[1], int(match[2])) if match else ImageFile(folder / text)
