"""Does distillation change a student's predictions or only its confidence? Dice of its runs for
several thresholds.

    python -m benchmarks.distillation.thresholds EXPERIMENT STUDIES RUN... -o
    benchmarks/results/distillation/thresholds

On the prepared grid, for some subsets of the sequences, on labelled studies that are neither
training nor test studies (of the synthetic protocol: its pool, whose references are not used in
training). Results: NAME.json and NAME.md.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.distillation.score import subset_name
from benchmarks.provenance import write_results
from gliodistill.evaluation.metrics import dice
from gliodistill.preparation.prepared import Prepared
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import load_study
from gliodistill.training.experiment import Experiment
from gliodistill.training.validation import whole_volume_logits

THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.1)
T1CE, T2, FLAIR = MRSequence.T1CE, MRSequence.T2, MRSequence.FLAIR
SUBSETS = (tuple(MRSequence), (T2, FLAIR), (T1CE, FLAIR), (T1CE, T2), (FLAIR,), (T2,))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--studies", type=int, default=30, help="the first by id")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without ending")
    arguments = parser.parse_args()
    experiment = Experiment.open(arguments.experiment)
    cohort = open_cohort(arguments.cohort).labelled()
    records = sorted(cohort.studies, key=lambda record: record.id)[: arguments.studies]
    preparation = experiment.recipe.data.preparation_in_use()
    studies = [preparation.apply(load_study(record, cohort.convention)) for record in records]
    found = {run: measure(experiment, run, studies) for run in arguments.runs}
    lines = [
        f"| sequences | run | {' | '.join(f'above {t}' for t in THRESHOLDS)} |",
        f"|---|---|{'---|' * len(THRESHOLDS)}",
    ]
    for subset in map(subset_name, SUBSETS):
        for run, subsets in found.items():
            if subset in subsets:
                cells = [
                    " / ".join(f"{value:.1f}" for value in subsets[subset][str(t)])
                    for t in THRESHOLDS
                ]
                lines.append(f"| {subset.replace('+', ' + ')} | {run} | {' | '.join(cells)} |")
    command = (
        "python -m benchmarks.distillation.thresholds EXPERIMENT STUDIES"
        f" {' '.join(arguments.runs)} -o OUT"
    )
    note = (
        f"Dice WT / TC / ET, means over {len(studies)} studies, as prepared; both masks empty: 1."
        f" Command: `{command}`."
    )
    facts = {"command": command, "studies": len(studies), "runs": found}
    write_results(arguments.output, facts, "\n".join(lines) + f"\n\n{note}\n")


@torch.inference_mode()
def measure(experiment: Experiment, run: str, studies: list[Prepared]) -> dict[str, dict[str, Any]]:
    """Subset → threshold → mean Dice of WT, TC, ET; of a run that never drops a sequence all four
    alone.
    """
    network, outputs = experiment.load_network(run), experiment.recipe.runs[run].outputs
    drops = experiment.recipe.runs[run].augmentation.modality_dropout.p
    result: dict[str, dict[str, Any]] = {}
    for subset in SUBSETS if drops else SUBSETS[:1]:
        scores = []
        for study in studies:
            image = torch.from_numpy(study.values())
            for channel, sequence in enumerate(experiment.recipe.data.sequences):
                if sequence not in subset:
                    image[channel] = 0
            chances = whole_volume_logits(network, image, outputs).sigmoid().numpy()
            pairs = [
                [
                    dice(p > t, truth)
                    for p, truth in zip(chances, study.truth_regions(), strict=True)
                ]
                for t in THRESHOLDS
            ]
            scores.append([[1.0 if value is None else value for value in row] for row in pairs])
        means = 100 * np.mean(scores, axis=0)
        result[subset_name(subset)] = {
            str(t): row.round(2).tolist() for t, row in zip(THRESHOLDS, means, strict=True)
        }
    return result


if __name__ == "__main__":
    main()
