"""Two cross-validations of the same patients, side by side: the first minus the second, patient by
patient.

python -m benchmarks.shipped.compare NEW/cross_validation.json OLD/cross_validation.json -o
benchmarks/results/shipped/NAME.md
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from benchmarks.shipped.report import EVERY, ROOT, difference, in_points
from gliodistill.files import write_text

NAMED = {"four sequences": EVERY, "FLAIR + T1CE": "T1CE+FLAIR", "FLAIR alone": "FLAIR"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs=2, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    new, old = (json.loads(file.read_text()) for file in arguments.files)
    if new["folds"] != old["folds"] or new["volumes_ml"] != old["volumes_ml"]:
        raise SystemExit("other patients, or in another order")
    sides = [
        {subset: np.asarray(scores["dice"]) for subset, scores in side["subsets"].items()}
        for side in (new, old)
    ]
    rows = [(name, [side[subset] for side in sides]) for name, subset in NAMED.items()]
    rows.append(("mean of all subsets", [np.mean([*side.values()], axis=0) for side in sides]))
    lines = [
        f"| {new['patients']} patients, points of Dice | WT | TC | ET | mean | p |",
        "|---|---|---|---|---|---|",
    ]
    for name, pair in rows:
        found = difference(*pair)
        cells = map(in_points, found.values())
        lines.append(f"| {name} | {' | '.join(cells)} | {found['mean']['wilcoxon_p']:.3f} |")
    names = [os.path.relpath(file, ROOT) for file in (*arguments.files, arguments.output)]
    note = (
        f"`{names[0]}` − `{names[1]}`: mean differences with 95 % bootstrap intervals over"
        " patients, before clean-up; p: Wilcoxon's, of the mean of the regions. Command: `python"
        f" -m benchmarks.shipped.compare {names[0]} {names[1]} -o {names[2]}`."
    )
    write_text(arguments.output, "\n".join(lines) + f"\n\n{note}\n")


if __name__ == "__main__":
    main()
