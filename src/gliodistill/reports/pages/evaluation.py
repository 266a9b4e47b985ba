"""The page of an evaluation: scores, distributions, failures, rules."""

import platform
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from os import PathLike

from gliodistill import __version__
from gliodistill.evaluation.conclusions import FEW
from gliodistill.evaluation.evaluate import Pairs
from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.scores import Scores
from gliodistill.reports.charts.bland_altman import bland_altman_chart
from gliodistill.reports.charts.distributions import distribution_chart
from gliodistill.reports.charts.reliability import reliability_chart
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import Html
from gliodistill.reports.page.sorting import SORTING
from gliodistill.reports.page.tables import settings_table
from gliodistill.reports.pages.cases import case_figures
from gliodistill.reports.pages.cohort_table import cohort_table
from gliodistill.reports.pages.summary import (
    heading,
    headline,
    is_count,
    lesion_table,
    measured,
    per_study,
    region_words,
    summary_table,
)

BOUNDED = ("dice", "nsd", "sensitivity", "f1")
"""Suffixes of metrics with an axis from 0 to 1."""

CALIBRATION = (
    "A calibrated network lies on the dashed diagonal; below it, the network is overconfident."
    " The area of a dot grows with its bin’s share of the voxels. The rules define which voxels"
    " count."
)


def write_evaluation_report(
    path: str | PathLike[str],
    scores: Scores,
    pairs: Pairs | None = None,
    *,
    title: str = "Evaluation",
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write one self-contained HTML page; equal input gives equal bytes.

    Study ids are the only patient-related data on it; no image header is shown.

    Args:
        path: of the HTML file.
        scores: of one set of predictions.
        pairs: files of predictions, references and images, to show the worst and best studies;
            None: no pictures.
        title: heading, e.g. the model's name.
        settings: additional provenance.

    Raises:
        OutputError: it cannot be written.
    """
    write_report(
        path,
        title,
        _sections(scores, pairs, settings or {}),
        subtitle=_subtitle(scores),
        footer=f"gliodistill {__version__}",
        scripts=[SORTING],
        contents=True,
    )


def _subtitle(scores: Scores) -> str:
    count = len(scores.studies) + len(scores.failed)
    return (
        f"{count} {'study' if count == 1 else 'studies'} · rules {scores.rules.name} · task"
        f" {scores.rules.task}"
    )


def _sections(scores: Scores, pairs: Pairs | None, settings: Mapping[str, str]) -> list[Section]:
    figures = case_figures(scores, pairs) if pairs is not None else []
    cases = {figure.study: figure.anchor for figure in figures}
    sections = [
        Section("", [headline(scores)]),
        Section("Regions", [region_words(scores), summary_table(scores), *_few(scores)]),
        Section("Distributions", _distributions(scores), columns=True),
        Section("Volumes", _volumes(scores), columns=True),
        Section("Lesions", [lesion_table(scores)]),
    ]
    if scores.calibration:
        sections.append(Section("Calibration", [_reliability(scores), CALIBRATION], columns=True))
    for kind in ("Worst", "Best"):
        if shown := [figure.markup for figure in figures if figure.kind == kind]:
            sections.append(Section(f"{kind} cases", shown, columns=True))
    return [
        *sections,
        Section(
            "Every study", [cohort_table(replace(scores, failed=_reasons(scores, pairs)), cases)]
        ),
        Section("Rules", [*_sentences(scores.rules.text), *_method()]),
        Section("Settings and versions", [settings_table(_settings(scores, settings))]),
    ]


def _reasons(scores: Scores, pairs: Pairs | None) -> dict[str, str]:
    """Reasons of failures without the files' folders, whose names may identify patients."""
    reasons = dict(scores.failed)
    for pair in pairs.pairs if pairs is not None else ():
        files = [
            pair.prediction.path,
            pair.truth.path,
            *([pair.probabilities] if pair.probabilities else []),
        ]
        for file in files if pair.id in reasons else ():
            reasons[pair.id] = reasons[pair.id].replace(str(file), file.name)
    return reasons


def _few(scores: Scores) -> list[str]:
    count = len(scores.studies)
    return (
        [f"Only {count} studies: intervals over so few are too narrow."] if 1 < count < FEW else []
    )


def _distributions(scores: Scores) -> list[Html]:
    charts = []
    for metric in measured(scores):
        fact = FACTS[metric]
        # Most voxels are outside every tumour: specificity is near 1 for any plausible prediction.
        if not fact.better or is_count(metric) or metric == "specificity":
            continue
        groups = [
            (region, [("", per_study(scores, region, metric))]) for region in scores.rules.regions
        ]
        label = f"{fact.better} is better"
        y_range = (0.0, 1.0) if metric.endswith(BOUNDED) else None
        charts.append(
            distribution_chart(
                groups, heading(metric), label, y_range=y_range, studies=sorted(scores.studies)
            )
        )
    return charts


def _volumes(scores: Scores) -> list[Html]:
    return [
        bland_altman_chart(
            per_study(scores, region, "prediction_ml"),
            per_study(scores, region, "truth_ml"),
            region,
            "ml",
            studies=sorted(scores.studies),
        )
        for region in scores.rules.regions
    ]


def _reliability(scores: Scores) -> Html:
    assert scores.calibration is not None
    return reliability_chart(list(scores.calibration.items()), "Reliability")


def _sentences(text: str) -> list[str]:
    """The rules as paragraphs of two sentences."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", text)
    return [" ".join(sentences[at : at + 2]) for at in range(0, len(sentences), 2)]


def _method() -> list[str]:
    return [
        "On this page: intervals of means are 95 % percentile bootstrap intervals over studies (10"
        " 000 resamples, fixed seed). Boxes span the quartiles, whiskers reach the outermost"
        " value within 1.5 interquartile ranges, the diamond is the mean. Limits of agreement are"
        " mean ± 1.96 sample standard deviations of the differences (Bland and Altman 1986)."
        " Studies with an undefined value are left out of that mean or plot; n is the number of"
        " the others."
    ]


def _settings(scores: Scores, more: Mapping[str, str]) -> dict[str, object]:
    rules = scores.rules
    tolerance = "that of the rules" if rules.tolerance_mm is None else f"{rules.tolerance_mm:g} mm"
    return {
        "rules": rules.name,
        "task": rules.task,
        "regions": ", ".join(rules.regions),
        "tolerance of NSD": tolerance,
        **{name.replace("_", " "): value for name, value in {**scores.provenance, **more}.items()},
        "gliodistill": __version__,
        "Python": platform.python_version(),
        "NumPy": version("numpy"),
        "SciPy": version("scipy"),
    }
