"""Pseudo-labels: an ensemble's predictions for unlabelled studies, written as a cohort.

| in the folder | what |
|---|---|
| ``manifest.json`` | the selected studies as a cohort: their images, the pseudo-label as reference
| | ``pseudo.json`` | models and settings; agreement of every study; studies left out and why |
| ``<id>/labels.nii.gz`` | codes of one label convention |
| ``<id>/{WT,TC,ET}.nii.gz`` | soft labels: probability · 255 |
| ``<id>/confidence.nii.gz``, ``disagreement.nii.gz`` | · 255; see :class:`Consensus` |
| ``<id>/study.json`` | agreement, volumes, settings |

A study's folder is written whole or not at all. The two tables are written last, the manifest after
the other, and removed first: a folder that has them is complete.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError, OutputError, StudyError
from gliodistill.files import (
    check_writable,
    contents,
    is_ours,
    make_folder,
    remove_leftovers,
)
from gliodistill.inference.ensemble import Labeller
from gliodistill.inference.pseudo_cohort import FILES, FORMAT, INDEX, STUDY
from gliodistill.inference.pseudo_files import PseudoReport, read_facts, write_study, write_tables
from gliodistill.inference.reading import check_ids, read, read_ahead
from gliodistill.locks import lock_folder
from gliodistill.pool import Executor, Threads, tracked
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.duplicates import Signature, most_similar, signature_of
from gliodistill.studies.ids import check_names
from gliodistill.studies.image_checks import BackgroundError, usable
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.layouts.manifest import FILE as MANIFEST
from gliodistill.studies.records import StudyRecord

AHEAD = 2
"""Studies in memory: one before the models, another being read or written."""


def write_pseudo_labels(
    records: Iterable[StudyRecord],
    ensemble: Labeller,
    out: str | os.PathLike[str],
    *,
    labels: LabelConvention,
    soft: bool = False,
    agreement: float | None = None,
    exclude: Mapping[str, Cohort] | None = None,
    resume: bool = False,
    executor: Executor | None = None,
) -> PseudoReport:
    """Label studies with an ensemble.

    Args:
        records: the studies; references, if any, are ignored.
        ensemble: the models and their test-time augmentation, or a teacher of another tool.
        out: new, or with ``resume`` an unfinished folder.
        labels: convention of the codes written.
        soft: also write probabilities, for soft labels.
        agreement: select a study only if the members' mean Dice, averaged over WT, TC and ET, is at
            least this.
        exclude: name → cohort whose patients must not be among the studies: the labelled,
            validation and test ones. Patients are compared by id and by image.
        resume: keep studies finished with the same settings.
        executor: where the studies are labelled; None = here, one read ahead of the models.

    Raises:
        GliodistillError: an agreement for a single member, or out of range.
        StudyError: two studies with the same id or colliding folder names, or an excluded
            study that cannot be read (it could hide a patient on two sides).
        OutputError: ``out`` exists and ``resume`` is not given, it cannot be written, or another
            process uses it.
    """
    folder, pool, cohorts = Path(out), list(records), exclude or {}
    check_ids(pool)
    check_names({record.id: [record.id] for record in pool}, [INDEX, MANIFEST], folder)
    _check_agreement(agreement, ensemble)
    task = getattr(ensemble, "task", None)
    if task is not None and task.names != REGIONS:
        raise GliodistillError(
            "models of another task cannot make pseudo-labels",
            field="models",
            got=task,
            expected=f"models of {', '.join(REGIONS)}",
        )
    make_folder(folder)
    check_writable(folder)
    with lock_folder(folder):
        _claim(folder, resume)
        there = executor or Threads(AHEAD)
        return _label(pool, ensemble, folder, labels, soft, agreement, cohorts, there)


def _label(
    pool: list[StudyRecord],
    ensemble: Labeller,
    folder: Path,
    labels: LabelConvention,
    soft: bool,
    agreement: float | None,
    cohorts: Mapping[str, Cohort],
    executor: Executor,
) -> PseudoReport:
    report = PseudoReport()
    settings = _settings(ensemble, labels, soft, cohorts)

    def key(id: str) -> str:
        facts = ensemble.facts(id)
        decides = settings | ({"study": facts} if facts else {})
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    known = {
        record.patient: f"{record.id} of {name}"
        for name, cohort in cohorts.items()
        for record in cohort.studies
    }
    report.left_out = {
        r.id: f"patient {r.patient} is that of {known[r.patient]}"
        for r in pool
        if r.patient in known
    }
    report.skipped = [
        r.id
        for r in pool
        if r.id not in report.left_out and read_facts(folder / r.id).get("key") == key(r.id)
    ]
    todo = [r for r in pool if r.id not in report.left_out and r.id not in set(report.skipped)]
    strangers = _signatures(cohorts) if todo else {}
    for name in (MANIFEST, INDEX):
        (folder / name).unlink(missing_ok=True)
    work = _Labelling(ensemble, folder, labels, soft, strangers).label
    done = executor.outcomes(work, [(record, key(record.id)) for record in todo])
    with tracked(done, "labelling studies", len(todo)) as outcomes:
        for outcome in outcomes:
            id = outcome.item[0].id
            if (error := outcome.problem(id)) is not None:
                report.failed[id] = error
            elif isinstance(said := outcome.get(), str):
                report.left_out[id] = said
            else:
                report.done[id] = said
    order = [record.id for record in todo]
    report.done = {id: report.done[id] for id in order if id in report.done}
    write_tables(folder, pool, settings, labels, agreement, report)
    return report


@dataclass(frozen=True)
class _Labelling:
    """The models, and the settings for every study."""

    ensemble: Labeller
    folder: Path
    labels: LabelConvention
    soft: bool
    strangers: Mapping[str, Signature]
    _models: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, which each process has its own of."""
        return {name: value for name, value in self.__dict__.items() if name != "_models"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _models=threading.Lock())

    def label(self, keyed: tuple[StudyRecord, str]) -> dict[str, Any] | str:
        """Label one study, given with its key: its facts, or why it is left out."""
        record, key = keyed
        try:
            study = usable(read(record)[0])
        except BackgroundError as error:  # members may agree there although the result is wrong
            return f"{error.problem}: {error.field}: {error.got}"
        if match := most_similar(signature_of(study), self.strangers):
            return f"the same images as {match[0]} (correlation {match[1]:.3f})"
        with self._models:  # one study at a time: most of the memory
            try:
                said = self.ensemble.ask(study)
            except BackgroundError as error:
                return f"{error.problem}: {error.field}: {error.got}"
        return write_study(study, said, self.folder, self.labels, self.soft, key)


