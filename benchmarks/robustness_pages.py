"""Results of ``robustness.py`` as a Markdown table and as curves in one SVG."""

import re
from itertools import groupby
from typing import Any

from gliodistill.reports.charts.axes import HEIGHT, WIDTH, minus
from gliodistill.reports.charts.svg import Series, line_chart
from gliodistill.reports.page.markup import Html, join, tag
from gliodistill.studies.labels import REGIONS

COLUMNS = 3
HEAD = 40
"""Pixels above the panels, for the key, and above each panel, for its title."""
UNCHANGED = {"intensities to a power, exponent": 1.0}
"""Strength at which nothing happens, where it is not 0."""
STYLE = """
svg{font:13px system-ui,sans-serif}.paper{fill:#fff}text{fill:#5a636c}.label,.title{fill:#1c2024}.title{font-weight:600}
.grid{stroke:#dcdfe2}.axis{stroke:#1c2024}.line{fill:none;stroke-width:2}.dot{fill:#fff;stroke-width:1.6}
.c0{stroke:#0b5c8e}.c1{stroke:#c2410c}.c2{stroke:#047857}
"""


def markdown(result: dict[str, Any]) -> str:
    """Mean Dice of each region under each disturbance and what it lost; then what saving anew did;
    then the tumour-free studies.
    """
    first, *rows = result["rows"]
    text = [
        (
            f"{result['studies']} studies, model {result['model']['name']}. Mean Dice under the"
            " plain rules; in brackets the mean difference to the undisturbed study in points of"
            " Dice, with its 95 % bootstrap interval over studies."
        ),
        "",
        *_head("disturbance", "strength", *REGIONS),
        _line("**none**", "", *(f"{first[region]['mean']:.3f}" for region in REGIONS)),
    ]
    for group, own in groupby(rows, key=lambda row: row["group"]):
        for number, row in enumerate(own):
            cells = [
                f"{row[region]['mean']:.3f} ({_difference(row[region]['difference'])})"
                for region in REGIONS
            ]
            text.append(_line("" if number else group, row["strength"], *cells))
    text += [
        "",
        *_head(
            "re-encoded",
            "studies",
            "the same, voxel for voxel",
            "most voxels that changed",
            "worst Dice WT / TC / ET",
        ),
    ]
    for row in result["invariances"]:
        dice = (
            " / ".join(f"{value:.4f}" for value in row["worst_dice"])
            if row["studies"]
            else "does not fit"
        )
        text.append(
            _line(
                row["name"],
                row["studies"],
                row["same"],
                row["most_voxels"] if row["studies"] else "–",
                dice,
            )
        )
    if result["no_tumour_ml"]:
        text += ["", *_head("no tumour, sequences", *(f"{region} ml" for region in REGIONS))]
        for volumes in result["no_tumour_ml"]:
            text += [
                _line(name, *(f"{ml[region]:.2f}" for region in REGIONS))
                for name, ml in volumes.items()
            ]
    return "\n".join(text) + "\n"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + "---|" * len(cells)]


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _difference(found: dict[str, float]) -> str:
    """E.g. ``−1.2 [−2.0, −0.5]``; of one study there is no interval."""
    mean, *ends = (
        minus(f"{100 * found[key]:+.1f}") for key in ("mean", "low", "high") if key in found
    )
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def picture(result: dict[str, Any]) -> str:
    """A panel for each disturbance with several strengths: mean Dice over strength, a line a
    region, from the undisturbed study on.
    """
    first, *rows = result["rows"]
    panels = []
    for group, found in groupby(rows, key=lambda row: row["group"]):
        own = [row for row in found if not isinstance(row["strength"], str)]
        if own:
            points = sorted(
                [(UNCHANGED.get(group, 0.0), first), *((row["strength"], row) for row in own)],
                key=lambda point: point[0],
            )
            lines = [
                Series(region, [x for x, _ in points], [row[region]["mean"] for _, row in points])
                for region in REGIONS
            ]
            title, _, unit = group.partition(", ")
            panels.append((title, line_chart(lines, title, unit, "mean Dice", y_range=(0.0, 1.0))))
    drawn = [_place(title, figure, number) for number, (title, figure) in enumerate(panels)]
    key = [
        join(
            tag(
                "line",
                class_=f"line c{number}",
                x1=52 + 90 * number,
                x2=78 + 90 * number,
                y1=22,
                y2=22,
            ),
            tag("text", region, class_="label", x=84 + 90 * number, y=26),
        )
        for number, region in enumerate(REGIONS)
    ]
    width, height = COLUMNS * WIDTH, HEAD + -(-len(panels) // COLUMNS) * (HEIGHT + HEAD)
    whole = tag(
        "svg",
        tag("title", "Mean Dice under disturbances"),
        tag("style", STYLE),
        tag("rect", class_="paper", width=width, height=height),
        *key,
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        role="img",
    )
    return whole + "\n"


def _place(title: str, figure: Html, number: int) -> Html:
    """The drawing of a chart at its place among the panels, with its title."""
    drawing = re.search(r"<svg[^>]*>(.*?)</svg>", figure, re.DOTALL)
    assert drawing is not None
    x, y = number % COLUMNS * WIDTH, HEAD + number // COLUMNS * (HEIGHT + HEAD)
    return tag(
        "g",
        tag("text", title, class_="title", x=52, y=-6),
        Html(drawing[1]),
        transform=f"translate({x} {y + 24})",
    )
