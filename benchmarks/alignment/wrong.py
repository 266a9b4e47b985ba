"""Registrations that are wrong, to see whether they are noticed: wrong optima, wrong patients."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.alignment.cases import Case, rigid
from gliodistill.alignment.confidence import confidence
from gliodistill.alignment.engine import optimise
from gliodistill.alignment.levels import Cropped, Level
from gliodistill.alignment.registration import COARSE, COARSE_MM, FINE
from gliodistill.alignment.starts import Comparison

Matrix = NDArray[np.float64]
WRONG_MM = 4.0
"""Error, 95 % over the brain, of a registration that is wrong."""

TRIES = 3
AWAY_DEG, AWAY_MM = (8.0, 25.0), (5.0, 20.0)
"""How far from the truth such a search starts."""

FINISH_MM = 2.0


def stuck(case: Case) -> Iterator[tuple[Matrix, dict[str, float]]]:
    """At most one wrong optimum: where a search that starts far off ends, after all levels."""
    pair = (
        Cropped.around(case.fixed, case.fixed_mask),
        Cropped.around(case.moving, case.moving_mask),
    )
    coarse, fine = _levels(pair, COARSE_MM), _levels(pair, FINISH_MM)
    where = np.argwhere(case.fixed_mask)
    centre = (case.fixed.affine @ [*where.mean(axis=0), 1.0])[:3]

    def improved(two: tuple[Level, Level], matrix: Matrix, **changed: float) -> Matrix:
        fixed, moving = two
        descent = COARSE | changed
        return optimise(fixed.image, moving.image, fixed.near, matrix, centre, **descent)

    rng = np.random.default_rng([len(where), case.number])
    for _ in range(TRIES):
        matrix = case.true @ rigid(rng, rng.uniform(*AWAY_DEG), rng.uniform(*AWAY_MM), centre)
        for _ in range(2):
            matrix = improved(coarse, matrix)
        if np.percentile(case.errors(matrix), 95) > WRONG_MM:
            matrix = improved(fine, matrix, step_mm=FINE["step_mm"])
        if np.percentile(case.errors(matrix), 95) > WRONG_MM:
            trust = confidence(coarse, matrix, True, improved)
            fit = Comparison(*coarse, True).fit(matrix)
            yield (
                matrix,
                {
                    "similarity": fit.similarity,
                    "overlap": fit.overlap,
                    "disagreement": trust.disagreement,
                    "sharpness": trust.sharpness,
                },
            )
            return


def _levels(pair: tuple[Cropped, Cropped], step: float) -> tuple[Level, Level]:
    return pair[0].level(step), pair[1].level(step)
