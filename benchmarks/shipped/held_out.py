"""Scores of held-out patients: each by the network of the fold that left it out, with every subset
of the sequences that it has.

What is found of a study is kept in `FOLDER/ID.json` (Dice, features, flags, clean-up) and
`FOLDER/ID.npz` (counts for calibration), so that a stopped stage goes on with the next study,
and one of another network begins anew.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation.score import model_of, subset_name
from gliodistill.evaluation.calibration import calibration_box
from gliodistill.evaluation.metrics import dice
from gliodistill.files import make_folder, write_text
from gliodistill.images.bounds import Box
from gliodistill.inference.postprocessing import Known, clean, parse_steps
from gliodistill.inference.predictor import Predictor
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study
from gliodistill.training.experiment import Experiment, find_run
from gliodistill.trust.calibration import Calibration, CalibrationRow, calibration_rows

SUBSETS = [subset for size in (4, 3, 2, 1) for subset in combinations(MRSequence, size)]
"""All 15 subsets of the four sequences."""
RULES = [
    [f"drop_minor_components={share}", f"drop_doubtful_et={et}"]
    for share, et in product((0, 0.05, 0.1, 0.2), (0, 0.5, 0.55, 0.6, 0.65, 0.7))
]
"""Clean-up rules to choose from; the first does nothing."""
LABELS = "brats2021"
Subset = tuple[MRSequence, ...]
Array = NDArray[Any]


@dataclass(frozen=True)
class Fold:
    """A network, and the studies that it is scored on.

    Attributes:
        name: `fold1`, ….
        model: folder of the exported network, or the name of a shipped model.
        ids: studies of patients whom it has not seen.
    """

    name: str
    model: str
    ids: tuple[str, ...]


@cache
def whole_studies(manifest: Path) -> Cohort:
    """The studies with a whole label map: no crops, all regions known.

    They get a manifest of their own beside the other (paths are relative to it), since opening a
    cohort reads every label map.
    """
    rows = json.loads(manifest.read_text())["studies"]
    whole = [row for row in rows if not {"known", "known_regions"} & set(row)]
    text, own = json.dumps({"studies": whole}), manifest.with_name("whole.json")
    if not own.exists() or own.read_text() != text:
        write_text(own, text)
    return open_cohort(own, labels=LABELS).labelled()


def fold_of(number: int, trained: Path, cohort: Cohort, folds: dict[str, Any], out: Path) -> Fold:
    """The fold whose network is in `trained` (an experiment, or one of its runs), exported to `out`.

    Raises:
        SystemExit: the network has seen a patient of the fold.
    """
    experiment, run = find_run(trained)
    patients = {patient for patient, facts in folds.items() if facts["fold"] == number}
    ids = tuple(sorted(s.id for s in cohort.studies if s.patient in patients))
    _check_unseen(experiment, patients, ids, trained)
    scratch = make_folder(out / f"fold{number}")
    return Fold(f"fold{number}", str(model_of(experiment, run, scratch)), ids)


def _check_unseen(
    experiment: Experiment, patients: set[str], ids: Sequence[str], trained: Path
) -> None:
    index = json.loads((experiment.cache / "cache.json").read_text())["studies"]
    training = set(experiment.split["training"])
    facts = {id: experiment.cache / id / "study.json" for id in index if id in training}
    seen = {id for id, file in facts.items() if json.loads(file.read_text())["patient"] in patients}
    if leaked := seen | (training & set(ids)):
        raise SystemExit(f"{trained}: trained on {len(leaked)} studies of patients of its fold")


def score(
    folds: Iterable[Fold],
    manifest: Path,
    out: Path,
    processes: int,
    subsets: Sequence[Subset] = SUBSETS,
    calibration: Calibration | None = None,
    rules: bool = False,
) -> dict[str, dict[str, Any]]:
    """Segment every held-out study with each subset that it has, at 0.5 and without clean-up.

    Args:
        folds: networks and their studies.
        manifest: of the cohort.
        out: folder for what is found.
        processes: folds at once.
        subsets: to score.
        calibration: of the probabilities; None = as the package has it.
        rules: whether to try each of :data:`RULES`.

    Returns:
        study → subset → `dice`, `features`, `flags`, and with `rules` `cleaned`.
    """
    make_folder(out)
    folds = list(folds)
    digests = {fold.name: _digest(fold, subsets, calibration, rules) for fold in folds}
    jobs = [
        (fold, id, manifest, out, tuple(subsets), calibration, rules, digests[fold.name])
        for fold in folds
        for id in fold.ids
        if _made_of(out / f"{id}.json") != digests[fold.name]
    ]
    if processes == 1:
        for job in track(jobs, "held-out studies"):
            _study(*job)
    else:
        with ProcessPoolExecutor(processes) as pool:
            list(track(pool.map(_study, *zip(*jobs, strict=True)) if jobs else [], "scoring"))
    ids = [id for fold in folds for id in fold.ids]
    return {id: json.loads((out / f"{id}.json").read_text())["subsets"] for id in sorted(ids)}


def _digest(
    fold: Fold, subsets: Sequence[Subset], calibration: Calibration | None, rules: bool
) -> str:
    """Of what a study's scores are made of: network, calibration, subsets, rules."""
    parts = [
        ModelPackage.open(find_model(fold.model)).fingerprint,
        None if calibration is None else calibration.to_dict(),
        sorted(map(subset_name, subsets)),
        RULES if rules else None,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _made_of(file: Path) -> str | None:
    return json.loads(file.read_text()).get("made_of") if file.exists() else None


def counts(out: Path, ids: Iterable[str]) -> list[CalibrationRow]:
    """Rows for a calibration, of studies that :func:`score` has scored; patients are their ids."""
    rows = []
    for id in ids:
        with np.load(out / f"{id}.npz") as kept:
            for name in kept.files:
                sequences = tuple(MRSequence(part) for part in name.split("+"))
                for region, (voxels, observed) in zip(REGIONS, kept[name], strict=True):
                    rows.append(CalibrationRow(id, sequences, region, voxels, observed))
    return rows


_OPEN: dict[str, Predictor] = {}


def _study(
    fold: Fold,
    id: str,
    manifest: Path,
    out: Path,
    subsets: tuple[Subset, ...],
    calibration: Calibration | None,
    rules: bool,
    digest: str,
) -> None:
    """Score one study, and keep what is found."""
    if fold.model not in _OPEN:
        _OPEN[fold.model] = Predictor(fold.model, threads=1, postprocess=False)
    predictor, cohort = _OPEN[fold.model], whole_studies(manifest)
    spec = replace(
        predictor.package.spec, inference=replace(predictor.package.spec.inference, threshold=0.5)
    )
    if calibration is not None:
        spec = replace(spec, calibration=calibration)
    predictor.package = replace(predictor.package, spec=spec)
    (record,) = cohort.select([id]).studies
    study = load_study(record, cohort.convention)
    assert study.truth is not None and study.convention is not None  # of a labelled cohort
    truth = study.convention.to_regions(study.truth.data)
    found, kept = {}, {}
    for subset in subsets:
        if set(subset) <= set(study.images):
            name = subset_name(subset)
            found[name], kept[name] = _answer(predictor, _with(study, subset), truth, subset, rules)
    np.savez_compressed(out / f"{id}.npz", **kept)
    write_text(out / f"{id}.json", json.dumps({"made_of": digest, "subsets": found}))


def _answer(
    predictor: Predictor, study: Study, truth: Array, subset: Subset, rules: bool
) -> tuple[dict[str, Any], Array]:
    prepared = predictor.prepare(study)
    assert prepared.truth is not None
    answer = predictor.segment_prepared(prepared)
    logits, real = predictor.region_logits(prepared.image), unpack_regions(prepared.truth)
    box: Box = calibration_box((logits > 0).any(0) | real.any(0), prepared.spacing)
    rows = calibration_rows(study.id, subset, logits[:, *box], real[:, *box])
    depth = answer.regions.sum(axis=0).astype(np.uint8)
    features = answer.quality.features
    found: dict[str, Any] = {
        "dice": _dice(depth, truth),
        "features": features,
        "flags": sorted({flag.code for flag in answer.quality.flags}),
    }
    if rules:
        expected = {region: values["expected_dice"] for region, values in features.items()}
        known = Known(float(np.prod(study.grid.spacing)), expected)
        found["cleaned"] = [
            _dice(clean(depth.copy(), parse_steps(rule), known), truth) for rule in RULES
        ]
    return found, np.array([(row.voxels, row.observed) for row in rows], dtype=np.float32)


def _with(study: Study, subset: Subset) -> Study:
    """The study as a site would have it that has these sequences only."""
    return replace(study, images={s: image for s, image in study.images.items() if s in subset})


def _dice(depth: Array, truth: Array) -> list[float]:
    """WT, TC, ET; 1 where both are empty."""
    scores = (dice(depth >= level, region) for level, region in zip((1, 2, 3), truth, strict=True))
    return [1.0 if score is None else round(float(score), 4) for score in scores]
