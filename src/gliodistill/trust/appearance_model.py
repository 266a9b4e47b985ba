"""The appearance of the training studies' sequences, which detects wrong or exchanged images.

Every image is compared with every sequence: under which names are all images together
most like the training studies? The likelihood is Student's t around the mean appearance of a
sequence (of a pair of sequences), with one covariance for all: linear discriminant analysis with
heavy tails, so that an unknown scanner makes it unsure rather than wrong. Names are doubted where
others explain the images much better than the given ones did in any training study left out. Ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.checks import check_keys, checked, require
from gliodistill.errors import EvaluationError
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance import FACTS, MIRROR, Appearance, Levels, Pair, appearance_of

LEAST_STUDIES = 8
"""Least number of studies with an image of each sequence."""

TAILS = 6.0
"""Degrees of freedom of the likelihood: fewer give less weight to outliers."""

SHRINKAGE = 0.1
"""Shrinkage of the covariance to its diagonal, because studies are few."""

LEAST_MARGIN, MORE_MARGIN = 5.0, 3.0
"""Other names must be at least e⁵ times likelier, and e³ times more than for any left-out training
study.
"""

FARTHER = 1.5
"""An image is unusual above this many times the largest distance of a left-out training study."""

ALIKE = (0.95, 0.0, 0.0, 6.3)
"""Assumed mean numbers of a pair of images of one sequence: high correlation, no skewness."""

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class AppearanceModel:
    """The appearance of training studies.

    Attributes:
        sequences: the known ones.
        studies: number fitted on.
        images: mean numbers of each sequence (:class:`~gliodistill.trust.appearance.Appearance`),
            in
            order.
        images_covariance: of them, within a sequence.
        pairs: mean numbers of each pair of sequences, as :func:`itertools.combinations` has them.
        pairs_covariance: of them, within a pair.
        margins: log-likelihood gain above which other names are believed, with 1, 2, … images.
        farthest: squared Mahalanobis distance, to the sequence it is nearest to, from which an
            image is unusual.

    Raises:
        ValueError: shapes that do not fit together.
        PackageError: a number that is not finite.
    """

    sequences: tuple[MRSequence, ...]
    studies: int
    images: Matrix
    images_covariance: Matrix
    pairs: Matrix
    pairs_covariance: Matrix
    margins: tuple[float, ...]
    farthest: float

    def __post_init__(self) -> None:
        count, width = len(self.sequences), len(MIRROR)
        for name, shape in (
            ("images", (count, FACTS)),
            ("images_covariance", (FACTS, FACTS)),
            ("pairs", (count * (count - 1) // 2, width)),
            ("pairs_covariance", (width, width)),
            ("margins", (count,)),
            ("farthest", ()),
        ):
            array = np.array(getattr(self, name), dtype=np.float64).reshape(shape)
            require(
                bool(np.isfinite(array).all()),
                f"reference.{name}",
                array.tolist(),
                "finite numbers",
            )

    def exchanged(self, appearance: Appearance) -> dict[MRSequence, MRSequence]:
        """Given name → likelier name, of images whose names are doubted; empty if none is."""
        given = tuple(appearance.images)
        if not given:
            return {}
        gain, names = self._likelier(appearance)
        return (
            {s: other for s, other in zip(given, names, strict=True) if s != other}
            if gain > self.margins[len(given) - 1]
            else {}
        )

    def unusual(self, appearance: Appearance) -> dict[MRSequence, float]:
        """Images that resemble no sequence → their squared distance to the nearest."""
        nearest = {
            s: min(self._distance(facts, other) for other in self.sequences)
            for s, facts in appearance.images.items()
        }
        return {s: distance for s, distance in nearest.items() if distance > self.farthest}

    def _likelier(self, appearance: Appearance) -> tuple[float, tuple[MRSequence, ...]]:
        """The likeliest other names, and their log-likelihood gain over the given ones."""
        given = tuple(appearance.images)
        own = self._likelihood(appearance, given)
        others = (names for names in permutations(self.sequences, len(given)) if names != given)
        return max(
            ((self._likelihood(appearance, names) - own, names) for names in others),
            default=(-np.inf, given),
        )

    def _likelihood(self, appearance: Appearance, names: tuple[MRSequence, ...]) -> float:
        """Log-likelihood of the images under these names, up to a constant."""
        of = dict(zip(appearance.images, names, strict=True))
        images = sum(self._image_likelihood(appearance, s, name) for s, name in of.items())
        return images + sum(
            self._pair_likelihood(appearance, pair, (of[pair[0]], of[pair[1]]))
            for pair in appearance.pairs
        )

    def _image_likelihood(self, appearance: Appearance, s: MRSequence, name: MRSequence) -> float:
        return self.image_likelihood(appearance.images[s], name)

    def _pair_likelihood(self, appearance: Appearance, pair: Pair, names: Pair) -> float:
        return self.pair_likelihood(appearance.pairs[pair], names)

    def image_likelihood(self, facts: NDArray[np.float64], name: MRSequence) -> float:
        """Log-likelihood of the numbers of an image under a name, up to a constant."""
        return -0.5 * (TAILS + FACTS) * float(np.log1p(self._distance(facts, name) / TAILS))

    def pair_likelihood(self, facts: NDArray[np.float64], names: Pair) -> float:
        """Log-likelihood of the numbers of a pair under two names; :data:`ALIKE` where they are
        the same.
        """
        if names[0] is names[1]:
            away = facts - np.array(ALIKE)
        elif names in self._pairs:
            away = facts - self._pairs[names]
        else:
            away = facts * MIRROR - self._pairs[names[1], names[0]]
        distance = float(away @ self._pairs_precision @ away)
        return -0.5 * (TAILS + len(MIRROR)) * float(np.log1p(distance / TAILS))

    def _distance(self, facts: NDArray[np.float64], name: MRSequence) -> float:
        away = facts - self._images[name]
        return float(away @ self._images_precision @ away)

    @cached_property
    def _images(self) -> dict[MRSequence, NDArray[np.float64]]:
        return dict(zip(self.sequences, np.array(self.images), strict=True))

    @cached_property
    def _pairs(self) -> dict[Pair, NDArray[np.float64]]:
        return {
            pair: np.array(mean)
            for pair, mean in zip(combinations(self.sequences, 2), self.pairs, strict=True)
        }

    @cached_property
    def _images_precision(self) -> NDArray[np.float64]:
        return np.linalg.inv(np.array(self.images_covariance))

    @cached_property
    def _pairs_precision(self) -> NDArray[np.float64]:
        return np.linalg.inv(np.array(self.pairs_covariance))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "sequences": [str(s) for s in self.sequences]
        }

    @classmethod
    def from_dict(cls, values: object) -> "AppearanceModel":
        """From JSON, strictly.

        Raises:
            PackageError: a key missing or unknown, or a value of another form; it is named.
        """
        v = check_keys(values, [f.name for f in fields(cls)], "reference")
        return checked(
            "reference",
            lambda: cls(
                tuple(MRSequence(s) for s in v["sequences"]),
                int(v["studies"]),
                _matrix(v["images"]),
                _matrix(v["images_covariance"]),
                _matrix(v["pairs"]),
                _matrix(v["pairs_covariance"]),
                tuple(float(margin) for margin in v["margins"]),
                float(v["farthest"]),
            ),
        )


def fit_appearance(images: Iterable[Levels], sequences: tuple[MRSequence, ...]) -> AppearanceModel:
    """Fit the appearance of correctly named studies.

    Args:
        images: of prepared studies, levels, uint8 C X Y Z, e.g. ``(study.image() for study in
            cache)``.
        sequences: of their channels, e.g. ``cache.preparation.sequences``.

    Raises:
        EvaluationError: fewer than :data:`LEAST_STUDIES` with an image of each sequence.
    """
    ordered = tuple(s for s in MRSequence if s in sequences)
    pairs = list(combinations(ordered, 2))
    appearances = [
        appearance
        for image in images
        if list((appearance := appearance_of(image, sequences)).images) == [*ordered]
        and [*appearance.pairs] == pairs
    ]
    if len(appearances) < LEAST_STUDIES:
        raise EvaluationError(
            "too few studies to fit the appearance of sequences",
            field="images",
            got=len(appearances),
            expected=f"{LEAST_STUDIES} or more",
        )
    nowhere = tuple(0.0 for _ in ordered)
    gains: list[list[float]] = [[] for _ in ordered]
    distances = []
    for index, appearance in enumerate(appearances):
        others = _means(appearances[:index] + appearances[index + 1 :], ordered, nowhere, 0.0)
        distances += [
            min(others._distance(facts, name) for name in ordered)
            for facts in appearance.images.values()
        ]
        for count in range(len(ordered)):
            gains[count] += [
                others._likelier(_part(appearance, names))[0]
                for names in combinations(ordered, count + 1)
            ]
    margins = tuple(round(max(LEAST_MARGIN, max(found) + MORE_MARGIN), 3) for found in gains)
    return _means(appearances, ordered, margins, round(FARTHER * max(distances), 3))


def _means(
    appearances: list[Appearance],
    sequences: tuple[MRSequence, ...],
    margins: tuple[float, ...],
    farthest: float,
) -> AppearanceModel:
    images, images_covariance = _moments(
        [[appearance.images[s] for appearance in appearances] for s in sequences], FACTS
    )
    pairs, pairs_covariance = _moments(
        [
            [appearance.pairs[pair] for appearance in appearances]
            for pair in combinations(sequences, 2)
        ],
        len(MIRROR),
    )
    return AppearanceModel(
        sequences,
        len(appearances),
        images,
        images_covariance,
        pairs,
        pairs_covariance,
        margins,
        farthest,
    )


def _moments(groups: list[list[NDArray[np.float64]]], width: int) -> tuple[Matrix, Matrix]:
    """Mean of each group and the covariance within groups, shrunk to its diagonal; the identity
    without groups.
    """
    if not groups:
        return (), _matrix(np.eye(width))
    values = np.array(groups)  # groups, studies, numbers
    means = values.mean(axis=1)
    away = (values - means[:, None]).reshape(-1, width)
    covariance = away.T @ away / (len(away) - len(groups))
    # Constant features must not make other values impossible.
    floor = 1e-4 * np.eye(width)
    return _matrix(means), _matrix(
        (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance)) + floor
    )


def _matrix(values: Any) -> Matrix:
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in values)


def _part(appearance: Appearance, names: tuple[MRSequence, ...]) -> Appearance:
    pairs: Mapping[Pair, NDArray[np.float64]] = {
        pair: facts for pair, facts in appearance.pairs.items() if set(pair) <= set(names)
    }
    return Appearance({s: appearance.images[s] for s in names}, pairs)
