"""Tables of a report: model comparison, result tiles, settings."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gliodistill.evaluation.statistics import PairedDifference
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.studies.labels import REGIONS


@dataclass(frozen=True)
class ModelRow:
    """One model of the score table.

    Attributes:
        name: display name.
        parameters: number of weights.
        dice: region → Dice per study, 0 … 1 (non-finite values are omitted).
        flops: floating-point operations per study (the note says how counted), or None.
        seconds: per study, or None.
        difference: region → paired difference to the baseline, or empty.
        teacher: whether it is the model to which parameter counts are relative.
        note: a few words below the name.
    """

    name: str
    parameters: int
    dice: Mapping[str, Sequence[float]]
    flops: float | None = None
    seconds: float | None = None
    difference: Mapping[str, PairedDifference] = field(default_factory=dict)
    teacher: bool = False
    note: str = ""


def score_table(rows: Sequence[ModelRow], *, note: str = "") -> Html:
    """Models with their size, cost and Dice (mean ± sample standard deviation over studies).

    Args:
        rows: in the order shown. The share of the teacher's parameters needs a row marked
            ``teacher``.
        note: below the table, e.g. which studies and how FLOPs were counted.
    """
    teacher = next((row for row in rows if row.teacher), None)
    named = [
        "Model",
        "Parameters",
        "FLOPs / study",
        "Time / study",
        *(f"Dice {region}" for region in REGIONS),
    ]
    head = tag(
        "tr",
        *(
            tag("th", label, scope="col", class_=None if label == "Model" else "number")
            for label in named
        ),
    )
    best = {
        region: max((_mean(row.dice.get(region, ())) for row in rows), default=-1.0)
        for region in REGIONS
    }
    body = []
    for row in rows:
        share = ""
        if teacher is not None and row is not teacher:
            share = tag(
                "small", f"{_percent(row.parameters / teacher.parameters)} of the teacher’s"
            )
        cells = [
            tag("th", row.name, tag("small", row.note) if row.note else "", scope="row"),
            tag("td", count(row.parameters), share, class_="number", data_label="Parameters"),
            tag(
                "td",
                "–" if row.flops is None else count(row.flops),
                class_="number",
                data_label="FLOPs / study",
            ),
            tag(
                "td",
                "–" if row.seconds is None else duration(row.seconds),
                class_="number",
                data_label="Time / study",
            ),
            *(_dice_cell(row, region, best[region]) for region in REGIONS),
        ]
        body.append(tag("tr", *cells))
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack")
    notes = ["Mean ± sample standard deviation over studies; the best mean of a column is bold."]
    if any(row.difference for row in rows):
        notes.append(
            "Δ: paired difference to the baseline, with its 95 % bootstrap interval over studies."
        )
    return join(table, tag("p", " ".join([*notes, note]).strip(), class_="muted"))


def tiles(entries: Sequence[tuple[str, str, str]]) -> Html:
    """Result tiles: (label, value, detail) each."""
    return tag(
        "div",
        *(
            tag(
                "div", tag("span", label), tag("strong", value), tag("small", detail), class_="tile"
            )
            for label, value, detail in entries
        ),
        class_="tiles",
    )


def settings_table(settings: Mapping[str, object], title: str = "") -> Html:
    """Names and values, e.g. a recipe's settings or the versions used."""
    rows = [
        tag("tr", tag("th", key, scope="row"), tag("td", value)) for key, value in settings.items()
    ]
    return tag(
        "table", tag("caption", title) if title else "", tag("tbody", *rows), class_="settings"
    )


def count(number: float) -> str:
    """A number with three digits and its SI letter: ``1.62 M``."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:
            return f"{_three(number / size)} {letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds with a suitable unit: ``430 ms``, ``1.20 s``, ``8 min 20 s``."""
    if seconds < 0.9995:
        return f"{_three(seconds * 1000)} ms"
    if seconds < 99.95:
        return f"{_three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _three(number: float) -> str:
    return (
        f"{number:.2f}"
        if number < 9.995
        else f"{number:.1f}"
        if number < 99.95
        else f"{number:.0f}"
    )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.1f} %"


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    finite = _finite(values)
    return statistics.fmean(finite) if finite else -1.0


def _dice_cell(row: ModelRow, region: str, best: float) -> Html:
    values = _finite(row.dice.get(region, ()))
    if not values:
        return tag("td", "–", class_="number", data_label=f"Dice {region}")
    mean = f"{statistics.fmean(values):.3f}"
    spread = (
        tag("span", f" ± {statistics.stdev(values):.3f}", class_="muted") if len(values) > 1 else ""
    )
    difference = row.difference.get(region)
    change = ""
    if difference is not None:
        change = tag(
            "small",
            f"Δ {_signed(difference.mean)} [{_signed(difference.low)}, {_signed(difference.high)}]",
        )
    # Bold is by the rounded number, so that equal numbers have equal style.
    shown = tag("b", mean) if mean == f"{best:.3f}" else mean
    return tag(
        "td", tag("span", shown, spread), change, class_="number", data_label=f"Dice {region}"
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
