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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import GliodistillError, LabelError, OutputError, StudyError
from gliodistill.files import (
    atomic_folder,
    check_writable,
    contents,
    is_ours,
    make_folder,
    remove_leftovers,
    write_text,
)
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.batch import check_ids, read_ahead
from gliodistill.inference.ensemble import Consensus, Ensemble
from gliodistill.inference.tta import names
from gliodistill.locks import lock_folder
from gliodistill.models.package import NOTICE, versions_in_use
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.studies.duplicates import Signature, most_similar, signature_of
from gliodistill.studies.ids import check_names
from gliodistill.studies.image_checks import BackgroundError, usable
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention
from gliodistill.studies.layouts.manifest import FILE as MANIFEST
from gliodistill.studies.origin import PHANTOM, PSEUDO_INDEX
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.study import Study

FORMAT = 1
INDEX, STUDY, LABELS = PSEUDO_INDEX, "study.json", "labels.nii.gz"
MAPS = ("confidence", "disagreement", *REGIONS)
_FILES = (STUDY, LABELS, *(f"{name}.nii.gz" for name in MAPS))
"""Files of a study; the first marks its folder as ours."""
_NO_INDEX = Refusal(
    StudyError,
    "not a folder of pseudo-labels",
    "make or finish it with: gliodistill pseudo-label … --resume",
)
_NO_FACTS = Refusal(StudyError, "not a finished study")
RULE = (
    "mean probability of WT, TC and ET over models × mirrorings, all members weighted equally; a"
    " region where it is"
    " above 0.5, TC only inside WT and ET only inside TC; agreement = mean Dice over all pairs of"
    " members; confidence = smallest |2p − 1| and disagreement = largest 2σ of any region; maps are"
    " stored · 255"
)


