"""Brain extraction on phantom heads: the brain found, the tumour kept, doubts told."""

import hashlib
import json

import numpy as np
import pytest

from gliodistill import Volume
from gliodistill.brain import extract_brain, is_stripped
from gliodistill.brain.extraction import GRAPH
from gliodistill.images import read_nifti, write_nifti
from gliodistill.images.bounds import filled_box
from gliodistill.phantom.raw import make_raw, stripped
from gliodistill.studies.sequence import MRSequence


@pytest.fixture(scope="module")
def study():
    return make_raw(seed=24, index=1, spacing=2.0)


@pytest.fixture(scope="module")
def head(study):
    return study.images[MRSequence.FLAIR]


@pytest.fixture(scope="module")
def expected(head):
    return extract_brain(head).mask


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("sequence", MRSequence)
def test_the_brain_is_found_and_the_tumour_kept(study, sequence):
    found = extract_brain(study.images[sequence])
    brain, tumour = study.brains[sequence].data > 0, study.truth[sequence].data > 0
    assert found.mask.shape == brain.shape and found.mask.dtype == bool
    assert dice(found.mask, brain) > 0.85  # real heads do better; a phantom is simple
    assert (tumour & ~found.mask).sum() <= 0.01 * tumour.sum()
    assert found.volume_ml == pytest.approx(found.mask.sum() * study.images[sequence].voxel_ml)
    assert not found.stripped


@pytest.mark.parametrize(
    ("order", "flips"), [((1, 0, 2), ()), ((2, 0, 1), (0, 2)), ((0, 1, 2), (0,)), ((2, 1, 0), (1,))]
)
def test_the_order_of_the_array_makes_no_difference(head, expected, order, flips):
    data, mask = head.data.transpose(order), expected.transpose(order)
    affine = head.affine[:, [*order, 3]].copy()
    for axis in flips:
        data, mask = np.flip(data, axis), np.flip(mask, axis)
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
    assert np.array_equal(extract_brain(Volume(data, affine)).mask, mask)


def test_the_scale_of_intensities_makes_no_difference(head, expected):
    z = (head.data - head.data.mean()) / head.data.std()
    for data in (head.data * 1e-6, z):
        assert dice(extract_brain(head.with_data(data)).mask, expected) > 0.999


def test_a_stripped_image_is_recognised_and_kept(study, head):
    brain = study.brains[MRSequence.FLAIR].data > 0
    image = head.with_data(np.where(brain, np.maximum(head.data, 1), 0))
    shifted = image.with_data(np.where(brain, image.data / 100 - 3, np.float32(-3)))
    for each in (image, shifted, stripped(24, 2, spacing=2.0).images[MRSequence.T2]):
        assert is_stripped(each)
        found = extract_brain(each)
        assert found.stripped and found.flags == ()
        assert not (~found.mask & (each.data != each.data[0, 0, 0])).any()


def test_a_stripped_image_is_recognised_without_air_around_it():
    image = stripped(24, 2, spacing=2.0).images[MRSequence.T2]
    box = filled_box(image.data)
    cropped = Volume(image.data[box], image.affine)  # only spacing and directions count
    assert is_stripped(cropped)
    found = extract_brain(cropped)
    assert found.stripped and np.array_equal(found.mask, extract_brain(image).mask[box])


@pytest.mark.parametrize("sequence", MRSequence)
def test_a_head_is_not_stripped(study, sequence):
    image = study.images[sequence]
    clean = image.with_data(np.where(image.data > 0.1 * image.data.max(), image.data, 0))
    assert not is_stripped(clean) and not is_stripped(image)


def test_a_cut_field_of_view_is_flagged(head):
    middle = head.shape[1] // 2
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 1] * middle
    found = extract_brain(Volume(head.data[:, middle:], affine))
    assert any("edge of the image: " in flag for flag in found.flags), found.flags


@pytest.mark.parametrize("content", ["zeros", "constant", "nothing finite"])
def test_what_holds_no_brain_is_flagged(content):
    data = {
        "zeros": np.zeros((40, 50, 30), np.float32),
        "constant": np.full((40, 50, 30), 7, np.int16),
        "nothing finite": np.full((40, 50, 30), np.nan, np.float32),
    }[content]
    found = extract_brain(Volume(data, np.diag([4.0, 4, 5, 1])))
    assert found.flags == ("no brain found",) and not found.mask.any() and not found.stripped


def test_a_thin_or_single_slice_is_no_error(head):
    for depth in (1, 3):
        part = Volume(head.data[:, :, :depth], head.affine)
        assert extract_brain(part).mask.shape == part.shape


def test_what_is_not_finite_counts_as_nothing(head):
    data = head.data.copy()
    data[:3] = np.nan
    cleaned = np.nan_to_num(data)
    found, expected = (extract_brain(head.with_data(each)).mask for each in (data, cleaned))
    assert np.array_equal(found, expected)


def test_the_network_is_the_one_described_and_small():
    facts = json.loads(GRAPH.with_suffix(".json").read_text())
    files = {name: GRAPH.parent / name for name in facts["sha256"]}
    found = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert found == facts["sha256"]
    assert sum(file.stat().st_size for file in files.values()) < 3e6


def test_the_command_writes_the_mask(program, head, expected, tmp_path):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    write_nifti(head, scan)
    said = json.loads(program("brain", scan, "-o", out, "--json").out)
    mask = read_nifti(out)
    assert mask.same_grid(head)
    assert dice(mask.data > 0, expected) > 0.999  # the file's affine is float32
    assert said["volume_ml"] == pytest.approx(mask.data.sum() * mask.voxel_ml, abs=0.1)
