"""The ``dataset.json`` of MSD and nnU-Net, which names channels."""

import re
from pathlib import Path
from typing import Any

from gliodistill.errors import StudyError
from gliodistill.studies.layouts.base import nifti_files, read_json, sequence_of, stem
from gliodistill.studies.sequence import SPELLINGS, MRSequence


def read_description(root: Path, key: str) -> dict[str, Any] | None:
    """``dataset.json`` of ``root``, if it is an object that holds ``key``.

    Raises:
        StudyError: malformed JSON, or ``labels`` that are no object.
    """
    file = root / "dataset.json"
    if not file.is_file():
        return None
    description = read_json(file)
    if not isinstance(description, dict) or key not in description:
        return None
    if not isinstance(description.get("labels", {}), dict):
        raise StudyError(
            "malformed description",
            file=file,
            field="labels",
            got=description["labels"],
            expected="an object",
        )
    return description


def channel_sequences(declared: Any, file: Path, field: str) -> dict[int, tuple[MRSequence, str]]:
    """``{"0": "FLAIR", …}`` (or a list) → channel → sequence and its spelling.

    Raises:
        StudyError: wrong form, a name that is none of the four sequences, or a repeated one.
    """
    pairs = (
        list(enumerate(declared))
        if isinstance(declared, list)
        else list(declared.items())
        if isinstance(declared, dict)
        else []
    )
    if not pairs or not all(
        re.fullmatch("[0-9]{1,4}", str(key)) and isinstance(name, str) for key, name in pairs
    ):
        raise StudyError(
            "malformed description",
            file=file,
            field=field,
            got=declared,
            expected='{"0": "FLAIR", "1": "T1w", …}',
        )
    channels: dict[int, tuple[MRSequence, str]] = {}
    for key, name in pairs:
        sequence = sequence_of(name)
        if sequence is None:
            raise StudyError(
                "unknown sequence",
                file=file,
                field=f"{field} {key}",
                got=name,
                expected="; ".join(
                    f"{known}: {', '.join(names[:4])}, …" for known, names in SPELLINGS.items()
                ),
            )
        if sequence in {taken for taken, _ in channels.values()}:
            raise StudyError(
                "one sequence in two channels",
                file=file,
                field=f"{field} {key}",
                got=name,
                expected="each sequence once",
            )
        channels[int(key)] = (sequence, name)
    return channels


def is_numbered(root: Path) -> bool:
    """Whether images are one file per channel, ``<case>_0000.nii.gz``."""
    files = nifti_files(root / "imagesTr") or nifti_files(root / "imagesTs")
    return bool(files) and all(re.search(r"_\d{4}$", stem(file)) for file in files)
