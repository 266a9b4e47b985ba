"""Summary of a cohort's scores: tiles, a table per region and metric, lesion counts."""

import math
from collections.abc import Sequence

import numpy as np

from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.reports.charts.axes import minus
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.reports.page.tables import tiles

WORDS = {
    "NETC": "non-enhancing core",
    "SNFH": "surrounding FLAIR hyperintensity",
    "RC": "resection cavity",
}
"""What challenges score besides a task's regions, in their words."""


def words(scores: Scores, region: str) -> str:
    """A region in words."""
    task = scores.rules.described
    if region in WORDS and region not in task.names:
        return WORDS[region]
    return task.look(region).words


def heading(metric: str) -> str:
    """A metric's title with its unit, e.g. ``HD95, mm``."""
    fact = FACTS[metric]
    return _capital(f"{fact.title}, {fact.unit}" if fact.unit else fact.title)


def shown(metric: str, value: float | None) -> str:
    """A value in its metric's format; a dash if undefined."""
    return "–" if value is None else minus(format(value, FACTS[metric].format))


def is_count(metric: str) -> bool:
    """Whether a metric counts lesions; its sum is in :func:`lesion_table`."""
    return metric.endswith(("_tp", "_fp", "_fn"))


def measured(scores: Scores) -> list[str]:
    """The metrics that have a value in any study and region (calibration has none without
    probabilities).
    """
    return [
        metric
        for metric in scores.rules.metrics
        if any(scores.values(region, metric) for region in scores.rules.regions)
    ]


def per_study(scores: Scores, region: str, metric: str) -> list[float]:
    """One value per study, ordered by id, NaN if undefined."""
    values = (scores.studies[study][region][metric] for study in sorted(scores.studies))
    return [math.nan if value is None else value for value in values]


def headline(scores: Scores) -> Html:
    """Tiles: number of studies, and Dice per region with its interval."""
    done, failed = len(scores.studies), len(scores.failed)
    detail = f"scored; {failed} failed, reasons below" if failed else "scored, none failed"
    entries = [("Studies", f"{done} of {done + failed}" if failed else str(done), detail)]
    for region in scores.rules.regions:
        values, distances = scores.values(region), scores.values(region, "hd95_mm")
        details: list[str] = []
        if len(values) > 1:
            low, high = mean_interval(values)
            details += [f"mean, 95 % interval {low:.3f} to {high:.3f}", tag("br")]
        if distances:
            details.append(f"HD95 median {float(np.median(distances)):.1f} mm")
        mean = scores.mean(region)
        entries.append((f"{region} Dice", "–" if mean is None else f"{mean:.3f}", join(*details)))
    return tiles(entries)


def region_words(scores: Scores) -> Html:
    """Meaning of the regions' abbreviations."""
    return tag(
        "p",
        "; ".join(f"{region} {words(scores, region)}" for region in scores.rules.regions) + ".",
        class_="muted",
    )


def summary_table(scores: Scores) -> Html:
    """Metrics × regions: mean with its bootstrap interval, median with quartiles; n if it is not
    every study.
    """
    regions = scores.rules.regions
    head = tag(
        "tr",
        tag("th", "Metric", scope="col"),
        *(tag("th", region, scope="col", class_="number") for region in regions),
    )
    body = []
    for metric in measured(scores):
        if is_count(metric):
            continue
        better = FACTS[metric].better
        cells = [
            tag(
                "td",
                _summary(scores.values(region, metric), metric, len(scores.studies)),
                class_="number",
                data_label=region,
            )
            for region in regions
        ]
        body.append(
            tag(
                "tr",
                tag(
                    "th",
                    heading(metric),
                    tag("small", f"{better} is better") if better else "",
                    scope="row",
                ),
                *cells,
            )
        )
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack summary")
    note = (
        "Mean, and its 95 % bootstrap interval over studies; below, the median and the quartiles."
        " n: studies with a value, if not all."
    )
    return join(tag("div", table, class_="wide"), tag("p", note, class_="muted"))


def lesion_table(scores: Scores) -> Html:
    """Lesions of all studies: found, missed, false, and rates."""
    labels = ("In the reference", "Found", "Missed", "False", "Sensitivity", "Precision", "F1")
    head = tag(
        "tr",
        tag("th", "Region", scope="col"),
        *(tag("th", label, scope="col", class_="number") for label in labels),
    )
    body = []
    for region in scores.rules.regions:
        found, false, missed = (
            sum(scores.values(region, f"lesion_{kind}")) for kind in ("tp", "fp", "fn")
        )
        rates = (
            _share(found, found + missed),
            _share(found, found + false),
            _share(2 * found, 2 * found + false + missed),
        )
        values = [*(f"{count:.0f}" for count in (found + missed, found, missed, false)), *rates]
        cells = [
            tag("td", value, class_="number", data_label=label)
            for label, value in zip(labels, values, strict=True)
        ]
        body.append(tag("tr", tag("th", region, scope="row"), *cells))
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack")
    return join(
        table,
        tag(
            "p",
            "Counted over all studies; the rules below define lesions and when they are found.",
            class_="muted",
        ),
    )


def _summary(values: Sequence[float], metric: str, studies: int) -> Html:
    if not values:
        return Html("–")
    interval = ""
    if len(values) > 1:
        low, high = mean_interval(values)
        interval = tag("span", f"[{shown(metric, low)}, {shown(metric, high)}]", class_="muted")
    quarter, median, three = (
        shown(metric, float(value)) for value in np.percentile(values, (25, 50, 75))
    )
    count = f", n = {len(values)}" if len(values) < studies else ""
    mean = tag("b", shown(metric, math.fsum(values) / len(values)))
    return join(
        tag("span", mean, " ", interval), tag("small", f"{median} ({quarter} to {three}){count}")
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "–"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
