"""The demo's page: teacher, baseline and distilled student, and their difference."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gliodistill import __version__
from gliodistill.demo.scenario import Scenario
from gliodistill.demo.study import (
    BASELINE,
    DISTILLED,
    TEACHER_RUN,
    DemoStudy,
    dice_of,
    difference,
    mean_dice,
)
from gliodistill.documents import Refusal, read_json, read_json_lines
from gliodistill.errors import GliodistillError
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import paired_difference
from gliodistill.images.nifti import read_labels
from gliodistill.models.package import ModelPackage
from gliodistill.networks import build, flops
from gliodistill.reports.charts.distributions import distribution_chart
from gliodistill.reports.charts.forest import Estimate, forest_table
from gliodistill.reports.charts.pictures import study_figure
from gliodistill.reports.charts.svg import Series, line_chart
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import Html
from gliodistill.reports.page.tables import (
    ModelRow,
    count,
    duration,
    score_table,
    settings_table,
    tiles,
)
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.study import load_study
from gliodistill.training.experiment import Experiment
from gliodistill.training.log import LOG, NO_LOG

_NO_SUMMARY = Refusal(GliodistillError, "not a summary of segment")


@dataclass(frozen=True)
class Result:
    """One model on the test studies.

    Attributes:
        package: the model.
        scores: of its segmentations.
        segmentations: their folder.
    """

    package: ModelPackage
    scores: Scores
    segmentations: Path

    @property
    def seconds(self) -> float:
        """Median seconds a study, from files to file."""
        times = [
            sum(read_json(self.segmentations / f"{id}.json", _NO_SUMMARY)["seconds"].values())
            for id in self.scores.studies
        ]
        return float(np.median(times))


def write_demo_report(
    path: Path,
    experiment: Experiment,
    testing: Cohort,
    results: Mapping[str, Result],
    scenario: Scenario,
    seed: int,
    study: DemoStudy,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        experiment: finished, with the runs ``baseline`` and ``distilled``.
        testing: the test studies.
        results: of ``teacher``, ``baseline`` and ``distilled``, in this order.
        scenario: how many studies of each kind there are.
        seed: of this run.
        study: the demo's results with several seeds.
    """
    dice = dice_of({run: result.scores for run, result in results.items()})
    sections = [
        Section("", [_tiles(results, dice, scenario, study)]),
        Section("Does distillation help?", [_forest(dice, seed, study), _in_words(study)]),
        Section("Example", [_picture(testing, results)]),
        Section("Scores on the test studies", [_scores(results, testing)]),
        Section(
            "Dice of each study, loss of each step", _details(results, experiment), columns=True
        ),
        Section(
            "Method",
            [
                settings_table(_settings(experiment, results, scenario, seed), "Data and recipe"),
                settings_table(_machine(), "Machine and versions"),
            ],
        ),
        Section("How it was scored", [results[DISTILLED].scores.rules.text]),
    ]
    write_report(
        path,
        "Distilling a small student with a teacher’s labels",
        sections,
        subtitle=(
            f"gliodistill demo: {scenario.labelled} labelled and {scenario.unlabelled} unlabelled"
            " synthetic studies, one teacher, the same small student with and without distillation"
        ),
        footer=f"gliodistill {__version__}",
    )


def _tiles(
    results: Mapping[str, Result],
    dice: Mapping[str, Mapping[str, list[float]]],
    scenario: Scenario,
    study: DemoStudy,
) -> Html:
    learnt = {
        TEACHER_RUN: "already trained, on other synthetic studies",
        BASELINE: f"trained on {scenario.labelled} labelled studies",
        DISTILLED: f"also on the teacher’s labels for {scenario.unlabelled} unlabelled studies",
    }
    found = study.difference()
    gain = (
        "Gain in mean Dice",
        _signed(difference(dice).mean),
        f"distilled − baseline in this run; mean of {len(study.seeds)} seeds:"
        f" {_signed(found.mean)}, 95 % interval {_signed(found.low)} to {_signed(found.high)}",
    )
    models = [
        (
            f"Mean Dice, {run}",
            f"{mean_dice(dice, run).mean():.3f}",
            f"{learnt[run]}; {_unbroken(count(result.package.runtime.parameters))} parameters,"
            f" {_unbroken(duration(result.seconds))} a study",
        )
        for run, result in results.items()
    ]
    return tiles([gain, *models])


def _forest(dice: Mapping[str, Mapping[str, list[float]]], seed: int, study: DemoStudy) -> Html:
    here, found = difference(dice), study.difference()
    rows = [Estimate(f"seed {seed}", *here, group="This run")]
    rows += [
        Estimate(f"seed {one}", *interval, group="The committed study")
        for one, interval in study.differences().items()
    ]
    rows.append(Estimate("mean", *found, group="The committed study, all seeds together"))
    return forest_table(
        rows,
        "Distilled − baseline: mean Dice of WT, TC and ET on the test studies",
        estimate="Δ Dice [95 %]",
        worse_better=("baseline better", "distilled better"),
    )


def _in_words(study: DemoStudy) -> str:
    settings, found, seeds = study.settings, study.difference(), len(study.seeds)
    interval = f"95 % interval {_signed(found.low)} to {_signed(found.high)}"
    shown = (
        f"Over {seeds} seeds, distillation raises the mean Dice by {found.mean:.3f} ({interval})."
        if found.low > 0
        else f"Over {seeds} seeds, no difference is shown: {_signed(found.mean)}, {interval}."
    )
    return (
        f"{shown} Each seed draws new labelled, unlabelled and test studies, new first weights and"
        " new patches. Teacher, student, steps and augmentation stay the same. A seed’s interval is"
        f" a bootstrap over its {settings['testing']} test studies; the interval of the mean is"
        " Student’s t over the seeds. All settings were chosen with seed"
        f" {study.development_seed}, which is not among them. Synthetic studies vary less than"
        " patients: this page demonstrates the method and says nothing about patients."
    )


