"""All studies of an evaluation in one sortable table; failures stay on top with their reasons."""

from collections.abc import Mapping

from gliodistill.evaluation.scores import Scores
from gliodistill.reports.page.markup import Html, tag
from gliodistill.reports.page.sorting import Column, share, sortable_table
from gliodistill.reports.pages.summary import heading, measured, shown

OVERVIEW = ("dice", "hd95_mm", "truth_ml")
"""Metrics of the first view, for each region side by side; each other view is one region with all
metrics.
"""
FEW_REGIONS = 3
"""With more regions the overview omits the volume, so that it fits on paper."""


def cohort_table(scores: Scores, cases: Mapping[str, str] | None = None) -> Html:
    """The table.

    Args:
        scores: of the cohort.
        cases: study id → anchor of its pictures on the page.
    """
    metrics, regions = measured(scores), scores.rules.regions
    places = [(region, metric) for region in regions for metric in metrics]
    overview = OVERVIEW if len(regions) <= FEW_REGIONS else OVERVIEW[:2]
    columns = [Column("Study", number=False)]
    for region, metric in places:
        views = (*((0,) if metric in overview else ()), regions.index(region) + 1)
        columns.append(Column(heading(metric), above=region, views=views))
    rows = []
    for study in sorted(scores.studies):
        anchor = (cases or {}).get(study)
        name = tag("a", study, href=f"#{anchor}") if anchor else study
        rows.append(
            [
                name,
                *(
                    _cell(metric, scores.studies[study][region][metric])
                    for region, metric in places
                ),
            ]
        )
    failed = [(study, f"failed: {scores.failed[study]}") for study in sorted(scores.failed)]
    return sortable_table(
        columns,
        rows,
        views=("Overview", *regions),
        pinned=failed,
        caption="Scores of every study",
        id="cohort",
    )


def _cell(metric: str, value: float | None) -> Html | str:
    text = shown(metric, value)
    return share(text, value) if metric == "dice" else text
