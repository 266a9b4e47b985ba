"""What the shipped model brings along that only patients unseen by the networks can tell: clean-up rules, and predicted Dice.

Each held-out patient is segmented by the student of that fold, with each of ``SUBSETS``. The rules are the best of ``GRID`` on all of them;
what choosing is worth is told on patients who did not choose: for each fold, by the best of the other folds.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from score import model_of

from gliodistill.evaluation.metrics import dice
from gliodistill.inference.postprocessing import Depth, clean, parse_steps
from gliodistill.inference.predictor import Predictor
from gliodistill.models.quality import QualityRow
from gliodistill.progress import track
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import Study
from gliodistill.training.experiment import Experiment

EVERY = tuple(Sequence)
SUBSETS = (EVERY, (Sequence.T1CE, Sequence.FLAIR), (Sequence.FLAIR,), (Sequence.T1CE,), (Sequence.T1, Sequence.T2))
ET_MM3 = (0, 30, 100, 200, 400, 800)
PARTS_MM3 = (0, 100, 500, 2000)
GRID = [[f"drop_small_components={parts}", f"drop_small_et={et}"] for parts in PARTS_MM3 for et in ET_MM3]
Table = np.ndarray[Any, Any]


def look(folds: list[Path], data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What clean-up rules do, the chosen ones among it; and the rows that predicted Dice is fitted on (patients by number)."""
    held_out = [sorted(Experiment.open(fold).split["validation"]) for fold in folds]
    firsts = [sum(map(len, held_out[:number])) for number in range(len(folds))]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(track(pool.map(_look_at, folds, [data] * len(folds), firsts), "held-out patients", total=len(folds)))
    return choose([table for table, _ in found]), [asdict(row) for _, rows in found for row in rows]


def choose(tables: list[Table]) -> dict[str, Any]:
    """The best rules of ``GRID`` by mean Dice, from Dice of choices × patients × regions of every fold."""
    every = np.concatenate(tables, axis=1)
    means = every.mean((1, 2))
    nested = []
    for left_out, table in enumerate(tables):
        others = [t for number, t in enumerate(tables) if number != left_out] or tables
        nested.append(table[int(np.concatenate(others, axis=1).mean((1, 2)).argmax())])
    return {
        "rules": GRID[int(means.argmax())],
        "grid": [{"rules": rules, "dice": every[number].mean(0).tolist()} for number, rules in enumerate(GRID)],
        "raw": every[0].tolist(),
        "chosen_by_other_folds": np.concatenate(nested).tolist(),
        "as_shipped": every[int(means.argmax())].tolist(),
    }


def _look_at(fold: Path, data: Path, first: int) -> tuple[Table, list[QualityRow]]:
    """One fold: Dice of every choice of rules with four sequences, and an answer a subset and region to learn from."""
    experiment = Experiment.open(fold)
    predictor = Predictor(model_of(experiment, "student", fold), threads=1, postprocess=False)
    cohort = open_cohort(data).labelled().select(sorted(experiment.split["validation"]))
    table, rows = [], []
    for number, record in enumerate(cohort.studies, first):
        study = record.load(cohort.convention)
        assert study.truth is not None and study.convention is not None  # of a labelled cohort
        truth = study.convention.to_regions(study.truth.data)
        for subset in SUBSETS:
            answer = predictor.segment(_only(study, subset))
            depth: Depth = answer.regions.sum(axis=0).astype(np.uint8)  # nested: the deeper, the more regions
            scores = dict(zip(REGIONS, _dice(depth, truth), strict=True))
            rows += [QualityRow(str(number), region, row, scores[region]) for region, row in answer.quality.features.items()]
            if subset == EVERY:
                voxel = float(np.prod(study.grid.spacing))
                table.append([_dice(clean(depth.copy(), parse_steps(rules), voxel), truth) for rules in GRID])
    return np.moveaxis(np.asarray(table), 0, 1), rows


def _only(study: Study, subset: tuple[Sequence, ...]) -> Study:
    return replace(study, images={sequence: image for sequence, image in study.images.items() if sequence in subset})


def _dice(depth: Depth, truth: Table) -> list[float]:
    """WT, TC, ET; 1 where both are empty."""
    scores = (dice(depth >= level, region) for level, region in zip((1, 2, 3), truth, strict=True))
    return [1.0 if score is None else score for score in scores]
