"""Comparisons of two models as a forest plot and as a table of all numbers."""

from collections.abc import Iterable, Sequence

from gliodistill.evaluation.contrasts import Contrast
from gliodistill.evaluation.metrics import FACTS
from gliodistill.reports.charts.axes import minus
from gliodistill.reports.charts.forest import Estimate, forest_table
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.reports.page.sorting import Column, sortable_table

COLUMNS = (
    Column("First − second", number=False),
    Column("Region", number=False),
    Column("Metric", number=False),
    Column("n", hint="studies compared"),
    Column("First", hint="mean of the first model"),
    Column("Second", hint="mean of the second model"),
    Column("Difference"),
    Column("95 % interval", number=False, hint="bootstrap over studies"),
    Column("p", hint="Wilcoxon signed-rank, two-sided, uncorrected"),
    Column("p corrected", hint="Holm over all tests"),
    Column("r", hint="matched-pairs rank-biserial correlation"),
    Column("d_z", hint="Cohen’s d of paired differences"),
    Column("Better / equal / worse", hint="studies, for the first model"),
    Column("Left out", number=False, hint="studies on which one of the two failed or has no value"),
)


def numbers_table(contrasts: Iterable[Contrast]) -> Html:
    """All numbers of all contrasts, and the meaning of the columns."""
    rows = sorted((_row(one) for one in contrasts), key=lambda row: row[0])
    same = 1 if len({row[0] for row in rows}) == 1 else 0  # a single pair needs no column of names
    return join(
        sortable_table(
            COLUMNS[same:], [row[same:] for row in rows], caption="All comparisons", id="numbers"
        ),
        tag(
            "p",
            "r: matched-pairs rank-biserial correlation, −1 to 1; d_z: mean difference over the"
            " standard deviation of the differences. Both have the sign of the difference. Better,"
            " equal, worse: studies, for the first model. Left out: studies on which one of the"
            " two failed or has no value.",
            class_="muted",
        ),
    )


def contrast_forest(
    metric: str, rows: Sequence[tuple[str, str, Contrast, str]], sides: tuple[str, str], note: str
) -> Html:
    """Differences in one metric with their intervals; right is better for the first model.

    Args:
        metric: of all contrasts.
        rows: (group, name, contrast, note) each; every contrast has a difference.
        sides: names of the first and second model.
        note: heading of the notes.
    """
    fact = FACTS[metric]
    estimates = [
        Estimate(name, *one.difference[:3], note=text, group=group)
        for group, name, one, text in rows
        if one.difference is not None
    ]
    return forest_table(
        estimates,
        f"{fact.title[0].upper()}{fact.title[1:]}{f', {fact.unit}' if fact.unit else ''},"
        f" {fact.better} is better",
        estimate="Difference [95 %]",
        note=note,
        decimals=_decimals(metric),
        worse_better=(f"{sides[1]} better", f"{sides[0]} better"),
        lower_is_better=fact.better == "lower",
    )


def pair_name(one: Contrast) -> str:
    """The order of subtraction."""
    return f"{one.first} − {one.second}"


def p_words(value: float | None) -> str:
    """A p-value in words; in a sortable table it is a number."""
    return "–" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _row(one: Contrast) -> list[str]:
    form, difference = FACTS[one.metric].format.lstrip("+"), one.difference
    known = ["–"] * 6
    if difference is not None:
        known = [
            _signed(difference.mean, one.metric),
            f"{_signed(difference.low, one.metric)} to {_signed(difference.high, one.metric)}",
            f"{difference.wilcoxon_p:.2g}",
            f"{one.holm_p:.2g}",
            "–" if one.rank_biserial is None else minus(f"{one.rank_biserial:+.2f}"),
            "–" if one.dz is None else minus(f"{one.dz:+.2f}"),
        ]
    means = [
        "–" if mean is None else f"{mean:{form}}" for mean in (one.first_mean, one.second_mean)
    ]
    left_out = [
        f"{count} {why}"
        for count, why in ((one.failed, "failed"), (one.undefined, "undefined"))
        if count
    ]
    return [
        pair_name(one),
        one.region,
        FACTS[one.metric].title,
        str(one.n),
        *means,
        *known,
        f"{one.wins} / {one.ties} / {one.losses}",
        ", ".join(left_out) or "none",
    ]


def _decimals(metric: str) -> int:
    form = FACTS[metric].format.lstrip("+")
    return int(form[1]) if form.endswith("f") else 2


def _signed(value: float, metric: str) -> str:
    return minus(f"{value:+.{_decimals(metric)}f}")
