"""Valid ids of studies, and collisions of their output files.

Ids name output files and folders, cells of tables and lines on a terminal. Every
:class:`~gliodistill.studies.records.StudyRecord` is checked when created, as is every id read from
a cache or a folder of results.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping

from gliodistill.errors import StudyError

LONGEST = 200
"""Most bytes of an id in UTF-8; with our suffixes it stays below the 255 of a file name."""

_EXPECTED = (
    "letters, digits, signs and inner spaces that print; no slash, backslash or dot in front;"
    f" up to {LONGEST} bytes in UTF-8"
)


def check_id(
    id: object,
    file: str | os.PathLike[str] | None = None,
    hint: str = "rename the folder or file, or give ids in a manifest",
) -> str:
    """Check that ``id`` can name a file on any system.

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
    """Check that ``patient`` is printable text; it names no file.

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
    """Refuse studies that would overwrite each other's files, or the tables beside them, also on
    file systems that ignore case.

    Args:
        outputs: id → names of the study's output.
        own: names of the output for all studies.
        file: the output folder, for the message.

    Raises:
        StudyError: two of these names are equal.
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
    """Normalise a name as case-insensitive file systems do."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
