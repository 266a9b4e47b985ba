"""Changes of what is scanned: image and reference together, against plain NumPy."""

import numpy as np
import pytest
from scipy import ndimage

from gliodistill.studies.sequence import MRSequence
from gliodistill.training.transforms import BrainMask, ContrastAgent, Patch
from gliodistill.training.transforms.brain_mask import BrainMaskDraw
from gliodistill.training.transforms.contrast_agent import ContrastAgentDraw

SHAPE = (24, 22, 20)
EVERY = tuple(MRSequence)
T1, T1CE, T2 = map(EVERY.index, (MRSequence.T1, MRSequence.T1CE, MRSequence.T2))


def patch(kept=(True,) * 4, soft=False):
    """A box of brain with a tumour that has three regions and touches its border; no T2."""
    random = np.random.default_rng(0)
    levels = np.zeros((4, *SHAPE), dtype=np.uint8)
    levels[:, 4:20, 4:20, :] = random.integers(1, 256, (4, 16, 16, SHAPE[2]), dtype=np.uint8)
    levels[T2] = 0
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[4:14, 6:16, 4:16] = 1
    truth[4:12, 8:14, 6:14] = 3
    truth[6:10, 9:13, 7:12] = 7
    truth[15, 15, 15] = 8  # unknown
    if soft:
        truth = np.stack([200 * (truth >> bit & 1) for bit in range(3)]).astype(np.uint8)
    return Patch(levels, truth, EVERY, kept)


def drawn_share(value):
    return ContrastAgentDraw(np.full((3, 3, 3), value))


@pytest.mark.parametrize("soft", [False, True])
def test_without_contrast_agent_t1ce_is_t1_and_nothing_enhances(soft):
    changed, plain = patch(soft=soft), patch(soft=soft)
    ContrastAgent().apply(changed, drawn_share(1.0))
    np.testing.assert_array_equal(changed.levels[T1CE], plain.levels[T1])
    np.testing.assert_array_equal(changed.levels[[T1, 3]], plain.levels[[T1, 3]])
    if soft:
        np.testing.assert_array_equal(changed.truth[:2], plain.truth[:2])
        assert plain.truth[2].any() and not changed.truth[2].any()
    else:
        np.testing.assert_array_equal(changed.truth, np.where(plain.truth == 7, 3, plain.truth))


def test_a_little_less_contrast_keeps_et():
    changed, plain = patch(), patch()
    ContrastAgent().apply(changed, drawn_share(0.4))
    mixed = 0.6 * plain.levels[T1CE] + 0.4 * plain.levels[T1]
    np.testing.assert_allclose(changed.levels[T1CE], mixed, atol=0.51)
    np.testing.assert_array_equal(changed.truth, plain.truth)


def test_contrast_that_varies_removes_et_where_it_is_gone():
    share = np.zeros((3, 3, 3))
    share[0] = 1.0  # falls to 0 at the middle of the first axis
    changed, plain = patch(), patch()
    ContrastAgent().apply(changed, ContrastAgentDraw(share))
    np.testing.assert_array_equal(changed.truth[6:], plain.truth[6:])
    share[1] = 1.0
    ContrastAgent().apply(changed, ContrastAgentDraw(share))
    assert (changed.truth == 3).sum() == ((plain.truth == 3) | (plain.truth == 7)).sum()


def test_nothing_happens_without_t1_or_where_the_student_has_no_t1ce():
    turned = EVERY[1:] + EVERY[:1]
    for sequences, kept in ((turned, (True,) * 4), (EVERY, (True, False, True, True))):
        changed, plain = patch(kept), patch(kept)
        changed = Patch(changed.levels, changed.truth, sequences, kept)
        if sequences is EVERY:
            ContrastAgent().apply(changed, drawn_share(1.0))
        else:
            changed.levels[sequences.index(MRSequence.T1)] = plain.levels[3] = 0
            ContrastAgent().apply(changed, drawn_share(1.0))
        np.testing.assert_array_equal(changed.levels, plain.levels)
        np.testing.assert_array_equal(changed.truth, plain.truth)


def mask_draw(shift):
    return BrainMaskDraw(
        np.full((4, 4, 4), float(shift)), np.array([3.0, 2.0, 1.0, -1.0]), np.zeros((8, 8, 8))
    )


def test_an_eroded_brain_is_empty_in_image_and_reference():
    changed, plain = patch(), patch()
    BrainMask().apply(changed, mask_draw(-2.0))
    brain, left = (p.levels.any(axis=0) for p in (plain, changed))
    assert not (left & ~brain).any()
    # At flat borders two voxels are gone; at the patch's own border nothing is.
    assert not left[4:6].any() and left[6, 8:16, 0].all() and left[6, 8:16, -1].all()
    np.testing.assert_array_equal(changed.levels, np.where(left, plain.levels, 0))
    np.testing.assert_array_equal(changed.truth & 7, np.where(left, plain.truth & 7, 0))
    assert changed.truth[15, 15, 15] == 8


def test_tissue_is_left_on_in_the_sequences_that_are_there():
    changed, plain = patch(), patch()
    BrainMask().apply(changed, mask_draw(2.0))
    brain, now = (p.levels.any(axis=0) for p in (plain, changed))
    depth = ndimage.distance_transform_edt(~brain)
    added = now & ~brain
    assert added[2:4, 8:16, 8:12].all() and depth[added].max() <= 3
    assert not changed.levels[T2].any()
    for channel, z in ((T1, 3.0), (T1CE, 2.0), (3, -1.0)):
        level = round((z + 5) / 10 * 254 + 1)
        assert set(np.unique(changed.levels[channel][added])) == {level}
        np.testing.assert_array_equal(changed.levels[channel][brain], plain.levels[channel][brain])
    np.testing.assert_array_equal(changed.truth, plain.truth)


@pytest.mark.parametrize("transform", [ContrastAgent(), BrainMask()], ids=["contrast", "mask"])
def test_equal_seeds_equal_results(transform):
    first, again = patch(), patch()
    for made in (first, again):
        transform.apply(made, transform.draw(4, np.random.default_rng(3)))
    np.testing.assert_array_equal(first.levels, again.levels)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert (first.levels != patch().levels).any()
