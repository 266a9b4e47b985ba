import json
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_t

import tiny_model
import tissue_studies
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.models import ModelPackage
from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance import MIRROR, Appearance, appearance_of
from gliodistill.trust.appearance_model import TAILS, AppearanceModel, fit_appearance

SEQUENCES = tuple(MRSequence)
T1, T1CE, T2, FLAIR = SEQUENCES


@pytest.fixture(scope="module")
def reference() -> AppearanceModel:
    return fit_appearance((tissue_studies.levels(seed) for seed in range(12)), SEQUENCES)


def likelihood(
    reference: AppearanceModel, appearance: Appearance, names: tuple[MRSequence, ...]
) -> float:
    """The same by SciPy's density."""
    of = dict(zip(appearance.images, names, strict=True))
    means = dict(zip(SEQUENCES, reference.images, strict=True))
    total = sum(
        multivariate_t.logpdf(facts, means[of[s]], reference.images_covariance, TAILS)
        for s, facts in appearance.images.items()
    )
    pairs = dict(zip(combinations(SEQUENCES, 2), map(np.array, reference.pairs), strict=True))
    pairs |= {(b, a): mean * MIRROR for (a, b), mean in pairs.items()}
    for (a, b), facts in appearance.pairs.items():
        # The covariance of a pair and of its mirror image are not the same: facts are turned, as
        # the mean is.
        turned = facts if (of[a], of[b]) in combinations(SEQUENCES, 2) else facts * MIRROR
        mean = pairs[min(of[a], of[b], key=SEQUENCES.index), max(of[a], of[b], key=SEQUENCES.index)]
        total += multivariate_t.logpdf(turned, mean, reference.pairs_covariance, TAILS)
    return float(total)


@pytest.mark.parametrize(
    "channels", [(0, 1, 2, 3), (1, 0, 2, 3), (0, 1, 3, 2), (3, 1, 2, 0), (1, 2, 0, 3)]
)
def test_names_are_doubted_by_the_likelihood(
    reference: AppearanceModel, channels: tuple[int, ...]
) -> None:
    appearance = appearance_of(tissue_studies.levels(30)[list(channels)], SEQUENCES)
    scores = {names: likelihood(reference, appearance, names) for names in permutations(SEQUENCES)}
    best = max(scores, key=lambda names: scores[names])
    assert best == tuple(SEQUENCES[channel] for channel in channels)
    expected = {s: other for s, other in zip(SEQUENCES, best, strict=True) if s != other}
    assert scores[best] - scores[SEQUENCES] > reference.margins[3] or not expected
    assert reference.exchanged(appearance) == expected


def test_right_studies_are_believed_with_any_subset(reference: AppearanceModel) -> None:
    for seed in range(20, 26):
        image = tissue_studies.levels(seed)
        for size in range(1, 5):
            for kept in combinations(range(4), size):
                appearance = appearance_of(image[list(kept)], tuple(SEQUENCES[k] for k in kept))
                assert reference.exchanged(appearance) == {}
                assert reference.unusual(appearance) == {}


def test_one_sequence_given_as_another(reference: AppearanceModel) -> None:
    appearance = appearance_of(tissue_studies.levels(31)[[2]], (FLAIR,))
    assert reference.exchanged(appearance) == {FLAIR: T2}


def test_an_image_of_something_else_is_unusual(reference: AppearanceModel) -> None:
    image = tissue_studies.levels(32)
    noise = np.random.default_rng(0).integers(1, 255, image.shape[1:], dtype=np.uint8)
    image[2] = np.where(image[2] > 0, noise, 0)
    appearance = appearance_of(image, SEQUENCES)
    found = reference.unusual(appearance)
    precision = np.linalg.inv(reference.images_covariance)
    nearest = min(
        mahalanobis(appearance.images[T2], mean, precision) ** 2 for mean in reference.images
    )
    assert found == {T2: pytest.approx(nearest)}
    assert nearest > reference.farthest


def test_nothing_given_is_nothing_wrong(reference: AppearanceModel) -> None:
    assert reference.exchanged(Appearance({}, {})) == reference.unusual(Appearance({}, {})) == {}


def test_one_sequence_alone_can_only_be_unusual() -> None:
    alone = fit_appearance((tissue_studies.levels(seed)[[3]] for seed in range(8)), (FLAIR,))
    appearance = appearance_of(tissue_studies.levels(40)[[3]], (FLAIR,))
    assert alone.exchanged(appearance) == alone.unusual(appearance) == {}
    assert AppearanceModel.from_dict(json.loads(json.dumps(alone.to_dict()))) == alone


def test_a_package_brings_it_along(reference: AppearanceModel, tmp_path: Path) -> None:
    assert AppearanceModel.from_dict(json.loads(json.dumps(reference.to_dict()))) == reference
    tiny_model.export(tmp_path / "model", reference=reference, preparation=Preparation())
    assert ModelPackage.open(tmp_path / "model").spec.reference == reference
    assert reference.studies == 12


def test_what_is_wrong_is_named(reference: AppearanceModel) -> None:
    with pytest.raises(EvaluationError, match=r"too few studies.*got 7"):
        fit_appearance((tissue_studies.levels(seed) for seed in range(7)), SEQUENCES)
    values = reference.to_dict()
    for change, words in (
        ({"margins": [1.0]}, "reference"),
        ({"farthest": float("inf")}, "reference.farthest"),
        ({"x": 1}, "reference.x"),
    ):
        with pytest.raises(PackageError, match=words):
            AppearanceModel.from_dict(values | change)
    with pytest.raises(PackageError, match=r"reference.sequences"):
        tiny_model.spec(
            reference=fit_appearance(
                (tissue_studies.levels(seed)[:2] for seed in range(8)), SEQUENCES[:2]
            )
        )