def _check_agreement(agreement: float | None, ensemble: Labeller) -> None:
    if agreement is not None and not 0 <= agreement <= 1:
        raise GliodistillError(
            "agreement out of range", field="agreement", got=agreement, expected="0 to 1"
        )
    if agreement is not None and len(ensemble) < 2:
        raise GliodistillError(
            "agreement needs two members",
            field="agreement",
            got=agreement,
            hint="add models, or --tta",
        )


def _claim(folder: Path, resume: bool) -> None:
    if not resume and contents(folder):
        raise OutputError(
            "output exists",
            file=folder,
            expected="a new folder",
            hint="continue with --resume, or choose another",
        )
    ours = {INDEX, MANIFEST} if (folder / INDEX).is_file() else set()
    strangers = [
        path.name
        for path in contents(folder)
        if path.name not in ours and not is_ours(path, STUDY, FILES)
    ]
    if strangers:
        raise OutputError(
            "folder holds something else",
            file=folder,
            got=", ".join(strangers[:4]),
            expected="a new folder, or pseudo-labels to continue",
        )
    remove_leftovers(folder)


def _settings(
    ensemble: Labeller, labels: LabelConvention, soft: bool, cohorts: Mapping[str, Cohort]
) -> dict[str, Any]:
    """All settings that determine a study's output."""
    return {
        "format": FORMAT,
        **ensemble.describe(),
        "labels": {
            "convention": labels.name,
            "codes": {str(code): str(tissue) for code, tissue in labels.codes.items()},
        },
        "soft": soft,
        "excluded": {
            name: {record.id: record.patient for record in cohort.studies}
            for name, cohort in cohorts.items()
        },
    }


def _signatures(cohorts: Mapping[str, Cohort]) -> dict[str, Signature]:
    """``<id> of <cohort>`` → signature, of every excluded study."""
    found = {}
    records = [(name, record) for name, cohort in cohorts.items() for record in cohort.studies]
    reading = read_ahead([record for _, record in records])
    for (name, record), (_, study) in zip(
        records, track(reading, "reading excluded studies", total=len(records)), strict=True
    ):
        try:
            found[f"{record.id} of {name}"] = signature_of(study.result()[0])
        except GliodistillError as error:
            hint = (
                "repair it, or take it out of that cohort: it may be one of the patients to be"
                " labelled"
            )
            raise StudyError(
                "excluded study cannot be compared",
                file=f"{name}: {record.id}",
                got=error.problem,
                hint=hint,
            ) from error
    return found
