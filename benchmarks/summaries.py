"""Short tables for README and docs, from the committed results.

``python -m benchmarks.summaries`` writes ``*_summary.md`` beside the results that they are taken
from; ``benchmarks/fill.py`` then puts them into the pages. tests/docs holds each to its source.
"""

import json
from pathlib import Path
from typing import Any

from gliodistill.files import write_text

RESULTS = Path(__file__).parent / "results"
STUDIES: dict[str, list[tuple[str, str, str | None]]] = {
    "compression": [
        ("attention-fused U-Net (the teacher)", "fused", None),
        ("compressed U-Net, baseline", "unet", None),
        ("… soft targets", "unet-soft", "unet"),
        ("… soft targets and feature attention", "unet-soft-attention", "unet"),
        ("compressed attention–CNN, baseline", "third", None),
        ("… soft targets", "third-soft", "third"),
        ("… soft targets and feature attention", "third-soft-attention", "third"),
    ],
    "assistant_chain": [
        ("tiny U-Net, baseline", "tiny", None),
        ("… distilled from the teacher", "tiny-soft", "tiny"),
        ("… distilled from the assistant", "tiny-chain", "tiny"),
    ],
    "omni": [
        ("ensemble of three teachers, with TTA", "ensemble", None),
        ("U-Net on labelled studies, baseline", "large", None),
        ("… on labelled and pseudo-labelled studies", "omni", "large"),
    ],
    "single_stage": [
        ("FLAIR + T1CE, baseline", "pair", None),
        ("… single stage", "pair-single-stage", "pair"),
        ("… soft targets of a trained teacher", "pair-soft", "pair"),
    ],
    "any_subset": [
        ("modality dropout, baseline", "any-baseline", None),
        ("… soft targets and latent features", "any-distilled", "any-baseline"),
        ("… latent features only", "any-latent", "any-baseline"),
        ("… channel-wise and latent features (the recipe)", "any-channel-wise", "any-baseline"),
    ],
}
"""Page → rows: what a row is called, its runs, and the baseline that it is compared with."""
LEFT_OUT = {"fast at 2 mm", "compressed student at 2 mm, int8", "full U-Net at 2 mm"}
"""Rows that only the long speed table has."""


def is_seed_of(name: str, row: str) -> bool:
    """Whether a run is one seed of a row."""
    base, _, seed = name.rpartition("-")
    return base == row and seed.isdecimal()


def mean_dice(runs: dict[str, Any], row: str, subsets: bool) -> float:
    """Dice in points: mean over seeds, studies and regions, and over the 15 subsets if wanted."""
    of_row = [run for name, run in runs.items() if name == row or is_seed_of(name, row)]
    per_seed = []
    for run in of_row:
        scored = run["subsets"] if subsets else {"all": next(iter(run["scores"].values()))}
        per_subset = [sum(map(sum, s["dice"])) / sum(map(len, s["dice"])) for s in scored.values()]
        per_seed.append(sum(per_subset) / len(per_subset))
    return 100 * sum(per_seed) / len(per_seed)


def of_study(page: str, result: dict[str, Any]) -> str:
    """A page's table: mean Dice, and its difference to the baseline with the 95 % interval."""
    subsets = page == "any_subset"
    runs, suffix = result["runs"], ", mean of 15" if subsets else ""
    about = "the 15 subsets" if subsets else "WT, TC and ET"
    lines = [
        f"| network | parameters | mean Dice of {about} | difference to the baseline [95 %] |",
        "|---|---|---|---|",
    ]
    for title, row, baseline in STUDIES[page]:
        run = next(run for name, run in runs.items() if name in (row, f"{row}-0"))
        text = "–"
        if baseline:
            d = result["differences"][f"{row} − {baseline}{suffix}"]["mean"]
            text = f"{100 * d['mean']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        dice = mean_dice(runs, row, subsets)
        lines.append(f"| {title} | {run['parameters']:,} | {dice:.1f} | {text} |")
    return "\n".join(lines) + "\n"


def of_speed(result: dict[str, Any]) -> str:
    """Seconds a study, beside nnU-Net's predictor and MONAI's sliding window."""
    lines = ["| system | network | seconds a study | peak memory GB |", "|---|---|---|---|"]
    for row in result["rows"]:
        if row["what"] in LEFT_OUT:
            continue
        note = row["note"].split("; ")[0].replace("8 mirrored looks", "TTA of 8")
        what = f"{row['what']}, {note}"
        lines.append(f"| {row['system']} | {what} | {row['warm_s']:.2f} | {row['peak_gb']:.2f} |")
    return "\n".join(lines) + "\n"


def summaries() -> dict[Path, str]:
    """Every short table and the file that it belongs in."""
    text = (RESULTS / "distillation" / "synthetic.json").read_text()
    study = json.loads(text.replace("any-alone", "any-baseline"))
    speed = json.loads((RESULTS / "inference" / "inference.json").read_text())
    found = {
        RESULTS / "distillation" / f"{page}_summary.md": of_study(page, study) for page in STUDIES
    }
    return found | {RESULTS / "inference" / "inference_summary.md": of_speed(speed)}


if __name__ == "__main__":
    for path, table in summaries().items():
        write_text(path, table)
