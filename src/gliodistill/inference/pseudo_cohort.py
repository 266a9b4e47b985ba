"""A folder of pseudo-labels, or synthetic studies with their labels, opened as a cohort.

The folder's contents: see :mod:`gliodistill.inference.pseudo_labels`, which writes it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import LabelError, StudyError
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.studies.labels import CONVENTIONS, REGIONS
from gliodistill.studies.layouts.manifest import FILE as MANIFEST
from gliodistill.studies.origin import PHANTOM, PSEUDO_INDEX

FORMAT = 1
INDEX, STUDY, LABELS = PSEUDO_INDEX, "study.json", "labels.nii.gz"
MAPS = ("confidence", "disagreement", *REGIONS)
FILES = (STUDY, LABELS, *(f"{name}.nii.gz" for name in MAPS))
"""Files of a study; the first marks its folder as ours."""
_NO_INDEX = Refusal(
    StudyError,
    "not a folder of pseudo-labels",
    "make or finish it with: gliodistill pseudo-label … --resume",
)


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Studies with labels that no expert made: those of an ensemble, or of synthetic studies.

    Attributes:
        folder: of the studies.
        cohort: the selected studies, with the label as reference.
        facts: content of ``pseudo.json``; None for synthetic studies.
    """

    folder: Path
    cohort: Cohort
    facts: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "PseudoLabels":
        """Open what :func:`write_pseudo_labels` wrote, or synthetic studies with their labels.

        Raises:
            StudyError: no such folder, one that was not finished, no study selected, or labels that
                may be an expert's.
        """
        root = Path(folder)
        if not (root / INDEX).exists() and (cohort := _with_truth(root)):
            if cohort.labels_by != PHANTOM:
                raise StudyError(
                    "labels are not pseudo-labels",
                    file=root,
                    got=f"{len(cohort)} labelled studies",
                    expected="output of gliodistill pseudo-label or gliodistill phantom",
                    hint="give expert-labelled studies as --data",
                )
            return cls(root, cohort, {"soft": False})
        facts = Fields(read_json(root / INDEX, _NO_INDEX), _NO_INDEX.of(root / INDEX))
        if not (root / MANIFEST).is_file():
            raise _NO_INDEX.of(root)("manifest", "nothing", MANIFEST)
        if (format := facts.whole("format")) != FORMAT:
            raise StudyError(
                "pseudo-labels of another format",
                file=root,
                got=format,
                expected=FORMAT,
                hint="make them again",
            )
        facts.flag("soft")
        convention = facts.part("labels").text("convention", CONVENTIONS)
        studies = facts.part("studies").parts()
        selected = {id for id, study in studies.items() if study.flag("selected")}
        if not selected:
            raise StudyError(
                "no pseudo-label was selected",
                file=root,
                field="agreement",
                got=f"0 of {len(studies)}",
            )
        cohort = open_cohort(root, layout="manifest", labels=convention)
        if differing := selected ^ {record.id for record in cohort.studies}:
            raise _NO_INDEX.of(root / MANIFEST)(
                "studies", ", ".join(sorted(differing)[:4]), f"those that {INDEX} selects"
            )
        return cls(root, cohort, facts.values)

    @property
    def soft(self) -> bool:
        """Whether it has soft labels."""
        return bool(self.facts["soft"])

    def soft_files(self, id: str) -> tuple[Path, ...]:
        """Probability maps (· 255) of WT, TC, ET of a study.

        Raises:
            StudyError: only hard labels were written.
        """
        if not self.soft:
            raise StudyError(
                "pseudo-labels are hard",
                file=self.folder,
                hint="make them with gliodistill pseudo-label --soft",
            )
        return tuple(self.folder / id / f"{region}.nii.gz" for region in REGIONS)


def _with_truth(folder: Path) -> Cohort | None:
    """The labelled studies of a cohort in any layout, or None if there is none (or unfinished
    pseudo-labels).
    """
    if any(folder.glob(f"*/{STUDY}")):
        return None
    try:
        cohort = open_cohort(folder).labelled()
    except (StudyError, LabelError):
        return None
    return cohort if cohort.studies else None
