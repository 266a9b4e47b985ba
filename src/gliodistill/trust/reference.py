"""What the sequences of the training studies look like, so that a study with wrong or exchanged
images is noticed.

Every image is compared with every sequence: under which names do all images together look most like
the training studies? The likelihood is Student's t around the mean look of a sequence (of a pair of
sequences), with one covariance for all: linear discriminant analysis with heavy tails, so that an
unknown scanner makes it unsure rather than wrong. Names are doubted where others explain the images
much better than the given ones did in any training study left out. Ours.
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
from gliodistill.trust.appearance import FACTS, MIRROR, Levels, Look, Pair, look_at

LEAST_STUDIES = 8
"""Studies with an image of each sequence without which there is nothing to say."""

TAILS = 6.0
"""Degrees of freedom of the likelihood: the fewer, the less an image far from everything counts."""

SHRINKAGE = 0.1
"""Share of the covariance that is taken to its diagonal: there are few studies."""

LEAST_MARGIN, MORE_MARGIN = 5.0, 3.0
"""Other names must be e⁵ times likelier at least, and e³ times more than of any training study left
out.
"""

FARTHER = 1.5
"""An image is unusual from so many times the largest distance of a training study left out."""

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Reference:
    """The look of training studies.

    Attributes:
        sequences: those that it knows.
        studies: fitted on.
        images: mean numbers of each sequence (:class:`~gliodistill.trust.appearance.Look`), in
        order.
        images_covariance: of them, within a sequence.
        pairs: mean numbers of each pair of sequences, as :func:`itertools.combinations` has them.
        pairs_covariance: of them, within a pair.
        margins: by how much other names must be likelier to be believed (natural logarithm): with
        1, 2, … images.
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

    def exchanged(self, look: Look) -> dict[MRSequence, MRSequence]:
        """Given name → what it looks like, of the images whose names are doubted; empty where names
        are believed.
        """
        given = tuple(look.images)
        if not given:
            return {}
        gain, names = self._likelier(look)
        return (
            {s: other for s, other in zip(given, names, strict=True) if s != other}
            if gain > self.margins[len(given) - 1]
            else {}
        )

    def unusual(self, look: Look) -> dict[MRSequence, float]:
        """Images that look like no sequence → their squared distance to the nearest."""
        nearest = {
            s: min(self._distance(facts, other) for other in self.sequences)
            for s, facts in look.images.items()
        }
        return {s: distance for s, distance in nearest.items() if distance > self.farthest}

    def _likelier(self, look: Look) -> tuple[float, tuple[MRSequence, ...]]:
        """The likeliest other names of the images, and by how much likelier they are than the given
        ones.
        """
        given = tuple(look.images)
        own = self._likelihood(look, given)
        others = (names for names in permutations(self.sequences, len(given)) if names != given)
        return max(
            ((self._likelihood(look, names) - own, names) for names in others),
            default=(-np.inf, given),
        )

    def _likelihood(self, look: Look, names: tuple[MRSequence, ...]) -> float:
        """Logarithm of how likely the images are if these are their names, but for a constant."""
        of = dict(zip(look.images, names, strict=True))
        images = sum(self._image_likelihood(look, s, name) for s, name in of.items())
        return images + sum(
            self._pair_likelihood(look, pair, (of[pair[0]], of[pair[1]])) for pair in look.pairs
        )

    def _image_likelihood(self, look: Look, s: MRSequence, name: MRSequence) -> float:
        return (
            -0.5 * (TAILS + FACTS) * float(np.log1p(self._distance(look.images[s], name) / TAILS))
        )

    def _pair_likelihood(self, look: Look, pair: Pair, names: Pair) -> float:
        facts = look.pairs[pair]
        turned = names not in self._pairs
        away = (
            (facts * MIRROR - self._pairs[names[1], names[0]])
            if turned
            else facts - self._pairs[names]
        )
        return (
            -0.5
            * (TAILS + len(MIRROR))
            * float(np.log1p(away @ self._pairs_precision @ away / TAILS))
        )

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
    def from_dict(cls, values: object) -> "Reference":
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


def fit_reference(images: Iterable[Levels], sequences: tuple[MRSequence, ...]) -> Reference:
    """Learn what right studies look like.

    Args:
        images: of prepared studies, levels, uint8 C X Y Z, e.g. ``(study.image() for study in
        cache)``.
        sequences: of their channels, e.g. ``cache.preparation.sequences``.

    Raises:
        EvaluationError: fewer than :data:`LEAST_STUDIES` with an image of each sequence.
    """
    ordered = tuple(s for s in MRSequence if s in sequences)
    pairs = list(combinations(ordered, 2))
    looks = [
        look
        for image in images
        if list((look := look_at(image, sequences)).images) == [*ordered] and [*look.pairs] == pairs
    ]
    if len(looks) < LEAST_STUDIES:
        raise EvaluationError(
            "too few studies to know sequences by",
            field="images",
            got=len(looks),
            expected=f"{LEAST_STUDIES} or more",
        )
    nowhere = tuple(0.0 for _ in ordered)
    gains: list[list[float]] = [[] for _ in ordered]
    distances = []
    for index, look in enumerate(looks):
        others = _means(looks[:index] + looks[index + 1 :], ordered, nowhere, 0.0)
        distances += [
            min(others._distance(facts, name) for name in ordered) for facts in look.images.values()
        ]
        for count in range(len(ordered)):
            gains[count] += [
                others._likelier(_part(look, names))[0]
                for names in combinations(ordered, count + 1)
            ]
    margins = tuple(round(max(LEAST_MARGIN, max(found) + MORE_MARGIN), 3) for found in gains)
    return _means(looks, ordered, margins, round(FARTHER * max(distances), 3))


def _means(
    looks: list[Look],
    sequences: tuple[MRSequence, ...],
    margins: tuple[float, ...],
    farthest: float,
) -> Reference:
    images, images_covariance = _moments(
        [[look.images[s] for look in looks] for s in sequences], FACTS
    )
    pairs, pairs_covariance = _moments(
        [[look.pairs[pair] for look in looks] for pair in combinations(sequences, 2)], len(MIRROR)
    )
    return Reference(
        sequences, len(looks), images, images_covariance, pairs, pairs_covariance, margins, farthest
    )


def _moments(groups: list[list[NDArray[np.float64]]], width: int) -> tuple[Matrix, Matrix]:
    """Mean of each group and the covariance within groups, shrunk to its diagonal; the identity
    where there is no group.
    """
    if not groups:
        return (), _matrix(np.eye(width))
    values = np.array(groups)  # groups, studies, numbers
    means = values.mean(axis=1)
    away = (values - means[:, None]).reshape(-1, width)
    covariance = away.T @ away / (len(away) - len(groups))
    # What never varied must not make any other value impossible.
    floor = 1e-4 * np.eye(width)
    return _matrix(means), _matrix(
        (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance)) + floor
    )


def _matrix(values: Any) -> Matrix:
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in values)


def _part(look: Look, names: tuple[MRSequence, ...]) -> Look:
    pairs: Mapping[Pair, NDArray[np.float64]] = {
        pair: facts for pair, facts in look.pairs.items() if set(pair) <= set(names)
    }
    return Look({s: look.images[s] for s in names}, pairs)
