"""Origin of labels that no expert made, by the files that their command leaves."""

from collections.abc import Iterable
from pathlib import Path

from gliodistill.studies.records import StudyRecord

PSEUDO, PHANTOM = "pseudo-label", "phantom"
"""The commands that make labels."""
PSEUDO_INDEX = "pseudo.json"
PHANTOM_RECORD = "_phantom.json"


def labels_made_by(path: Path, records: Iterable[StudyRecord]) -> str | None:
    """The command that made the label maps of all ``records`` found at ``path``; None if there are
    none, or others among them.
    """
    maps = [record.truth.path for record in records if record.truth is not None]
    if not maps:
        return None
    folder = path if path.is_dir() else path.parent
    if (folder / PSEUDO_INDEX).is_file() and all(file.is_relative_to(folder) for file in maps):
        return PSEUDO
    if all((file.parent / f"{file.parent.name}{PHANTOM_RECORD}").is_file() for file in maps):
        return PHANTOM
    return None