@dataclass
class PseudoReport:
    """The outcome of each study.

    Attributes:
        done: id → its facts, for those labelled now.
        skipped: ids already finished.
        left_out: id → why it is excluded (a known patient) or was not selected.
        failed: id → error.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, GliodistillError] = field(default_factory=dict)


def write_pseudo_labels(
    records: Iterable[StudyRecord],
    ensemble: Ensemble,
    out: str | os.PathLike[str],
    *,
    labels: LabelConvention,
    soft: bool = False,
    agreement: float | None = None,
    exclude: Mapping[str, Cohort] | None = None,
    resume: bool = False,
) -> PseudoReport:
    """Label studies with an ensemble.

    Args:
        records: the studies; references, if any, are ignored.
        ensemble: the models and their test-time augmentation.
        out: new, or with ``resume`` an unfinished folder.
        labels: convention of the codes written.
        soft: also write probabilities, for soft labels.
        agreement: select a study only if the members' mean Dice, averaged over WT, TC and ET, is at
        least this.
        exclude: name → cohort whose patients must not be among the studies: the labelled,
            validation and test ones. Patients are compared by id and by image.
        resume: keep studies finished with the same settings.

    Raises:
        GliodistillError: an agreement for a single member, or out of range.
        StudyError: two studies of one id, or whose folders would have one name, or an excluded
            study that cannot be read (it could hide a patient on two sides).
        OutputError: ``out`` exists and ``resume`` is not given, it cannot be written, or another
        process uses it.
    """
    folder, pool, cohorts = Path(out), list(records), exclude or {}
    check_ids(pool)
    check_names({record.id: [record.id] for record in pool}, [INDEX, MANIFEST], folder)
    _check_agreement(agreement, ensemble)
    make_folder(folder)
    check_writable(folder)
    with lock_folder(folder):
        _claim(folder, resume)
        return _label(pool, ensemble, folder, labels, soft, agreement, cohorts)


def _label(
    pool: list[StudyRecord],
    ensemble: Ensemble,
    folder: Path,
    labels: LabelConvention,
    soft: bool,
    agreement: float | None,
    cohorts: Mapping[str, Cohort],
) -> PseudoReport:
    report = PseudoReport()
    settings = _settings(ensemble, labels, soft, cohorts)
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
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
        if r.id not in report.left_out and _facts(folder / r.id).get("key") == key
    ]
    todo = [r for r in pool if r.id not in report.left_out and r.id not in set(report.skipped)]
    strangers = _signatures(cohorts) if todo else {}
    for name in (MANIFEST, INDEX):
        (folder / name).unlink(missing_ok=True)
    for record, reading in track(read_ahead(todo), "labelling studies", total=len(todo)):
        try:
            study = usable(reading.result()[0])
            if twin := most_similar(signature_of(study), strangers):
                report.left_out[record.id] = (
                    f"the same images as {twin[0]} (correlation {twin[1]:.3f})"
                )
            else:
                report.done[record.id] = _write_study(
                    study, ensemble.ask(study), folder, labels, soft, key
                )
        except BackgroundError as error:  # members may agree there although the result is wrong
            report.left_out[record.id] = f"{error.problem}: {error.field}: {error.got}"
        except GliodistillError as error:
            report.failed[record.id] = error
        except Exception as error:  # an unexpected error of one study must not stop the others
            report.failed[record.id] = GliodistillError(
                "unforeseen failure", file=record.id, got=f"{type(error).__name__}: {error}"
            )
    _write_tables(folder, pool, settings, labels, agreement, report)
    return report


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


def _check_agreement(agreement: float | None, ensemble: Ensemble) -> None:
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
        if path.name not in ours and not is_ours(path, STUDY, _FILES)
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
    ensemble: Ensemble, labels: LabelConvention, soft: bool, cohorts: Mapping[str, Cohort]
) -> dict[str, Any]:
    """All settings that determine a study's output."""
    return {
        "format": FORMAT,
        "models": [
            {
                "name": m.package.name,
                "sha256": m.package.fingerprint,
                "weights_sha256": m.package.weights_sha256,
            }
            for m in ensemble.models
        ],
        "runtimes": [type(model.runtime).__name__ for model in ensemble.models],
        "tta": names(ensemble.tta),
        "rule": RULE,
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


def _write_study(
    study: Study, said: Consensus, folder: Path, labels: LabelConvention, soft: bool, key: str
) -> dict[str, Any]:
    """Write the study's folder, replacing one of other settings."""
    target, grid, regions = folder / study.id, study.grid, said.regions
    facts = {
        "key": key,
        "id": study.id,
        "patient": study.patient,
        "sequences": {
            "used": {str(s): study.sources.used.get(s) for s in study.sequences},
            "unused": dict(study.sources.unused),
        },
        "notes": [note.text for note in study.notes],
        "agreement": (
            None
            if said.agreement is None
            else {**said.agreement, "mean": float(np.mean([*said.agreement.values()]))}
        ),
        "volumes_ml": {
            region: round(float(mask.sum()) * grid.voxel_ml, 4)
            for region, mask in zip(REGIONS, regions, strict=True)
        },
        "seconds": round(said.seconds, 3),
    }
    maps = {"confidence": said.confidence(), "disagreement": said.disagreement()}
    if soft:
        maps |= dict(zip(REGIONS, said.probability, strict=True))
    with atomic_folder(target, replaces=_FILES) as temporary:
        write_nifti(grid.with_data(labels.from_regions(regions)), temporary / LABELS)
        for name, values in maps.items():
            write_nifti(grid.with_data(_bytes(values)), temporary / f"{name}.nii.gz")
        (temporary / STUDY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _bytes(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(share * 255).astype(np.uint8)


def _facts(folder: Path) -> dict[str, Any]:
    """The facts file of a finished study; empty if it is missing or cannot be read."""
    try:
        facts = Fields(read_json(folder / STUDY, _NO_FACTS), _NO_FACTS.of(folder / STUDY))
        facts.text("key"), facts.text("patient")
        for region in REGIONS:
            facts.part("volumes_ml").number(region)
        if facts.get("agreement", (dict, NoneType), "an object or null") is not None:
            facts.part("agreement").number("mean")
        return dict(facts.values)
    except StudyError:
        return {}


def _write_tables(
    folder: Path,
    pool: list[StudyRecord],
    settings: dict[str, Any],
    labels: LabelConvention,
    agreement: float | None,
    report: PseudoReport,
) -> None:
    """Select studies and write both tables."""
    studies, rows = {}, []
    for record in pool:
        if record.id not in report.done and record.id not in report.skipped:
            continue
        facts = _facts(folder / record.id)
        selected = agreement is None or (facts["agreement"] or {}).get("mean", 0.0) >= agreement
        studies[record.id] = {
            name: facts[name] for name in ("patient", "agreement", "volumes_ml")
        } | {"selected": selected}
        if selected:
            images = {
                str(sequence): _relative(image, folder) for sequence, image in record.images.items()
            }
            rows.append(
                {
                    "id": record.id,
                    "patient": record.patient,
                    **images,
                    "truth": f"{record.id}/{LABELS}",
                }
            )
        else:
            report.left_out[record.id] = (
                f"agreement {facts['agreement']['mean']:.3f} is below {agreement}"
            )
    codes = {"0": "background"} | {str(code): str(tissue) for code, tissue in labels.codes.items()}
    index = settings | {
        "notice": NOTICE,
        "versions": versions_in_use("gliodistill", "numpy", "openvino"),
        "agreement": agreement,
        "studies": studies,
        "left_out": report.left_out,
        "failed": {id: str(error) for id, error in report.failed.items()},
    }
    write_text(folder / INDEX, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    write_text(
        folder / MANIFEST,
        json.dumps({"labels": codes, "studies": rows}, indent=1, ensure_ascii=False) + "\n",
    )


def _relative(image: ImageFile, folder: Path) -> str:
    """The path of an image relative to ``folder``, so that both may be moved together; absolute if
    there is none.
    """
    path = image.path.resolve()
    try:
        text = Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        text = str(path)
    return text if image.channel is None else f"{text}#{image.channel}"
