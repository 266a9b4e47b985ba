"""The page of a comparison: conclusions, and the statistics behind them."""

import platform
from collections.abc import Mapping, Sequence
from itertools import groupby
from os import PathLike

import numpy as np

from gliodistill import __version__
from gliodistill.evaluation.comparison import Comparison
from gliodistill.evaluation.conclusions import FEW, cautions, conclusion, method
from gliodistill.evaluation.contrasts import Contrast
from gliodistill.evaluation.metrics import FACTS
from gliodistill.reports.charts.contrasts import contrast_forest, numbers_table, p_words, pair_name
from gliodistill.reports.charts.paired import paired_chart
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import join, tag
from gliodistill.reports.page.sorting import SORTING, Column, sortable_table
from gliodistill.reports.page.tables import settings_table, tiles

MOST_PAIRS = 6
"""Above this number of pairs the conclusions are a table, and strata show only pairs of the
best-ranked model.
"""
LONG = 200
"""Most characters of a line of provenance."""
MIN_FOR_INTERVAL = 5
"""Below this number of studies a stratum's interval is not shown."""


def write_comparison_report(
    path: str | PathLike[str], comparison: Comparison, sources: Mapping[str, str]
) -> None:
    """Write the page as one self-contained HTML file.

    Args:
        path: of the file.
        comparison: what it shows.
        sources: model → file of its scores.

    Raises:
        OutputError: it cannot be written.
    """
    sections = [
        Section("", _conclusions(comparison)),
        Section("Differences", _differences(comparison)),
        Section("Ranking over patients", _ranking(comparison)),
        Section("Every study", _studies(comparison), columns=True),
        Section("Strata", _strata(comparison)),
        Section("All numbers", [numbers_table(comparison.contrasts)]),
        Section("Studies compared", _counting(comparison)),
        Section("Method", _settings(comparison, sources)),
    ]
    names = list(comparison.models)
    rules = next(iter(comparison.models.values())).rules
    write_report(
        path,
        f"{', '.join(names[:-1])} and {names[-1]} compared",
        [section for section in sections if section.parts],
        subtitle=f"{len(comparison.studies)} studies, rules {rules.name} for {rules.task}",
        footer=f"gliodistill {__version__}",
        scripts=[SORTING],
        contents=True,
    )


def _conclusions(comparison: Comparison) -> list[object]:
    verdicts = [(conclusion(comparison, pair), comparison.of(pair)) for pair in comparison.pairs]
    counted = [_counted(contrasts) for _, contrasts in verdicts]
    warnings = [tag("p", tag("b", line)) for line in cautions(comparison)]
    if len(verdicts) > MOST_PAIRS:
        columns = [
            Column("Question", number=False),
            Column("Answer", number=False),
            Column("Where", number=False),
        ]
        rows = [
            (said.question, said.word, count)
            for (said, _), count in zip(verdicts, counted, strict=True)
        ]
        return [
            sortable_table(columns, rows, caption="Verdicts", id="verdicts"),
            *warnings,
            method(comparison),
        ]
    answers = [
        (said.question, said.word, count)
        for (said, _), count in zip(verdicts, counted, strict=True)
    ]
    words = [tag("p", tag("b", said.sentence), " ", said.details) for said, _ in verdicts]
    return [tiles(answers), *words, *warnings, tag("p", method(comparison), class_="quiet")]


def _counted(contrasts: Sequence[Contrast]) -> str:
    words = {
        "first": "better in",
        "second": "worse in",
        "unclear": "unclear in",
        "open": "no difference shown in",
    }
    counts = {kind: sum(one.outcome == kind for one in contrasts) for kind in words}
    return ", ".join(f"{words[kind]} {count}" for kind, count in counts.items() if count)


def _differences(comparison: Comparison) -> list[object]:
    parts: list[object] = [
        "First minus second model: mean over the studies with both values, with its 95 %"
        " bootstrap interval; filled if the interval excludes zero. Right is better for the"
        " first. p: Wilcoxon, corrected."
    ]
    several = len(comparison.pairs) > 1
    for metric in comparison.metrics:
        rows = [
            (pair_name(one) if several else "", one.region, one, p_words(one.holm_p))
            for one in comparison.contrasts
            if one.metric == metric
        ]
        parts.append(contrast_forest(metric, rows, _sides(comparison), "p"))
    return parts


def _ranking(comparison: Comparison) -> list[object]:
    ranking = comparison.ranking
    columns = [
        Column("Position"),
        Column("Model", number=False),
        Column("Mean rank"),
        Column("95 % interval", number=False),
        Column("Positions", number=False, hint="2.5 % to 97.5 % of the bootstrap resamples"),
        Column("First in", hint="share of the bootstrap resamples"),
    ]
    rows = [
        (
            str(one.position),
            one.model,
            f"{one.mean_rank:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.best}" if one.best == one.worst else f"{one.best} to {one.worst}",
            f"{one.first:.1%}",
        )
        for one in ranking.standings
    ]
    words = (
        f"As in the BraTS challenges since 2017: on each of {ranking.patients} patients the models"
        f" are ranked in every region and metric ({ranking.cells} rankings; 1 is best, ties share"
        " the mean rank), and the mean rank decides. Intervals and positions over 10 000"
        " bootstrap resamples of the patients."
    )
    if ranking.failed:
        words += (
            f" A model that failed on a patient is last on it: {ranking.failed} of the rankings."
        )
    if ranking.left_out:
        words += f" {ranking.left_out} rankings are left out because a value is undefined."
    tested = [
        f"{a} and {b}: p {p_words(p)}"
        + (f", corrected {p_words(ranking.holm_p[a, b])}" if len(ranking.p_values) > 1 else "")
        for (a, b), p in ranking.p_values.items()
    ]
    listed = (
        tag("ul", *(tag("li", line) for line in tested))
        if len(tested) > 1
        else tag("p", f"{tested[0]}.")
    )
    return [
        sortable_table(columns, rows, caption="Ranking", id="ranking"),
        tag("p", words, class_="quiet"),
        tag(
            "p",
            tag("b", "Equal mean ranks?"),
            " Two-sided permutation test that exchanges patients’ ranks between two models.",
        ),
        listed,
    ]


