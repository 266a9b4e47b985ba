"""What can be fitted only on patients not seen in training, for the shipped model:
threshold, clean-up rules, predicted Dice.

Each held-out patient is segmented by the student of that fold. Threshold and rules are the best of
``GRID`` on all of them, given four sequences; what choosing is worth is told on patients who did
not choose: for each fold, by the best of the other folds, with four sequences and with ``FEWER``.
Predicted Dice is fitted on answers at that threshold, to each of ``SUBSETS``.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.distillation.score import model_of, subset_name
from gliodistill.evaluation.metrics import dice
from gliodistill.inference.postprocessing import Depth, Known, clean, parse_steps
from gliodistill.inference.predictor import Predictor
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study
from gliodistill.training.experiment import Experiment
from gliodistill.trust.expected_quality import QualityRow

EVERY = tuple(MRSequence)
SUBSETS = (
    EVERY,
    (MRSequence.T1CE, MRSequence.FLAIR),
    (MRSequence.FLAIR,),
    (MRSequence.T1CE,),
    (MRSequence.T1, MRSequence.T2),
)
FEWER = SUBSETS[1:3]
THRESHOLDS = (0.5, 0.4, 0.3, 0.2)
ET_DICE = (0, 0.5, 0.55, 0.6, 0.65, 0.7)
SHARES = (0, 0.05, 0.1, 0.2)
RULES = [
    [f"drop_minor_components={share}", f"drop_doubtful_et={et}"]
    for share, et in product(SHARES, ET_DICE)
]
GRID = list(product(THRESHOLDS, RULES))
"""The first is what a model has unless told otherwise: 0.5 and no rule that does anything."""
Table = np.ndarray[Any, Any]
Choice = tuple[float, list[str]]


def look(folds: list[Path], data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What thresholds and clean-up rules do, the chosen ones among it; and rows that predicted Dice
    is fitted on, patients by number.
    """
    held_out = [Experiment.open(fold).split["validation"] for fold in folds]
    firsts = [sum(map(len, held_out[:number])) for number in range(len(folds))]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        chosen = choose(
            list(
                track(pool.map(_choices, folds, [data] * len(folds)), "choosing", total=len(folds))
            )
        )
        for subset in FEWER:
            tables = pool.map(
                _cleaned,
                folds,
                [data] * len(folds),
                [subset] * len(folds),
                chosen["choices_of_other_folds"],
            )
            chosen["fewer"][subset_name(subset)] = np.concatenate(list(tables)).tolist()
        rows = pool.map(
            _answers, folds, [data] * len(folds), firsts, [chosen["threshold"]] * len(folds)
        )
        return chosen, [
            asdict(row)
            for some in track(rows, "held-out patients", total=len(folds))
            for row in some
        ]


def choose(tables: list[Table]) -> dict[str, Any]:
    """The best of ``GRID`` by mean Dice, from Dice of choices × patients × regions of every fold."""
    every = np.concatenate(tables, axis=1)
    means = every.mean((1, 2))
    best = []
    for left_out in range(len(tables)):
        others = [t for number, t in enumerate(tables) if number != left_out] or tables
        best.append(int(np.concatenate(others, axis=1).mean((1, 2)).argmax()))
    threshold, rules = GRID[int(means.argmax())]
    return {
        "threshold": threshold,
        "rules": rules,
        "grid": [
            {"threshold": t, "rules": r, "dice": every[number].mean(0).tolist()}
            for number, (t, r) in enumerate(GRID)
        ],
        "raw": every[0].tolist(),
        "choices_of_other_folds": [GRID[number] for number in best],
        "chosen_by_other_folds": (
            np.concatenate(
                [table[number] for table, number in zip(tables, best, strict=True)]
            ).tolist()
        ),
        "fewer": {},
        "as_shipped": every[int(means.argmax())].tolist(),
    }


def _choices(fold: Path, data: Path) -> Table:
    """Dice of every choice for the patients of a fold, four sequences: choices × patients ×
    regions.
    """
    table, predictors = [], [_predictor(fold, threshold) for threshold in THRESHOLDS]
    for study, truth in _studies(_held_out(fold, data)):
        drawn = [_drawn(predictor, study) for predictor in predictors]
        table.append(
            [
                _dice(clean(depth.copy(), parse_steps(rules), known), truth)
                for (depth, known), rules in product(drawn, RULES)
            ]
        )
    return np.moveaxis(np.asarray(table), 0, 1)


def _cleaned(fold: Path, data: Path, subset: tuple[MRSequence, ...], choice: Choice) -> Table:
    """Dice of one choice for the patients of a fold with a subset of the sequences: patients ×
    regions.
    """
    threshold, rules = choice
    predictor = _predictor(fold, threshold)
    table = []
    for study, truth in _studies(_held_out(fold, data)):
        depth, known = _drawn(predictor, _with(study, subset))
        table.append(_dice(clean(depth, parse_steps(rules), known), truth))
    return np.array(table)


def _answers(fold: Path, data: Path, first: int, threshold: float) -> list[QualityRow]:
    """An answer a patient, subset and region to learn from; patients are numbered from ``first``."""
    predictor, rows = _predictor(fold, threshold), []
    for number, (study, truth) in enumerate(_studies(_held_out(fold, data)), first):
        for subset in SUBSETS:
            answer = predictor.segment(_with(study, subset))
            # Nested: the deeper, the more regions.
            scores = dict(
                zip(REGIONS, _dice(answer.regions.sum(axis=0).astype(np.uint8), truth), strict=True)
            )
            rows += [
                QualityRow(str(number), region, row, scores[region])
                for region, row in answer.quality.features.items()
            ]
    return rows


def _drawn(predictor: Predictor, study: Study) -> tuple[Depth, Known]:
    """What is drawn before any rule, and what rules may know of it."""
    answer = predictor.segment(study)
    known = Known(
        float(np.prod(study.grid.spacing)),
        {region: found["expected_dice"] for region, found in answer.quality.features.items()},
    )
    return answer.regions.sum(axis=0).astype(np.uint8), known


def _with(study: Study, subset: tuple[MRSequence, ...]) -> Study:
    """The study as a site would have it that has these sequences only."""
    return replace(
        study,
        images={sequence: image for sequence, image in study.images.items() if sequence in subset},
    )


def _predictor(fold: Path, threshold: float) -> Predictor:
    """The fold's student at a threshold, without clean-up rules."""
    predictor = Predictor(
        model_of(Experiment.open(fold), "student", fold), threads=1, postprocess=False
    )
    spec = predictor.package.spec
    inference = replace(spec.inference, threshold=threshold)
    predictor.package = replace(predictor.package, spec=replace(spec, inference=inference))
    return predictor


def _held_out(fold: Path, data: Path) -> Cohort:
    return open_cohort(data).labelled().select(sorted(Experiment.open(fold).split["validation"]))


def _studies(cohort: Cohort) -> Iterator[tuple[Study, Table]]:
    """Each study with its true regions."""
    for record in cohort.studies:
        study = load_study(record, cohort.convention)
        assert study.truth is not None and study.convention is not None  # of a labelled cohort
        yield study, study.convention.to_regions(study.truth.data)


def _dice(depth: Depth, truth: Table) -> list[float]:
    """WT, TC, ET; 1 where both are empty."""
    scores = (dice(depth >= level, region) for level, region in zip((1, 2, 3), truth, strict=True))
    return [1.0 if score is None else score for score in scores]
