"""One synthetic head as scanned, and the brain extraction that knows the truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from gliodistill.images.volume import Volume
from gliodistill.phantom.raw import make_raw

SPACING = 3.0


@pytest.fixture(scope="session")
def head():
    return make_raw(5, 2, SPACING)  # T1CE and FLAIR thin, T1 and T2 thick


@pytest.fixture(scope="session")
def extract(head):
    """Brain of any scan of the head, told by its grid; of other scans by their background."""
    brains = [(image, head.brains[s].data > 0) for s, image in head.images.items()]

    def found(volume):
        for image, brain in brains:
            if image.shape == volume.shape and image.spacing == volume.spacing:
                return SimpleNamespace(mask=brain, flags=(), stripped=False)
        return SimpleNamespace(mask=volume.data != 0, flags=(), stripped=True)

    return found


def rigid(degrees, mm, middle, seed=0):
    """Rotation about a random axis through ``middle``, and a shift in a random direction."""
    from scipy.spatial.transform import Rotation

    axis, away = np.random.default_rng(seed).normal(size=(2, 3))
    turned = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turned
    matrix[:3, 3] = middle - turned @ middle + mm * away / np.linalg.norm(away)
    return matrix


def middle_of(mask, affine):
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]


def moved(volume, matrix):
    return Volume(volume.data, matrix @ volume.affine)


def target_errors(mask, affine, matrix, true):
    """Distances in mm between where two matrices take the brain."""
    where = np.argwhere(mask)[::29]
    points = np.c_[where, np.ones(len(where))] @ affine.T
    return np.linalg.norm(points @ (matrix - true)[:3].T, axis=1)
