"""The reference of brain masks is placed right, and no patient judges a network that saw it."""

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.brain_extraction.fine_tune import fold_of
from benchmarks.brain_extraction.references import Reference, place, scanned

from gliodistill import Volume
from gliodistill.phantom.anatomy import rotation
from gliodistill.phantom.raw import make_raw
from gliodistill.studies.sequence import MRSequence


def test_a_moved_reference_is_placed_back():
    study = make_raw(seed=24, index=3, spacing=2.0)
    head, brain, tumour = (
        each[MRSequence.T1] for each in (study.images, study.brains, study.truth)
    )
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = rotation((2.0, -1.0, 1.5)), (1.5, -2.0, 1.0)
    images = (head.data * (brain.data > 0), brain.data > 0, tumour.data > 0)
    reference = Reference(
        *(Volume(each.astype(np.float32), moved @ head.affine) for each in images)
    )
    found = place(reference, head)
    assert found.after > 0.95 > found.before, found
    corners = np.argwhere(brain.data > 0)[::997]
    points = np.c_[corners, np.ones(len(corners))] @ head.affine.T
    far = np.linalg.norm((points @ (found.matrix - moved).T)[:, :3], axis=1)
    assert far.max() < 1.0  # mm; by the header 3 mm
    placed, _, field = reference.placed(found.matrix).on(head)
    assert ((placed > 0.5) & (brain.data > 0)).sum() > 0.98 * (brain.data > 0).sum()
    assert field.max() == 1


def test_empty_slices_are_not_shown():
    data = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
    data[..., :2] = data[5] = 0
    shown = scanned(Volume(data, np.eye(4)))
    assert shown.shape == data.shape
    assert not shown[..., :2].any() and not shown[5].any() and shown[:5, :, 2:].all()


def test_every_patient_is_in_one_fold():
    folds = fold_of(["c", "a", "b", "d"], 3)
    assert set(folds) == {"a", "b", "c", "d"} and set(folds.values()) == {0, 1, 2}
