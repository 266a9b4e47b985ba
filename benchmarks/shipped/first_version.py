"""Scores of `glioma@1` on the patients of the new cohort, for a paired comparison.

It was trained on 25 of them. For these, the committed scores of its own cross-validation count
(`benchmarks/results/shipped/cross_validation.json`: networks of the same recipe that had not seen
the patient); all others are segmented by the shipped weights.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shipped.held_out import Fold, Subset, score
from gliodistill.images.nifti import read_labels
from gliodistill.studies.cohort import Cohort, split_patients

RESULTS = Path(__file__).parents[1] / "results" / "shipped" / "cross_validation.json"
FOLDS = 5
MODEL = "glioma@1"
Scores = dict[str, dict[str, list[float]]]
"""Study → subset → Dice of WT, TC, ET."""


def first_version(
    manifest: Path,
    cohort: Cohort,
    seen: list[str],
    out: Path,
    processes: int,
    subsets: list[Subset],
) -> Scores:
    """Dice of the first version of the shipped model, for every study that it can be scored on.

    Args:
        manifest: of the cohort.
        cohort: its studies with a whole label map.
        seen: ids of the 25 that it was trained on; empty leaves the committed scores out.
        out: folder for what is found.
        processes: at once.
        subsets: to score.
    """
    others = tuple(s.id for s in cohort.studies if s.id not in seen)
    found = score([Fold("first", MODEL, others)], manifest, out, processes, subsets)
    scores = {
        id: {subset: facts["dice"] for subset, facts in by_subset.items()}
        for id, by_subset in found.items()
    }
    return scores | (committed(cohort, seen) if seen else {})


def committed(cohort: Cohort, seen: list[str]) -> Scores:
    """The committed scores of the 25, which name nobody: by the split that they come from.

    Raises:
        SystemExit: they are of other patients; tumour volumes tell.
    """
    kept: dict[str, Any] = json.loads(RESULTS.read_text())
    order = [
        id
        for fold in range(1, FOLDS + 1)
        for id in sorted(split_patients({id: id for id in seen}, f"{fold}/{FOLDS}")[1])
    ]
    if len(order) != kept["patients"]:
        raise SystemExit(f"{len(order)} patients seen by {MODEL}, expected {kept['patients']}")
    records = {record.id: record for record in cohort.studies}
    for id, volumes in zip(order, kept["volumes_ml"], strict=True):
        truth = records[id].truth
        assert truth is not None and cohort.convention is not None  # of a labelled cohort
        labels = read_labels(truth.path)
        own = cohort.convention.to_regions(labels.data).sum((1, 2, 3)) * labels.voxel_ml
        if not np.allclose(own, volumes, rtol=0.1, atol=1.5):
            raise SystemExit(f"{RESULTS.name} is of other patients, or in another order")
    return {
        id: {subset: values["dice"][number] for subset, values in kept["subsets"].items()}
        for number, id in enumerate(order)
    }
