"""A wrong optimum is told from a right registration by what the parts of the brain ask for."""

import numpy as np
import pytest

from alignment.conftest import middle_of, rigid
from gliodistill.alignment.confidence import confidence
from gliodistill.alignment.engine import optimise
from gliodistill.alignment.levels import Cropped
from gliodistill.alignment.registration import AGREEING_MM, COARSE, SHARP
from gliodistill.studies.sequence import MRSequence

T1, T1CE, T2, FLAIR = MRSequence


@pytest.fixture(scope="module")
def measure(head):
    """Confidence in a matrix that differs from the right one by a known one."""
    fixed, brain = head.images[T1CE], head.brains[T1CE].data > 0
    moving, other = head.images[FLAIR], head.brains[FLAIR].data > 0
    pair = Cropped.around(fixed, brain).level(4.0), Cropped.around(moving, other).level(4.0)
    true = np.linalg.inv(head.motion[FLAIR]) @ head.motion[T1CE]
    centre = middle_of(brain, fixed.affine)

    def improve(two, matrix):
        one, another = two
        return optimise(one.image, another.image, one.near, matrix, centre, **COARSE)

    def measured(degrees, mm):
        wrong = true @ rigid(degrees, mm, centre)
        return confidence(pair, wrong, True, improve)

    return measured


def test_a_right_registration_is_trusted(measure):
    found = measure(0.0, 0.0)
    assert found.disagreement < AGREEING_MM and found.sharpness > SHARP


@pytest.mark.parametrize(("degrees", "mm"), [(5.0, 3.0), (25.0, 20.0)])
def test_a_wrong_one_is_not(measure, degrees, mm):
    found = measure(degrees, mm)
    assert found.disagreement > AGREEING_MM or found.sharpness < SHARP
