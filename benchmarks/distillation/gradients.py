"""What pulls at a student, and which way: the gradient of each loss term of a run, fresh and
trained.

    python -m benchmarks.distillation.gradients EXPERIMENT RUN... -o
    benchmarks/results/distillation/gradients

For the first batches of a run, with the weights that it starts from and with those it ended with:
the norm of each term's gradient on the student's weights, and its cosine with that of the
segmentation term (negative: the two pull against each other). Means over batches. Weights are those
of the moving average, in training mode; nothing is changed on disk but the results, NAME.json and
NAME.md.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import write_results
from gliodistill.preparation.cache import Cache
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.experiment import Experiment
from gliodistill.training.resolve import resolve_run

OWN = "segmentation"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, required=True, help="without ending")
    arguments = parser.parse_args()
    experiment = Experiment.open(arguments.experiment)
    found = {run: measure(experiment, run, arguments.batches) for run in arguments.runs}
    lines = [
        (
            "| run | term | fresh: norm | cosine with segmentation | trained: norm | cosine with"
            " segmentation |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for run, stages in found.items():
        for term in stages["fresh"]:
            cells = [
                f"{stages[stage][term]['norm']:.3f} | {stages[stage][term]['cosine']:+.2f}"
                for stage in ("fresh", "trained")
            ]
            lines.append(f"| {run} | {term} | {' | '.join(cells)} |")
    command = (
        f"python -m benchmarks.distillation.gradients EXPERIMENT {' '.join(arguments.runs)} -o OUT"
    )
    note = (
        f"Gradients on the student's weights, means over {arguments.batches} batches. Command:"
        f" `{command}`."
    )
    facts = {"command": command, "batches": arguments.batches, "runs": found}
    write_results(arguments.output, facts, "\n".join(lines) + f"\n\n{note}\n")


def measure(
    experiment: Experiment, name: str, batches: int
) -> dict[str, dict[str, dict[str, float]]]:
    """``fresh`` and ``trained`` → term → norm and cosine."""
    recipe, run = experiment.recipe, experiment.recipe.runs[name]
    torch.manual_seed(run.seed)
    method = resolve_run(recipe, name).build_method(experiment.load_network)
    studies = Cache.open(experiment.cache).select(set(experiment.split["training"]))
    sampler = PatchSampler(
        studies, recipe.sampling, run.augmentation, run.seed, resolve_run(recipe, name).channels
    )
    result = {"fresh": _pull(method, sampler, batches)}
    for role, network in method.learners.items():
        network.load_state_dict(experiment.load_network(name, role).state_dict())
    return {**result, "trained": _pull(method, sampler, batches)}


def _pull(method: Any, sampler: PatchSampler, batches: int) -> dict[str, dict[str, float]]:
    for network in method.learners.values():
        network.to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    weights = list(method.student.parameters())
    sums: dict[str, dict[str, float]] = {}
    for step in range(batches):
        terms = method.losses(sampler.batch(step).to(torch.device("cpu")))
        pulls = {name: _gradient(term, weights) for name, term in terms.items()}
        for name, pull in pulls.items():
            if not pull.any():
                continue  # a term of only the other network
            kept = sums.setdefault(name, {"norm": 0.0, "cosine": 0.0})
            kept["norm"] += float(pull.norm()) / batches
            kept["cosine"] += float(torch.cosine_similarity(pull, pulls[OWN], dim=0)) / batches
    return sums


def _gradient(term: Tensor, weights: list[Tensor]) -> Tensor:
    parts = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(w) if part is None else part).flatten()
            for part, w in zip(parts, weights, strict=True)
        ]
    )


if __name__ == "__main__":
    main()
