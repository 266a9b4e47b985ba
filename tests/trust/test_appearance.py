import numpy as np
import pytest
from scipy.stats import pearsonr

import tissue_studies
from gliodistill.preparation import dequantise
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance import FACTS, MIRROR, appearance_of, thinned

SEQUENCES = tuple(MRSequence)


def test_numbers_of_an_image_are_its_percentiles_and_shells() -> None:
    image = tissue_studies.levels(1)
    appearance = appearance_of(image, SEQUENCES)
    filled = image[2] > 0
    values = dequantise(image[2])[filled]
    facts = appearance.images[MRSequence.T2]
    assert facts.shape == (FACTS,)
    np.testing.assert_allclose(
        facts[:7], np.percentile(values, [5, 25, 50, 75, 95, 99, 99.8]), atol=1e-6
    )
    # From white matter in the middle to fluid around, ever brighter on T2.
    assert facts[7] < facts[8] < facts[9]


def test_numbers_of_a_pair() -> None:
    image = tissue_studies.levels(2)
    facts = appearance_of(image, SEQUENCES).pairs[MRSequence.T1, MRSequence.T1CE]
    first, second = (dequantise(image[channel])[image[0] > 0].astype(float) for channel in (0, 1))
    assert facts[0] == pytest.approx(pearsonr(first, second).statistic, abs=1e-6)
    scored = (first - second - (first - second).mean()) / (first - second).std()
    assert facts[1] == pytest.approx(
        np.percentile(scored, 0.5) + np.percentile(scored, 99.5), abs=1e-5
    )
    assert facts[1] < -1  # vessels and tumour are brighter with contrast
    turned = appearance_of(image[[1, 0]], (MRSequence.T1, MRSequence.T1CE)).pairs[
        MRSequence.T1, MRSequence.T1CE
    ]
    np.testing.assert_allclose(turned, facts * MIRROR, atol=1e-6)


def test_what_is_not_there_is_passed_over() -> None:
    image = tissue_studies.levels(3)
    image[1] = 0
    image[3].flat[50:] = 0
    appearance = appearance_of(image, SEQUENCES)
    assert list(appearance.images) == [MRSequence.T1, MRSequence.T2]
    assert list(appearance.pairs) == [(MRSequence.T1, MRSequence.T2)]


def test_large_images_are_thinned_evenly() -> None:
    image = np.arange(4 * 160 * 30 * 81).astype(np.uint8).reshape(4, 160, 30, 81)
    thin, each = thinned(image)
    assert (thin.shape, each) == ((4, 40, 30, 41), 8)
    np.testing.assert_array_equal(thin, image[:, ::4, :, ::2])
