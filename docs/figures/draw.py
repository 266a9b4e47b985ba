"""Draw the methods' figures: ``python docs/figures/draw.py`` writes one SVG a paper beside it."""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
FILL = {"data": "#eceff1", "teacher": "#d1c4e9", "student": "#b2dfdb", "loss": "#ffe0b2"}
LINE = {"data": "#607d8b", "teacher": "#512da8", "student": "#00695c", "loss": "#e65100"}
Box = tuple[str, float, float, float, float, str]
"""Kind, x, y, width, height, text (lines parted by a newline)."""
Arrow = tuple[float, float, float, float, str, bool]
"""From x, y to x, y, its label, and whether it is dashed (a loss compares)."""


def box(kind: str, x: float, y: float, width: float, height: float, text: str) -> str:
    """A rounded box with its text in the middle."""
    lines = text.split("\n")
    first = y + height / 2 - 10 * (len(lines) - 1) + 6
    spans = "".join(
        f'<text x="{x + width / 2}" y="{first + 20 * i}" text-anchor="middle"'
        f' font-size="{16 if i == 0 else 14}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{FILL[kind]}"'
        f' stroke="{LINE[kind]}" stroke-width="1.5"/>{spans}'
    )


def arrow(x1: float, y1: float, x2: float, y2: float, label: str, dashed: bool) -> str:
    """An arrow with its label above the middle."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    text = (
        f'<text x="{(x1 + x2) / 2}" y="{(y1 + y2) / 2 - 7}" text-anchor="middle" font-size="13"'
        f' fill="#455a64">{escape(label)}</text>'
        if label
        else ""
    )
    return (
        f'<path d="M{x1} {y1} L{x2} {y2}" stroke="#455a64" stroke-width="1.6" fill="none"{dash}'
        f' marker-end="url(#head)"/>{text}'
    )


def figure(width: int, height: int, title: str, boxes: list[Box], arrows: list[Arrow]) -> str:
    """An SVG with the boxes above the arrows."""
    parts = "\n".join([*(arrow(*a) for a in arrows), *(box(*b) for b in boxes)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif"'
        f' fill="#212121" role="img"><title>{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
        ' markerHeight="7" orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z"'
        ' fill="#455a64"/></marker></defs>\n'
        f"{parts}\n</svg>\n"
    )


FIGURES = {
    "compression": figure(
        760,
        330,
        "Compression: a frozen teacher, a small student, three losses",
        [
            ("data", 20, 130, 130, 70, "patch\n4 sequences"),
            (
                "teacher",
                230,
                30,
                210,
                90,
                "teacher, frozen\nattention-fused U-Net\n100 % of the parameters",
            ),
            (
                "student",
                230,
                210,
                210,
                90,
                "student\nU-Net, a third as wide\n11 % of the parameters",
            ),
            ("loss", 540, 50, 190, 60, "attention transfer\nfeatures, stage by stage"),
            ("loss", 540, 135, 190, 60, "soft targets\nlogits at temperature T"),
            (
                "loss",
                540,
                220,
                190,
                70,
                "segmentation loss\nDice + cross-entropy\nagainst the labels",
            ),
        ],
        [
            (150, 155, 228, 85, "", False),
            (150, 175, 228, 245, "", False),
            (440, 75, 538, 80, "features", True),
            (440, 90, 538, 150, "", True),
            (440, 230, 538, 100, "", True),
            (440, 245, 538, 175, "", True),
            (440, 258, 538, 255, "logits", True),
        ],
    ),
    "omni": figure(
        780,
        330,
        "Omni-supervision: an ensemble labels studies, a student learns from both kinds",
        [
            ("data", 15, 120, 130, 60, "studies\nwithout labels"),
            ("data", 15, 240, 130, 60, "studies\nwith labels"),
            ("teacher", 205, 20, 150, 44, "teacher 1, + TTA"),
            ("teacher", 205, 76, 150, 44, "teacher 2, + TTA"),
            ("teacher", 205, 132, 150, 44, "teacher M, + TTA"),
            ("data", 425, 66, 130, 64, "mean of the\nprobabilities"),
            ("data", 625, 66, 140, 64, "pseudo-labels\nhard or soft"),
            ("student", 425, 235, 150, 70, "student\none network"),
            ("loss", 625, 235, 140, 70, "one loss\nfor both kinds"),
        ],
        [
            (145, 140, 203, 45, "", False),
            (145, 150, 203, 98, "", False),
            (145, 160, 203, 153, "", False),
            (355, 42, 423, 85, "", False),
            (355, 98, 423, 98, "", False),
            (355, 154, 423, 112, "", False),
            (555, 98, 623, 98, "", False),
            (145, 270, 423, 270, "expert labels", False),
            (660, 130, 560, 233, "", False),
            (575, 270, 623, 270, "", True),
        ],
    ),
    "single_stage": figure(
        760,
        300,
        "Single stage: teacher and student are trained in the same iteration",
        [
            ("data", 15, 30, 140, 70, "patch\nT1 T1CE T2 FLAIR"),
            ("data", 15, 200, 140, 70, "the same patch\nT1CE FLAIR"),
            ("teacher", 225, 30, 180, 70, "teacher\nlearns"),
            ("student", 225, 200, 180, 70, "student\nlearns, is exported"),
            ("loss", 270, 122, 90, 56, "Barlow\nTwins"),
            (
                "loss",
                530,
                115,
                200,
                70,
                "cross-entropy + Dice\ndeep supervision,\nagainst the labels",
            ),
        ],
        [
            (155, 65, 223, 65, "", False),
            (155, 235, 223, 235, "", False),
            (315, 100, 315, 120, "", True),
            (315, 200, 315, 180, "", True),
            (405, 70, 528, 130, "logits", True),
            (405, 235, 528, 172, "logits", True),
        ],
    ),
    "any_subset": figure(
        800,
        330,
        "Any subset: modality dropout and a teacher that is shown everything",
        [
            ("data", 15, 40, 140, 70, "patch\nT1 T1CE T2 FLAIR"),
            ("data", 15, 220, 140, 76, "modality dropout\ne.g. T1CE and FLAIR\nof 15 subsets"),
            ("teacher", 260, 40, 180, 70, "teacher, frozen\nshown everything"),
            ("student", 260, 222, 180, 72, "student\nshown the subset"),
            ("loss", 560, 35, 220, 66, "attention transfer\nlatent features"),
            ("loss", 560, 130, 220, 66, "channel-wise distillation\nwhere logits are highest"),
            ("loss", 560, 226, 220, 66, "segmentation loss\nagainst the labels"),
        ],
        [
            (155, 75, 258, 75, "", False),
            (85, 110, 85, 218, "", False),
            (155, 258, 258, 258, "", False),
            (440, 68, 558, 68, "", True),
            (440, 85, 558, 150, "", True),
            (440, 240, 558, 88, "", True),
            (440, 250, 558, 172, "", True),
            (440, 260, 558, 260, "", True),
        ],
    ),
}

if __name__ == "__main__":
    for name, svg in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(svg)
