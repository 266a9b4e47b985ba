"""Runs on test studies by the road users take: export, segment files to files, evaluate."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.scores import Scores
from gliodistill.files import make_folder, remove_folder, write_text
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.models.package import DESCRIPTION
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export

METRICS = (("dice", 4), ("hd95_mm", 2))
SUBSETS = [subset for size in (1, 2, 3, 4) for subset in combinations(MRSequence, size)]
"""All 15 subsets of the four sequences."""


def subsets_of(sequences: Iterable[MRSequence]) -> list[tuple[MRSequence, ...]]:
    """The non-empty subsets of some sequences."""
    among = set(sequences)
    return [subset for subset in SUBSETS if among.issuperset(subset)]


def subset_name(subset: tuple[MRSequence, ...]) -> str:
    """E.g. ``T1CE+FLAIR``."""
    return "+".join(subset)


def score_run(
    experiment: Experiment,
    run: str,
    cohort: Path,
    ids: list[str] | None,
    scratch: Path,
    *,
    few: list[str] | None = None,
) -> dict[str, Any]:
    """Dice and HD95 of one run; kept in ``scratch`` so that it is done once.

    Args:
        experiment: holds the run, finished.
        run: its name.
        cohort: labelled studies.
        ids: only these.
        scratch: for the model, the segmentations and ``scores/<run>.json``.
        few: studies on which each of the 15 subsets is scored too, missing sequences left out of
            the study.
    """
    kept = scratch / "scores" / f"{run}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    facts = experiment.summary(run)
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if found.get("weights_sha256") != facts["weights_sha256"]:
        keys = ("parameters", "steps", "seconds", "weights_sha256")
        found = {
            **{key: facts[key] for key in keys},
            "gflops_a_patch": facts["flops"] / 1e9,
            "scores": {},
            "subsets": {},
        }
    own = subset_name(
        tuple(experiment.recipe.runs[run].sequences or experiment.recipe.data.sequences)
    )
    todo = [("scores", own, ids)] + [
        ("subsets", subset_name(subset), few)
        for subset in subsets_of(experiment.recipe.data.sequences)
        if few is not None
    ]
    todo = [task for task in todo if task[1] not in found[task[0]]]
    if not todo:
        return found
    predictor = Predictor(model_of(experiment, run, scratch), threads=1)
    if (
        few is not None
    ):  # a model that was not trained for it gets zeros, the value of a missing sequence
        spec = dataclasses.replace(
            predictor.package.spec, may_lack=predictor.package.spec.sequences
        )
        predictor.package = dataclasses.replace(predictor.package, spec=spec)
    studies = open_cohort(cohort).labelled()
    for kind, subset, chosen in todo:
        those = studies if chosen is None else studies.select(chosen)
        with TemporaryDirectory(dir=make_folder(scratch), prefix="segmentations-") as out:
            report = segment_studies(_only(those, subset).studies, predictor, out)
            result = evaluate(out, cohort, subset=True, jobs=1)
        for line in (*report.failed.values(), *result.failed.values()):
            raise SystemExit(f"{run}: {line}")
        found[kind][subset], found["rules"] = scores_of(result), result.rules.text
        write_text(kept, json.dumps(found))
    print(f"scored {run}", file=sys.stderr, flush=True)
    return found


def model_of(experiment: Experiment, run: str, scratch: Path) -> Path:
    """The run's exported model, made anew where the run was trained anew."""
    model, mark = scratch / "models" / run, scratch / "models" / f"{run}.sha256"
    weights = experiment.summary(run)["weights_sha256"]
    if not (model.exists() and mark.exists() and mark.read_text() == weights):
        if model.exists():
            remove_folder(model, DESCRIPTION)
        model.parent.mkdir(parents=True, exist_ok=True)
        export(experiment.folder / run, model)
        mark.write_text(weights)
    return model


def scores_of(result: Scores) -> dict[str, Any]:
    """Dice and HD95 of every study in order of id, which is left out; regions WT, TC, ET; and a
    digest of who was scored.
    """
    rows = [values for _, values in sorted(result.studies.items())]
    scores = {
        metric: [[round(row[region][metric], digits) for region in REGIONS] for row in rows]
        for metric, digits in METRICS
    }
    return {
        **scores,
        "studies": hashlib.sha256("\n".join(sorted(result.studies)).encode()).hexdigest()[:12],
    }


def _only(cohort: Cohort, subset: str) -> Cohort:
    """The studies as a site would have them that lacks the other sequences."""
    wanted = subset.split("+")
    studies = (
        dataclasses.replace(s, images={k: v for k, v in s.images.items() if k in wanted})
        for s in cohort.studies
    )
    return dataclasses.replace(cohort, studies=tuple(studies))
