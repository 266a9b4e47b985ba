"""The page of a plan: the proposed student, the candidates and their times."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from gliodistill.reports.charts.svg import Series, line_chart
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.reports.page.tables import count, duration, settings_table, tiles

Rows = Sequence[Mapping[str, Any]]


def write_plan_report(path: str | PathLike[str], facts: Mapping[str, Any], fragment: str) -> None:
    """Write the page of a plan.

    Args:
        path: of the HTML file.
        facts: as in ``plan.json``.
        fragment: the proposed runs as YAML.

    Raises:
        OutputError: it cannot be written.
    """
    measured = [row for row in facts["candidates"] if row["latency_s"] is not None]
    conditions, teacher = facts["measured"], facts["teacher"]
    brain = " × ".join(map(str, conditions["shape"]))
    how = (
        f"One pass of the network over a brain of {brain} voxels in {conditions['runtime']},"
        f" {conditions['precision']}, {conditions['threads']} threads: medians of interleaved"
        " passes, each after a warm-up pass."
    )
    sections = [
        Section("", [tiles(_tiles(facts))]),
        Section("Why this student", _reasons(facts)),
        Section(
            "Time against operations and parameters",
            [operations_chart(measured), parameters_chart(measured)],
            columns=True,
        ),
        Section("Measured", [_table(measured), how]),
        Section(
            "The runs",
            [
                (
                    "These are runs for the teacher's recipe; recipe.yaml in this folder contains"
                    " them"
                    " place."
                ),
                tag("pre", fragment),
            ],
        ),
        Section(
            "Budgets",
            [settings_table({budget["asked"]: _limit(budget) for budget in facts["budgets"]})],
        ),
    ]
    title = f"A student for {teacher['run']} ({teacher['network']})"
    footer = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    write_report(
        path,
        title,
        sections,
        subtitle=f"{len(facts['candidates'])} candidates counted, {len(measured)} measured",
        footer=footer,
    )


def _reasons(facts: Mapping[str, Any]) -> list[str]:
    teaching = facts.get("teaching")
    told = [] if teaching is None else [teaching["explanation"]]
    return [facts["rule"], facts["alignment"]["explanation"], *told]


def operations_chart(measured: Rows) -> Html:
    """Time of a pass over its operations, a line for each stem stride and norm; lower is more
    operations per second.
    """
    ordered = sorted(measured, key=lambda row: float(row["flops"]))
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in ordered:
        name = (
            f"{row['network']}, stem stride {row['options']['stem_stride']},"
            f" {row['options']['norm']} norm"
        )
        kinds.setdefault(name, []).append(row)
    lines = [_series(name, kinds[name], "flops", 1e9) for name in sorted(kinds)]
    return line_chart(lines, "Operations", "GFLOP of a pass", "ms of a pass")


def parameters_chart(measured: Rows) -> Html:
    """Time of a pass over parameters: the Pareto front (most parameters for the time), and the
    other candidates.
    """
    ordered = sorted(measured, key=lambda row: float(row["parameters"]))
    kinds = {
        "Pareto front": [r for r in ordered if r["front"]],
        "others": [r for r in ordered if not r["front"]],
    }
    kinds["proposed"] = [r for r in ordered if r["chosen"]]
    lines = [_series(name, rows, "parameters", 1e6) for name, rows in kinds.items() if rows]
    lines = [_apart(line) if line.name == "others" else line for line in lines]
    return line_chart(lines, "Parameters", "million parameters", "ms of a pass")


def _series(name: str, rows: Rows, key: str, unit: float) -> Series:
    return Series(
        name, [row[key] / unit for row in rows], [1000 * row["latency_s"] for row in rows]
    )


def _apart(line: Series) -> Series:
    """The same points without a line."""
    x, y = ([value for one in values for value in (one, math.nan)] for values in (line.x, line.y))
    return Series(line.name, x, y)


def _tiles(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    proposed, shares = facts["proposed"], facts["shares"]

    def share(quantity: str) -> str:
        return f"{shares[quantity]:.1%} of the teacher’s" if quantity in shares else ""

    widths = " – ".join(map(str, proposed["options"]["widths"]))
    return [
        (
            "Widths",
            widths,
            (
                f"{proposed['network']}, stem stride {proposed['options']['stem_stride']},"
                f" {proposed['options']['norm']} norm"
            ),
        ),
        ("Parameters", count(proposed["parameters"]), share("params")),
        ("FLOPs of a pass", count(proposed["flops"]), share("flops")),
        ("Time of a pass", duration(proposed["latency_s"]), share("latency")),
    ]


def _table(measured: Rows) -> Html:
    names = (
        "Student",
        "Parameters",
        "FLOPs",
        "Weights",
        "Predicted",
        "Time",
        "Range",
        "GFLOP/s",
        "Passes",
    )
    head = tag(
        "tr",
        *(
            tag("th", name, scope="col", class_=None if name == "Student" else "number")
            for name in names
        ),
    )
    body = []
    for row in sorted(measured, key=lambda row: float(row["latency_s"])):
        options, (low, high) = row["options"], row["latency_range_s"]
        note = (
            f"stem stride {options['stem_stride']}, {options['norm']}"
            f" norm{'' if row['within'] else '; over budget'}"
        )
        name = f"{row['network']} {'-'.join(map(str, options['widths']))}"
        predicted = row["predicted_latency_s"]
        cells = {
            "Parameters": count(row["parameters"]),
            "FLOPs": count(row["flops"]),
            "Weights": f"{row['size_bytes'] / 1e6:.2f} MB",
            "Predicted": "–" if predicted is None else duration(predicted),
            "Time": duration(row["latency_s"]),
            "Range": f"{duration(low)} – {duration(high)}",
            "GFLOP/s": f"{row['flops'] / row['latency_s'] / 1e9:.0f}",
            "Passes": row["passes"],
        }
        first = tag(
            "th",
            join(name, " ", tag("b", "proposed")) if row["chosen"] else name,
            tag("small", note),
            scope="row",
        )
        body.append(
            tag(
                "tr",
                first,
                *(
                    tag("td", value, class_="number", data_label=key)
                    for key, value in cells.items()
                ),
            )
        )
    return tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack")


def _limit(budget: Mapping[str, Any]) -> str:
    shown = duration if budget["quantity"] == "latency" else count
    return f"{budget['quantity']} at most {shown(budget['limit'])}"
