"""Interpolation between thick slices: linear against cubic splines, by the Dice of what ships.

    python -m benchmarks.alignment.interpolation ../shared/data

T1, T1CE and FLAIR of patients as BraTS prepared them are averaged to slices of 6 mm, brought back
onto their 1 mm grid, and segmented. The shipped model was trained on these patients: the values are
optimistic, their difference is not.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import write_results
from benchmarks.scanner_to_result import dice
from gliodistill.alignment.carrying import carry_image, carry_share
from gliodistill.images.volume import Volume
from gliodistill.inference.predictor import load_model
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

RESULTS = Path(__file__).parents[1] / "results" / "alignment" / "interpolation"
SLICE_MM = 6
WAYS = {"linear": carry_share, "cubic": carry_image}


def main() -> None:
    """Every second patient."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--patients", type=int, default=12)
    given = parser.parse_args()
    predictor, rows = load_model(threads=1), []
    folders = sorted((given.data / "labelled").iterdir())[::2][: given.patients]
    for number, folder in enumerate(folders):
        study = Study.open(folder)
        assert study.truth is not None
        brain = np.any([image.data != 0 for image in study.images.values()], axis=0)
        row = {}
        for way, carry in WAYS.items():
            images = {}
            for sequence, image in study.images.items():
                if sequence is MRSequence.T2:
                    continue
                back = carry(thick(image, number % SLICE_MM), image, np.eye(4))
                images[sequence] = image.with_data(np.where(brain, back, np.float32(0)))
            answer = predictor.segment(Study("thick", "thick", images))
            row[way] = round(dice(answer.labels, study.truth), 4)
        print(row, flush=True)
        rows.append(row)
    facts = {"rows": rows, "mean": {way: round(mean(r[way] for r in rows), 4) for way in WAYS}}
    write_results(RESULTS, facts, page(facts))


def thick(image: Volume, first: int) -> Volume:
    """Means of slices, from the slice ``first``."""
    count = (image.shape[2] - first) // SLICE_MM
    part: NDArray[Any] = image.data[:, :, first : first + count * SLICE_MM]
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (first + (SLICE_MM - 1) / 2)
    affine[:3, 2] *= SLICE_MM
    means = part.reshape(*part.shape[:2], count, SLICE_MM).mean(axis=3, dtype=np.float32)
    return Volume(means, affine)


def page(facts: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = [f"| {n} | {r['linear']:.3f} | {r['cubic']:.3f} |" for n, r in enumerate(facts["rows"])]
    means = f"| mean | {facts['mean']['linear']:.3f} | {facts['mean']['cubic']:.3f} |"
    head = ["# Interpolation between slices of 6 mm", "", "Dice of the whole tumour.", ""]
    table = ["| patient | linear | cubic |", "|--:|--:|--:|", *rows, means]
    return "\n".join([*head, *table]) + "\n"


if __name__ == "__main__":
    main()
