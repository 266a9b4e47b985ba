"""Heads as scanned: where truth and movements say that things are, they are."""

import json
from itertools import pairwise

import numpy as np
import pytest

from gliodistill.errors import GliodistillError
from gliodistill.images import read_nifti
from gliodistill.phantom.raw import make_raw, stripped, write_niftis, write_scans
from gliodistill.studies.labels import BRATS2021
from gliodistill.studies.sequence import MRSequence

SPACING = 5.0


@pytest.fixture(scope="module")
def study():
    return make_raw(3, 1, SPACING)


def centre(mask, motion) -> np.ndarray:
    """Of a mask, in mm of the head."""
    voxels = np.argwhere(mask.data).mean(axis=0)
    return (motion @ mask.affine @ [*voxels, 1])[:3]


def test_each_sequence_has_a_grid_of_its_own(study):
    grids = list(study.images.values())
    assert len(grids) == 4
    assert all(not one.same_grid(other) for one, other in pairwise(grids))
    for sequence, image in study.images.items():
        assert study.truth[sequence].same_grid(image) and study.brains[sequence].same_grid(image)
        assert np.linalg.det(image.affine[:3, :3]) > 0


def test_movements_bring_all_sequences_together(study):
    for masks in (study.truth, study.brains):
        places = np.array([centre(masks[s], study.motion[s]) for s in MRSequence])
        assert np.abs(places - places.mean(axis=0)).max() < 2.0
    here = np.array([centre(study.truth[s], np.eye(4)) for s in MRSequence])
    assert np.abs(here - here.mean(axis=0)).max() > 2.0


def test_volumes_are_those_of_one_head(study):
    brains = [study.brains[s].data.sum() * study.brains[s].voxel_ml for s in MRSequence]
    tumours = [(study.truth[s].data > 0).sum() * study.truth[s].voxel_ml for s in MRSequence]
    assert min(brains) > 900 and max(brains) / min(brains) < 1.1
    assert max(tumours) / min(tumours) < 1.35
    assert all(set(np.unique(study.truth[s].data)) <= {0, *BRATS2021.codes} for s in MRSequence)


def test_a_head_surrounds_the_brain(study):
    for sequence, image in study.images.items():
        brain = study.brains[sequence].data > 0
        median = np.median(image.data[brain])
        head = (image.data > 0.3 * median).sum()
        assert 1.4 < head / brain.sum() < 4


def test_the_same_seed_gives_the_same_study(study):
    again = make_raw(3, 1, SPACING)
    assert all(np.array_equal(study.images[s].data, again.images[s].data) for s in MRSequence)
    other = make_raw(4, 1, SPACING)
    assert not all(np.array_equal(study.images[s].data, other.images[s].data) for s in MRSequence)


def test_files(tmp_path, study):
    settings = {"seed": 3, "spacing": SPACING}
    made = []

    def make(index):
        made.append(index)
        return study

    for _ in range(2):
        (folder,) = write_scans(tmp_path, 1, make, write_niftis, settings)
    assert made == [0]
    truth = tmp_path / "truth" / folder.name
    moves = json.loads((truth / "transforms.json").read_text())
    for sequence in MRSequence:
        stem = sequence.lower()
        image = read_nifti(folder / f"{study.id}_{stem}.nii.gz")
        assert np.array_equal(image.data, study.images[sequence].data)
        assert read_nifti(truth / f"{stem}_seg.nii.gz").same_grid(image)
        assert np.allclose(moves[sequence], study.motion[sequence])
    with pytest.raises(GliodistillError, match="other settings"):
        write_scans(tmp_path, 1, make, write_niftis, settings | {"spacing": 4.0})


def test_stripped_studies_have_one_grid():
    study = stripped(3, 1, 6.0)
    first = study.images[MRSequence.T1]
    assert all(image.same_grid(first) for image in study.images.values())
    assert not study.skull


def test_a_spacing_out_of_range_is_refused():
    with pytest.raises(GliodistillError, match="no such spacing"):
        make_raw(0, 0, 0.1)
