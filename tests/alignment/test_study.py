"""A study as scanned comes onto one grid, and its labels go back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from alignment.conftest import SPACING, target_errors
from gliodistill.alignment import align_study, read_transform
from gliodistill.alignment.working import averaged
from gliodistill.errors import StudyError
from gliodistill.images import read_nifti
from gliodistill.images.volume import Volume
from gliodistill.phantom.raw import stripped
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

T1, T1CE, T2, FLAIR = MRSequence


@pytest.fixture(scope="module")
def aligned(head, extract):
    return align_study(thick_and_thin(head), extract=extract, spacing=SPACING)


def thick_and_thin(head):
    """The scans but for T1, which tests/alignment/test_registration.py aligns."""
    return {sequence: head.images[sequence] for sequence in (T1CE, T2, FLAIR)}


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_every_sequence_is_placed(head, aligned):
    assert aligned.reference == T1CE and "T2 6 mm" in aligned.steps[T1CE]["text"]
    brain = aligned.brain.data > 0
    for sequence, matrix in aligned.matrices.items():
        true = np.linalg.inv(head.motion[sequence]) @ head.motion[T1CE]
        errors = target_errors(brain, aligned.grid.affine, matrix, true)
        assert np.median(errors) < 1.0, sequence
        assert aligned.steps[sequence]["brain_ml"] > 1000
    assert aligned.flags == () and not aligned.untouched


def test_images_share_one_isotropic_grid_with_the_brain_alone(head, aligned):
    assert aligned.grid.spacing == pytest.approx((SPACING,) * 3)
    brain = aligned.brain.data > 0
    truth = head.brains[T1CE]
    assert brain.sum() * aligned.grid.voxel_ml == pytest.approx(
        truth.data.sum() * truth.voxel_ml, rel=0.03
    )
    for image in aligned.images.values():
        assert image.same_grid(aligned.grid) and image.data.dtype == np.float32
        assert not image.data[~brain].any() and (image.data[brain] > 0).mean() > 0.99


def test_labels_go_back_to_each_scan_and_come_from_it(head, aligned):
    for sequence, scan in thick_and_thin(head).items():
        here = aligned.label_map_from(head.truth[sequence], sequence)
        assert here.same_grid(aligned.grid)
        back = aligned.label_map_on(here, sequence)
        assert back.same_grid(scan)
        assert dice(back.data > 0, head.truth[sequence].data > 0) > 0.9
    crossed = aligned.label_map_on(aligned.label_map_from(head.truth[FLAIR], "FLAIR"), "T2")
    assert dice(crossed.data > 0, head.truth[T2].data > 0) > 0.75
    with pytest.raises(StudyError, match="no such scan"):
        align_study({"T1": stripped(5, 2, 6.0).images[T1]}, extract=_bare).label_map_on(
            np.zeros((40, 40, 26), np.uint8), "T2"
        )


def _bare(volume):
    return SimpleNamespace(mask=volume.data > 0, flags=("a doubt",), stripped=True)


def test_what_does_not_fit_is_left_out_and_what_may_not_is_named(head, extract):
    noise = np.random.default_rng(0).normal(100, 20, head.images[T2].shape).astype(np.float32)
    flair = head.images[FLAIR]
    blurred = ndimage.gaussian_filter(flair.data, 6 / np.array(flair.spacing))
    lost = head.images[T2].with_data(noise)
    scans = {"T1CE": head.images[T1CE], "T2": lost, "FLAIR": flair.with_data(blurred)}
    ball = np.zeros(lost.shape, bool)
    ball[20:30, 20:30, 10:15] = True

    def wrong(volume):
        if volume is lost:
            return SimpleNamespace(mask=ball, flags=(), stripped=False)
        return extract(volume)

    found = align_study(scans, extract=wrong, spacing=SPACING)
    assert list(found.images) == [T1CE, FLAIR]
    assert "T2 left out: the images are not similar" in found.flags[0]
    assert "; the brains overlap by" in found.flags[0]
    assert "not aligned" in found.steps[T2]["text"]
    assert "FLAIR may be misaligned: " in found.flags[1]
    assert found.steps[FLAIR]["text"].endswith(", doubtful")
    assert {"disagreement_mm", "sharpness"} < set(found.steps[FLAIR])


def test_an_aligned_study_passes_untouched():
    study = stripped(5, 2, 4.0)
    found = align_study(study.images, extract=_bare)
    assert found.untouched and found.flags == tuple(f"{s}: a doubt" for s in MRSequence)
    assert all(found.images[s] is study.images[s] for s in MRSequence)
    codes = study.truth[T2]
    np.testing.assert_array_equal(found.label_map_on(codes, "T2").data, codes.data)


def test_fine_voxels_are_averaged_in_place():
    rng = np.random.default_rng(0)
    scan = Volume(rng.normal(size=(9, 8, 5)).astype(np.float32), np.diag([-0.3, 0.5, 3.0, 1]))
    found = averaged(scan, 1.0)
    assert found.shape == (3, 4, 5) and found.spacing == pytest.approx((0.9, 1.0, 3.0))
    np.testing.assert_allclose(found.data[1, 2, 4], scan.data[3:6, 4:6, 4].mean(), rtol=1e-5)
    middle = (scan.affine @ [4, 4.5, 4, 1])[:3]
    np.testing.assert_allclose((found.affine @ [1, 2, 4, 1])[:3], middle)
    assert averaged(scan, 0.4) is scan


def test_a_fine_study_passes_untouched_with_a_mask_of_its_own_grid():
    data = np.zeros((12, 12, 12), np.float32)
    data[3:9, 3:9, 3:9] = 7
    fine = Volume(data, np.diag([0.4, 0.4, 0.4, 1]))
    found = align_study({"T1": fine, "FLAIR": fine}, extract=_bare)
    assert found.untouched and found.images[T1] is fine
    np.testing.assert_array_equal(found.brain.data, data > 0)
    assert found.scans[T1].same_grid(fine)


def test_what_is_written_is_a_study(tmp_path, aligned):
    aligned.write(tmp_path / "case1")
    study = Study.open(tmp_path)
    assert study.id == "case1" and study.sequences == (T1CE, T2, FLAIR)
    np.testing.assert_array_equal(study.images[T2].data, aligned.images[T2].data)
    mask = read_nifti(tmp_path / "case1" / "case1_brainmask.nii.gz")
    np.testing.assert_array_equal(mask.data, aligned.brain.data)
    np.testing.assert_array_equal(
        read_transform(tmp_path / "case1" / "flair.tfm"), aligned.matrices[FLAIR]
    )
    told = json.loads((tmp_path / "case1" / "study.json").read_text())
    assert told["reference"] == "T1CE" and told["left_out"] == []
    assert set(told["sequences"]) == {"T1CE", "T2", "FLAIR"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "talairach"}, "no such space"),
        ({"spacing": 0.01}, "no such spacing"),
        ({"space": "t1ce"}, "reference is absent"),
        ({"reference": "T1CE", "space": "reference"}, "reference is absent"),
        ({"reference": "FLAIR", "space": "t1ce"}, "two references"),
    ],
)
def test_wrong_wishes_are_refused(head, options, words):
    with pytest.raises(StudyError, match=words):
        align_study({"FLAIR": head.images[FLAIR]}, extract=_bare, **options)
    with pytest.raises(StudyError, match="no scan"):
        align_study({})


def test_the_thinnest_whole_scan_is_the_reference():
    from gliodistill.alignment.frames import choose_reference

    def scan(z, n):
        return Volume(np.ones((10, 10, n), np.float32), np.diag([1.0, 1, z, 1]))

    def chosen(**scans):
        named = {MRSequence[name]: scan(*sides) for name, sides in scans.items()}
        return choose_reference(named, {s: v.data.sum() * v.voxel_ml for s, v in named.items()})[0]

    assert chosen(T1=(1, 60), T1CE=(6, 10), FLAIR=(1.2, 50)) == FLAIR
    assert chosen(T1=(5, 12), T1CE=(6, 10), T2=(6, 10)) == T1CE
    assert chosen(T1=(1, 60), T1CE=(1, 20), T2=(6, 10)) == T1  # T1CE is cut


def test_a_field_in_which_no_brain_fits_is_no_reference_whatever_its_mask_holds():
    from gliodistill.alignment.frames import choose_reference

    whole, cut = (
        Volume(np.zeros((30, 30, n), np.uint8), np.diag([8.0, 8, 7, 1])) for n in (20, 10)
    )
    scans = {MRSequence.T1: whole, MRSequence.T1CE: cut, FLAIR: whole}
    reference, why = choose_reference(
        scans, {**dict.fromkeys(scans, 1357.0), MRSequence.T1CE: 1535}
    )
    assert reference == FLAIR and "cut" in why
