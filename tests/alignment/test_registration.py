"""Two scans of one head find each other."""

import numpy as np
import pytest

from alignment.conftest import middle_of, moved, rigid, target_errors
from gliodistill.alignment import register
from gliodistill.errors import ImageError
from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence

T1, T1CE, T2, FLAIR = MRSequence


def pair(head, sequence, degrees, mm, kept=slice(None)):
    """T1CE and another sequence, moved: scans, masks, and the matrix that is right."""
    scan, brain = head.images[sequence], head.brains[sequence].data > 0
    move = rigid(degrees, mm, middle_of(brain, scan.affine))
    true = move @ np.linalg.inv(head.motion[sequence]) @ head.motion[T1CE]
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (kept.start or 0)
    part = moved(Volume(scan.data[:, :, kept], affine), move)
    fixed = head.images[T1CE]
    return (fixed, part, head.brains[T1CE].data > 0, brain[:, :, kept]), true


def test_a_turned_and_cut_scan_is_brought_back(head):
    scans, true = pair(head, T1, 30.0, 10.0, kept=slice(8, None))  # 6 mm slices, voxels of 3 mm
    found = register(*scans)
    errors = target_errors(scans[2], scans[0].affine, found.matrix, true)
    assert np.median(errors) < 1.0
    assert not found.failed and found.flags == ()
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-6)
    assert found.start


def test_masks_must_fit(head):
    (fixed, moving, mask, other), _ = pair(head, FLAIR, 0.0, 0.0)
    with pytest.raises(ImageError, match=r"mask does not fit.*fixed_mask"):
        register(fixed, moving, mask[1:], other)
    with pytest.raises(ImageError, match=r"no brain.*moving_mask"):
        register(fixed, moving, mask, np.zeros_like(other))
