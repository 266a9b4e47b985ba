"""The demo's page: what was learnt, how well, how fast, and what it looks like."""

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gliodistill import __version__
from gliodistill.documents import Refusal, read_json, read_json_lines
from gliodistill.errors import GliodistillError
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import PairedDifference, paired_difference
from gliodistill.images.nifti import read_labels
from gliodistill.networks import flops
from gliodistill.preparation.preparation import Preparation
from gliodistill.reports.distributions import distribution_chart
from gliodistill.reports.html import Section, write_report
from gliodistill.reports.pictures import study_figure
from gliodistill.reports.svg import Series, line_chart
from gliodistill.reports.tables import ModelRow, count, duration, score_table, settings_table, tiles
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.training.experiment import Experiment
from gliodistill.training.loop import LOG, NO_LOG

PICTURES = 3
_NO_SUMMARY = Refusal(GliodistillError, "not a summary of segment")


def write_demo_report(
    path: Path,
    experiment: Experiment,
    testing: Cohort,
    segmentations: Path,
    scores: Mapping[str, Scores],
    difficulty: float,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        experiment: finished; its first run is the teacher, its last the distilled student, between
        them the twin.
        testing: the unseen studies.
        segmentations: one folder a run.
        scores: run → its scores on ``testing``.
        difficulty: of the synthetic studies.
    """
    teacher, twin, student = next(iter(scores)), list(scores)[-2], list(scores)[-1]
    summaries = {run: experiment.summary(run) for run in scores}
    seconds = {run: _seconds(segmentations / run) for run in scores}
    networks = {run: experiment.load_network(run) for run in scores}
    sides = _sides(
        testing,
        experiment.recipe.data.preparation(),
        max(network.divisor for network in networks.values()),
    )
    differences = {
        region: paired_difference(scores[student].values(region), scores[twin].values(region))
        for region in REGIONS
    }
    rows = [
        ModelRow(
            name=run,
            parameters=summaries[run]["parameters"],
            dice={region: scores[run].values(region) for region in REGIONS},
            flops=flops(networks[run], (1, len(experiment.recipe.data.sequences), *sides)),
            seconds=seconds[run],
            difference=differences if run == student else {},
            teacher=run == teacher,
            note=f"trained in {duration(summaries[run]['seconds'])}",
        )
        for run in scores
    ]
    n = len(testing.studies)
    size = "×".join(map(str, sides))
    sections = [
        Section(
            "",
            [
                _verdict(
                    scores[student],
                    summaries[student],
                    summaries[teacher],
                    seconds[student],
                    differences["WT"],
                )
            ],
        ),
        Section(
            "Scores on unseen studies",
            [
                score_table(
                    rows,
                    note=(
                        f"{n} synthetic studies that no network trained on. FLOPs of one pass over"
                        f" {size} voxels. Time: read, prepare, infer (OpenVINO), restore, write."
                        " One seed, settings chosen with these studies in sight: a demonstration,"
                        f" not evidence; an interval over {n} studies is narrow."
                    ),
                ),
            ],
        ),
        Section(
            "Every study, every step",
            [_every_study(scores), *_curves(experiment, list(scores))],
            columns=True,
        ),
        Section("What it looks like", _pictures(testing, segmentations, scores, student)),
        Section(
            "How it was made",
            [
                settings_table(_settings(experiment, n, difficulty), "Data and recipe"),
                settings_table({"rules": scores[student].rules.text}, "Scoring"),
                settings_table(_machine(), "Machine and versions"),
            ],
        ),
    ]
    write_report(
        path,
        "gliodistill demo",
        sections,
        subtitle="Synthetic studies → teacher → small student → segmentation",
        footer=f"gliodistill {__version__}",
    )


def _verdict(
    scores: Scores,
    student: dict[str, float],
    teacher: dict[str, float],
    seconds: float,
    difference: PairedDifference,
) -> object:
    share = student["parameters"] / teacher["parameters"]
    return tiles(
        [
            (
                "Distilled student, whole tumour",
                f"{scores.mean('WT') or 0:.3f}",
                "mean Dice on unseen studies",
            ),
            ("Its size", count(student["parameters"]), f"parameters, {share:.1%} of the teacher’s"),
            ("Its speed", duration(seconds), "a study, from files to file"),
            (
                "Distilled − alone",
                f"{difference.mean:+.3f}",
                f"WT Dice, 95 % interval {difference.low:+.3f} … {difference.high:+.3f}",
            ),
        ]
    )


def _seconds(folder: Path) -> float:
    """Median seconds from files to file."""
    return float(
        np.median(
            [
                sum(read_json(file, _NO_SUMMARY)["seconds"].values())
                for file in folder.glob("*.json")
            ]
        )
    )


def _sides(testing: Cohort, preparation: Preparation, divisor: int) -> tuple[int, int, int]:
    """The first study's prepared grid, padded as inference pads it."""
    x, y, z = preparation.apply(testing.studies[0].load(testing.convention)).shape
    return x + -x % divisor, y + -y % divisor, z + -z % divisor


def _every_study(scores: Mapping[str, Scores]) -> object:
    groups = [(region, [(run, scores[run].values(region)) for run in scores]) for region in REGIONS]
    return distribution_chart(groups, "Dice of every unseen study", "Dice", y_range=(0.0, 1.0))


def _curves(experiment: Experiment, runs: list[str]) -> list[object]:
    logs = {run: read_json_lines(experiment.folder / run / LOG, NO_LOG) for run in runs}
    losses = [
        Series(run, [line["step"] for line in log], [line["loss"]["segmentation"] for line in log])
        for run, log in logs.items()
    ]
    dice = []
    for run, log in logs.items():
        marks = [line for line in log if "dice" in line]
        dice.append(
            Series(run, [line["step"] for line in marks], [line["dice"]["WT"] for line in marks])
        )
    return [
        line_chart(losses, "Segmentation loss on patches", "step", "Dice + cross-entropy"),
        line_chart(
            dice, "Whole-tumour Dice on validation studies", "step", "Dice", y_range=(0.0, 1.0)
        ),
    ]


def _pictures(
    testing: Cohort, segmentations: Path, scores: Mapping[str, Scores], student: str
) -> list[object]:
    """Best, median and worst study of the student, so that nobody is shown the best alone."""
    ranked = sorted(
        scores[student].studies, key=lambda id: -(scores[student].studies[id]["WT"]["dice"] or 0.0)
    )
    chosen = {"worst": ranked[-1], "median": ranked[len(ranked) // 2], "best": ranked[0]}
    records = {record.id: record for record in testing.studies}
    figures: list[object] = []
    for rank, id in chosen.items():
        study = records[id].load(testing.convention)
        assert study.truth is not None and study.convention is not None
        predictions = {
            run: study.convention.to_regions(read_labels(segmentations / run / f"{id}.nii.gz").data)
            for run in scores
        }
        title = f"{rank.capitalize()} of {len(ranked)} by the student’s whole-tumour Dice"
        figures.append(
            study_figure(
                study, predictions, study.convention.to_regions(study.truth.data), title, note=id
            )
        )
    return figures


def _settings(experiment: Experiment, tested: int, difficulty: float) -> dict[str, object]:
    recipe, split = experiment.recipe, experiment.split
    first = next(iter(recipe.runs.values())).training
    return {
        "studies": (
            f"{len(split['training'])} to train on, {len(split['validation'])} to validate on,"
            f" {tested} to test on; all synthetic, difficulty {difficulty:g} of 2"
        ),
        "sequences": ", ".join(recipe.data.sequences),
        "voxel": "×".join(f"{s:g}" for s in recipe.data.spacing or ()) + " mm",
        "patch × batch": f"{'×'.join(map(str, recipe.sampling.patch))} × {recipe.sampling.batch}",
        "optimiser": f"{first.optimiser.name}, rate {first.optimiser.rate:g}",
        **{
            f"run {name}": (
                f"{run.network.name} {run.network.options}, {run.method.name}, {run.training.steps}"
                " steps"
            )
            for name, run in recipe.runs.items()
        },
    }


def _machine() -> dict[str, object]:
    import torch

    from gliodistill.models.quiet import import_openvino

    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "processor": f"{model}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": import_openvino().__version__,
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
