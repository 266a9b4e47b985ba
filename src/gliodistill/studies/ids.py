"""What the id of a study may be, and which files of several studies would be one.

Ids name output files and folders, cells of tables and lines on a terminal. Every
:class:`~gliodistill.studies.records.StudyRecord` is checked when it is made, and so is every id that
is read back from a cache or a folder of results.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping

from gliodistill.errors import StudyError

LONGEST = 200
"""Bytes of an id in UTF-8: with our endings and marks it stays below the 255 of a file name."""

_EXPECTED = (
    "letters, digits, signs and inner spaces that print; no slash, backslash or dot in front;"
    f" up to {LONGEST} bytes in UTF-8"
)


def check_id(
    id: object,
    file: str | os.PathLike[str] | None = None,
    hint: str = "rename the folder or file, or give ids in a manifest",
) -> str:
    """``id``, if it can name a file anywhere.

    Args:
        id: of a study.
        file: where it was found, for the message.
        hint: the next step, for the message.

    Raises:
        StudyError: it is no text, empty, too long, begins with a dot, or holds a slash, a
            backslash, a character that does not print, or a space at an end.
    """
    usable = (
        isinstance(id, str)
        and id.isprintable()
        and 0 < len(id.encode(errors="replace")) <= LONGEST
        and id == id.strip()
        and not id.startswith(".")
        and not set("/\\") & set(id)
    )
    if not usable:
        raise StudyError(
            "id cannot name a file",
            file=file,
            field="id",
            got=repr(id)[:80],
            expected=_EXPECTED,
            hint=hint,
        )
    return str(id)


def check_patient(patient: object, file: str | os.PathLike[str] | None = None) -> str:
    """``patient``, if it is a text that prints; it names no file.

    Raises:
        StudyError: it is not.
    """
    if not (isinstance(patient, str) and patient.isprintable() and 0 < len(patient) <= LONGEST):
        raise StudyError(
            "unusable name of a patient",
            file=file,
            field="patient",
            got=repr(patient)[:80],
            expected=f"1 to {LONGEST} characters that print",
        )
    return patient


def check_names(
    outputs: Mapping[str, Iterable[str]],
    own: Iterable[str] = (),
    file: str | os.PathLike[str] | None = None,
) -> None:
    """Refuse studies of which one would overwrite another's files, or the tables beside them, here
    or on a disk that does not tell ``A`` from ``a``.

    Args:
        outputs: id → names of what is written for the study.
        own: names of what is written for all of them.
        file: the output folder, for the message.

    Raises:
        StudyError: two of these names are one.
    """
    taken: dict[str, tuple[str | None, str]] = {_folded(name): (None, name) for name in own}
    for id, names in outputs.items():
        for name in names:
            other, its = taken.setdefault(_folded(name), (id, name))
            if other != id:
                whose = f"study {other}" if other is not None else "the table of all studies"
                alike = name if name == its else f"{name} and {its}"
                raise StudyError(
                    "outputs of one name",
                    file=file,
                    field="id",
                    got=f"{alike} of study {id} and of {whose}",
                    expected="names that differ, not only by upper and lower case",
                    hint="write these studies into different folders, or give them other ids",
                )


def _folded(name: str) -> str:
    """As the least particular file systems compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