def _scores(results: Mapping[str, Result], testing: Cohort) -> Html:
    networks = {
        run: build(result.package.spec.network.name, **result.package.spec.network.options)
        for run, result in results.items()
    }
    divisor = max(network.divisor for network in networks.values())
    sides = _sides(testing, results[DISTILLED].package, divisor)
    baseline, distilled = results[BASELINE].scores, results[DISTILLED].scores
    differences = {
        region: paired_difference(distilled.values(region), baseline.values(region))
        for region in REGIONS
    }
    rows = [
        ModelRow(
            name=run,
            parameters=result.package.runtime.parameters,
            dice={region: result.scores.values(region) for region in REGIONS},
            flops=flops(networks[run], (1, len(result.package.sequences), *sides)),
            seconds=result.seconds,
            difference=differences if run == DISTILLED else {},
            teacher=run == TEACHER_RUN,
        )
        for run, result in results.items()
    ]
    return score_table(
        rows,
        note=(
            f"{len(testing.studies)} synthetic studies that no network trained on. FLOPs: one pass"
            f" over {'×'.join(map(str, sides))} voxels. Time: read, prepare, infer (OpenVINO),"
            " restore, write."
        ),
    )


def _sides(testing: Cohort, package: ModelPackage, divisor: int) -> tuple[int, int, int]:
    """The first study's prepared grid, padded as in inference."""
    study = load_study(testing.studies[0], testing.convention)
    x, y, z = package.preparation.apply(study).shape
    return x + -x % divisor, y + -y % divisor, z + -z % divisor


def _details(results: Mapping[str, Result], experiment: Experiment) -> list[object]:
    # The students first, so that both charts give them the same colours.
    order = (BASELINE, DISTILLED, TEACHER_RUN)
    groups = [
        (region, [(run, results[run].scores.values(region)) for run in order]) for region in REGIONS
    ]
    losses = []
    for run in order[:2]:
        log = read_json_lines(experiment.folder / run / LOG, NO_LOG)
        losses.append(
            Series(
                run,
                [line["step"] for line in log],
                [line["loss"]["segmentation"] for line in log],
            )
        )
    return [
        distribution_chart(groups, "Dice of every test study", "Dice", y_range=(0.0, 1.0)),
        line_chart(losses, "Segmentation loss on patches", "step", "Dice + cross-entropy"),
    ]


def _picture(testing: Cohort, results: Mapping[str, Result]) -> Html:
    """The study on which distilled − baseline is the median, so that the gain shown is typical."""
    dice = dice_of({run: results[run].scores for run in (BASELINE, DISTILLED)})
    gains = mean_dice(dice, DISTILLED) - mean_dice(dice, BASELINE)
    ids = sorted(results[DISTILLED].scores.studies)
    chosen = ids[int(np.argsort(gains, kind="stable")[len(ids) // 2])]
    record = next(record for record in testing.studies if record.id == chosen)
    study = load_study(record, testing.convention)
    assert study.truth is not None and study.convention is not None
    predictions = {
        run: study.convention.to_regions(
            read_labels(result.segmentations / f"{chosen}.nii.gz").data
        )
        for run, result in results.items()
    }
    return study_figure(
        study,
        predictions,
        study.convention.to_regions(study.truth.data),
        f"The test study with the median difference distilled − baseline, of {len(ids)}",
        note=chosen,
    )


def _settings(
    experiment: Experiment, results: Mapping[str, Result], scenario: Scenario, seed: int
) -> dict[str, object]:
    recipe, teacher = experiment.recipe, results[TEACHER_RUN].package.spec
    first = recipe.runs[BASELINE].training
    settings: dict[str, object] = {
        "studies": (
            f"{scenario.labelled} labelled, {scenario.unlabelled} unlabelled,"
            f" {scenario.testing} to test on; all synthetic, difficulty"
            f" {scenario.difficulty:g} of 2; seed {seed}"
        ),
        "sequences": ", ".join(recipe.data.sequences),
        "voxel": "×".join(f"{s:g}" for s in recipe.data.spacing or ()) + " mm",
        "patch × batch": f"{'×'.join(map(str, recipe.sampling.patch))} × {recipe.sampling.batch}",
        "optimiser": f"{first.optimiser.name}, rate {first.optimiser.rate:g}",
        "teacher": (
            f"{teacher.network.name} {teacher.network.options.get('widths', '')},"
            f" {teacher.training.steps} steps; {teacher.training.data}"
        ),
    }
    for name, run in recipe.runs.items():
        pseudo = f", {run.pseudo.share:.0%} pseudo-labelled patches" if run.pseudo.share else ""
        seconds = duration(experiment.summary(name)["seconds"])
        settings[name] = (
            f"{run.network.name} {run.network.options.get('widths', '')},"
            f" {run.training.steps} steps in {seconds}{pseudo}"
        )
    return settings


def _machine() -> dict[str, object]:
    import torch

    from gliodistill.models.telemetry import import_openvino

    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "processor": model,
        "threads of torch": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": import_openvino().__version__,
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def _unbroken(quantity: str) -> str:
    """A number and its unit on one line."""
    return quantity.replace(" ", "\u00a0")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
