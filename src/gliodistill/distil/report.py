"""The page of a distillation: teacher, baseline and student in one table."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from gliodistill import __version__
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import Html, tag
from gliodistill.reports.page.tables import duration, settings_table
from gliodistill.studies.labels import REGIONS


def write_distil_report(path: str | PathLike[str], facts: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        facts: as in ``distil.json``.

    Raises:
        OutputError: it cannot be written.
    """
    outputs = facts["outputs"][0]
    settings = {
        "teacher": " ".join(f"{key}: {value}" for key, value in facts["teacher"].items()),
        "budgets": ", ".join(facts["budgets"]),
        "validation patients": ", ".join(facts["validation"]),
        "teacher's outputs": f"{outputs['studies']} training studies, {outputs['megabytes']} MB,"
        f" {outputs['seconds_a_study']} s a study",
    }
    note = (
        "Mean Dice of the validation patients, seen in training by neither the students nor, where"
        " its split is known, the teacher. Time from files to files on this machine. Size of the"
        " weights: of the teacher at four bytes a number, of the students as packaged."
    )
    told = facts.get("conclusion")
    seeds = " One training of each: other seeds may differ."
    gain = [tag("p", tag("b", told), seeds)] if told else []
    links = tag(
        "p",
        tag("a", "Paired differences", href="comparison.html"),
        ", ",
        tag("a", "the plan", href="plan/plan.html"),
    )
    sections = [
        Section("", [_table(facts["rows"]), *gain, note, links]),
        Section("Settings", [settings_table(settings)]),
    ]
    write_report(
        path,
        "A distilled student and its teacher",
        sections,
        footer=f"gliodistill {__version__}",
    )


def _table(rows: Mapping[str, Mapping[str, Any]]) -> Html:
    names = ["Model", *(f"Dice {region}" for region in REGIONS), "Time / study", "Size"]
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    body = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(tag("td", _score(row["dice"][region]), class_="number") for region in REGIONS),
            tag("td", duration(row["seconds"]), class_="number"),
            tag("td", size_of(row), class_="number"),
        )
        for name, row in rows.items()
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack")


def size_of(row: Mapping[str, Any]) -> str:
    """Megabytes of a model, or a dash."""
    return "–" if row["megabytes"] is None else f"{row['megabytes']:.2f} MB"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
