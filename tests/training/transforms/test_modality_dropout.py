"""Which sequences a patch loses."""

from collections import Counter

import numpy as np
from scipy import stats

from gliodistill.training.transforms import ModalityDropout


def test_dropping_sequences_leaves_one():
    random = np.random.default_rng(0)
    kept = [ModalityDropout(1.0).draw((True, False, True, True), random) for _ in range(200)]
    assert all(sum(keep) == 1 for keep in kept)
    assert {keep.index(True) for keep in kept} == {0, 2, 3}
    never = [ModalityDropout().draw((True, False), random) for _ in range(20)]
    assert set(never) == {(True, False)}


def test_dropped_by_half_every_subset_is_as_likely():
    random = np.random.default_rng(0)
    counts = Counter(ModalityDropout(0.5).draw((True,) * 4, random) for _ in range(3000))
    assert len(counts) == 15
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_a_patch_may_be_spared_from_dropping():
    dropout, random = ModalityDropout(0.5, keep_all=0.6), np.random.default_rng(0)
    counts = Counter(dropout.draw((True, True, False, True), random) for _ in range(3000))
    assert len(counts) == 7
    # Spared, or drawn whole as one of seven subsets.
    expected = {kept: 3000 * (0.4 / 7 + 0.6 * (sum(kept) == 3)) for kept in counts}
    assert stats.chisquare(list(counts.values()), list(expected.values())).pvalue > 0.01