def _studies(comparison: Comparison) -> list[object]:
    charts: list[object] = []
    for metric in comparison.metrics:
        fact = FACTS[metric]
        for region in comparison.regions:
            found = {
                id: {
                    name: value
                    for name in comparison.models
                    if (value := comparison.value(name, id, region, metric)) is not None
                }
                for id in comparison.studies
            }
            whole = {id: row for id, row in found.items() if len(row) == len(comparison.models)}
            share = not fact.unit and all(
                0 <= value <= 1 for row in whole.values() for value in row.values()
            )
            charts.append(
                paired_chart(
                    {name: [row[name] for row in whole.values()] for name in comparison.models},
                    list(whole),
                    f"{region} {fact.title}",
                    f"{f'{fact.unit}, ' if fact.unit else ''}{fact.better} is better",
                    higher_is_better=fact.better == "higher",
                    y_range=(0.0, 1.0) if share else None,
                    form=fact.format.lstrip("+"),
                )
            )
    return charts


def _strata(comparison: Comparison) -> list[object]:
    if not comparison.strata:
        return []
    best = comparison.ranking.standings[0].model
    pairs = (
        comparison.pairs
        if len(comparison.pairs) <= MOST_PAIRS
        else tuple(pair for pair in comparison.pairs if best in pair)
    )
    words = (
        "Differences within strata, without tests, because of many groups one would differ by"
        f" chance. Below {FEW} studies intervals are too narrow; below {MIN_FOR_INTERVAL} none is"
        " shown."
    )
    if pairs != comparison.pairs:
        words += f" Only pairs with {best}; all are in the JSON."
    parts: list[object] = [words]
    for title, group in groupby(comparison.strata, key=lambda stratum: stratum.title):
        strata = list(group)
        figures = []
        for metric in comparison.metrics:
            cells = [
                (stratum.name, one)
                for pair in pairs
                for region in comparison.regions
                for stratum in strata
                for one in stratum.contrasts
                if (one.first, one.second, one.region, one.metric) == (*pair, region, metric)
            ]
            rows = [
                (
                    f"{one.region}: {pair_name(one)}" if len(pairs) > 1 else one.region,
                    name,
                    one,
                    str(one.n),
                )
                for name, one in cells
                if one.n >= MIN_FOR_INTERVAL
            ]
            few = sorted({f"{name} ({one.n})" for name, one in cells if one.n < MIN_FOR_INTERVAL})
            figure = contrast_forest(metric, rows, _sides(comparison), "n")
            figures.append(
                join(
                    figure,
                    tag("p", f"Too few studies: {', '.join(few)}.", class_="quiet") if few else "",
                )
            )
        parts += [
            tag("h3", title),
            tag("div", *(tag("div", figure) for figure in figures), class_="columns"),
        ]
    return parts


def _counting(comparison: Comparison) -> list[object]:
    rows = [
        (name, id, reason)
        for name, scores in comparison.models.items()
        for id, reason in sorted(scores.failed.items())
    ]
    parts: list[object] = [
        "A study that a model failed on is left out of its paired differences; in the ranking the"
        " model is last on it. A value that is undefined under the rules in either of two models is"
        " left out of their difference. Both are counted in the tables."
    ]
    if not rows:
        return [*parts, f"Here every model has scores for all {len(comparison.studies)} studies."]
    columns = [
        Column("Model", number=False),
        Column("Study", number=False),
        Column("Why it failed", number=False),
    ]
    return [*parts, sortable_table(columns, rows, caption="Failed studies", id="failed")]


def _settings(comparison: Comparison, sources: Mapping[str, str]) -> list[object]:
    rules = next(iter(comparison.models.values())).rules
    settings = {
        "rules": f"{rules.name} for {rules.task}",
        "definition of the metrics": rules.text,
        "metrics": ", ".join(FACTS[metric].title for metric in comparison.metrics),
        "interval": (
            "percentile bootstrap of the mean difference over studies, 10 000 resamples, 95 %"
        ),
        "test": (
            "Wilcoxon signed-rank, two-sided, equal pairs left out; exact if few studies differ"
        ),
        "correction": f"Holm over {comparison.tests} tests: every pair, region and metric",
        "ranking test": (
            "two-sided permutation test of patients’ ranks: all permutations, or 100 000 random"
            " ones"
        ),
        "versions": (
            f"gliodistill {__version__}, python {platform.python_version()}, numpy"
            f" {np.__version__}, scipy {_scipy()}"
        ),
    }
    origins = {
        name: "; ".join([sources[name], *_provenance(comparison, name)])
        for name in comparison.models
    }
    return [settings_table(settings, "Method"), settings_table(origins, "Models")]


def _provenance(comparison: Comparison, name: str) -> list[str]:
    told = comparison.models[name].provenance.items()
    return [f"{key}: {value if len(value) <= LONG else f'{value[:LONG]}…'}" for key, value in told]


def _sides(comparison: Comparison) -> tuple[str, str]:
    return comparison.pairs[0] if len(comparison.pairs) == 1 else ("first", "second")


def _scipy() -> str:
    import scipy

    return str(scipy.__version__)
