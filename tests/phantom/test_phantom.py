import json
import subprocess
import sys

import numpy as np
import pytest

from gliodistill.errors import GliodistillError
from gliodistill.phantom import (
    PhantomParameters,
    draw_parameters,
    make_phantom,
    render,
    write_cohort,
)
from gliodistill.phantom.parameters import KINDS
from gliodistill.studies import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import load_study

COARSE = 3.0


@pytest.fixture(scope="module")
def studies():
    return [make_phantom(5, index, COARSE) for index in range(5)]


def voxels(study):
    return [study.images[sequence].data for sequence in MRSequence] + [study.truth.data]


def test_same_seed_and_index_give_the_same_voxels_and_others_do_not(studies):
    again = make_phantom(5, 3, COARSE)
    for first, second in zip(voxels(studies[3]), voxels(again), strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(
        studies[3].images[MRSequence.T1].data, studies[2].images[MRSequence.T1].data
    )
    assert draw_parameters(5, 3).tumour != draw_parameters(6, 3).tumour


def test_parameters_survive_json_and_reproduce_the_study(studies):
    parameters = draw_parameters(5, 1)
    replayed = PhantomParameters.from_dict(json.loads(json.dumps(parameters.as_dict())))
    assert replayed == parameters
    for first, second in zip(voxels(studies[1]), voxels(render(replayed, COARSE)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_voxels_are_integers_and_zero_outside_the_brain(studies):
    for study in studies:
        brain = np.any([study.images[s].data > 0 for s in MRSequence], axis=0)
        assert 0.05 < brain.mean() < 0.3
        assert not study.truth.data[~brain].any()
        for sequence in MRSequence:
            data = study.images[sequence].data
            assert data.dtype == np.float32
            np.testing.assert_array_equal(data, np.rint(data))
            assert data.min() == 0
            assert data.max() <= 32767


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [(1.0, (240, 240, 155)), (2.0, (120, 120, 78)), (2.5, (96, 96, 62)), (3.0, (80, 80, 52))],
)
def test_grid_is_the_brats_field_of_view(spacing, shape):
    from gliodistill.phantom.cohort import _affine
    from gliodistill.phantom.fields import Grid

    assert Grid.field(spacing).shape == shape
    affine = _affine(spacing)
    assert np.diag(affine)[:3].tolist() == [-spacing, -spacing, spacing]
    # The outer faces of the field stay where BraTS has them, to less than a voxel: x from -239.5, y
    # from -0.5.
    corners = affine @ np.array([[-0.5, -0.5, -0.5, 1], [n - 0.5 for n in shape] + [1]]).T
    assert np.abs(corners[:3, 0] - [0.5, 239.5, -0.5]).max() <= spacing
    assert np.abs(corners[:3, 1] - [-239.5, -0.5, 154.5]).max() <= spacing


def test_one_millimetre_affine_is_that_of_brats():
    from gliodistill.phantom.cohort import _affine

    np.testing.assert_array_equal(
        _affine(1.0), [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]
    )


def test_spacing_is_honoured_and_the_patient_stays_the_same(studies):
    fine = make_phantom(5, 0, 2.0)
    assert fine.grid.spacing == (2.0, 2.0, 2.0)
    assert fine.grid.orientation == "LPS"
    regions = [
        s.convention.to_regions(s.truth.data).sum(axis=(1, 2, 3)) * s.grid.voxel_ml
        for s in (fine, studies[0])
    ]
    np.testing.assert_allclose(regions[0], regions[1], rtol=0.15, atol=0.5)
    middles = [
        np.argwhere(s.truth.data > 0).mean(axis=0) @ s.grid.affine[:3, :3].T + s.grid.affine[:3, 3]
        for s in (fine, studies[0])
    ]
    assert np.linalg.norm(middles[0] - middles[1]) < 4.0


def test_volumes_are_those_drawn(studies):
    for index, study in enumerate(studies):
        wanted = draw_parameters(5, index).tumour
        whole, core, enhancing = (
            study.convention.to_regions(study.truth.data).sum(axis=(1, 2, 3)) * study.grid.voxel_ml
        )
        assert whole == pytest.approx(wanted.wt_ml, rel=0.2)
        assert core == pytest.approx(wanted.tc_ml, rel=0.2, abs=0.2)
        assert enhancing == pytest.approx(wanted.et_ml, rel=0.2, abs=0.2)
        assert set(np.unique(study.truth.data)) <= {0, 1, 2, 4}


def test_kinds_and_volumes_spread_like_real_cohorts():
    tumours = [draw_parameters(11, index).tumour for index in range(300)]
    assert {tumour.kind for tumour in tumours} == set(KINDS)
    for tumour in tumours:
        assert 0 <= tumour.et_ml <= tumour.tc_ml <= tumour.wt_ml
        assert (tumour.et_ml == 0) == (tumour.kind == "nonenhancing")
    assert 0.1 < np.mean([tumour.kind == "nonenhancing" for tumour in tumours]) < 0.2
    # Of 360 BraTS 2020 patients: WT quartiles 50, 90, 146 ml.
    np.testing.assert_allclose(
        np.percentile([tumour.wt_ml for tumour in tumours], (25, 50, 75)), (50, 90, 146), rtol=0.2
    )


def test_low_grade_does_not_enhance():
    index = next(i for i in range(50) if draw_parameters(5, i).tumour.kind == "nonenhancing")
    study = make_phantom(5, index, COARSE)
    assert not (study.truth.data == 4).any()
    assert (study.truth.data == 1).any()


def test_difficulty_changes_the_scan_and_not_the_patient():
    clean, hard = draw_parameters(5, 0, difficulty=0), draw_parameters(5, 0, difficulty=2)
    assert clean.tumour == hard.tumour
    assert clean.anatomy == hard.anatomy
    assert clean.artefacts.noise == (0, 0, 0, 0)
    assert min(hard.artefacts.noise) > 0
    assert hard.contrast.means["ED"][3] <= clean.contrast.means["ED"][3]


def test_cohort_restarts_and_skips_what_is_done(tmp_path):
    folders = write_cohort(tmp_path / "cohort", 1, 5, spacing=4.0, jobs=1)
    stamp = (folders[0] / f"{folders[0].name}_t1.nii.gz").stat().st_mtime_ns
    more = write_cohort(tmp_path / "cohort", 2, 5, spacing=4.0, jobs=1)
    assert (folders[0] / f"{folders[0].name}_t1.nii.gz").stat().st_mtime_ns == stamp
    assert [folder.name for folder in more] == ["Phantom_005_00000", "Phantom_005_00001"]
    cohort = open_cohort(tmp_path / "cohort")
    assert not cohort.problems
    loaded = load_study(cohort.studies[1], cohort.convention)
    for first, second in zip(voxels(loaded), voxels(make_phantom(5, 1, 4.0)), strict=True):
        np.testing.assert_array_equal(first, second)
    record = json.loads((more[1] / "Phantom_005_00001_phantom.json").read_text())
    assert record["spacing"] == 4.0
    assert PhantomParameters.from_dict(record["parameters"]) == draw_parameters(5, 1)
    assert not [path for path in (tmp_path / "cohort").iterdir() if path.name.startswith(".")]


def test_cohort_of_other_settings_is_not_mixed_in(tmp_path):
    write_cohort(tmp_path, 1, 5, spacing=5.0, jobs=1)
    with pytest.raises(GliodistillError, match="other settings"):
        write_cohort(tmp_path, 1, 5, spacing=4.0, jobs=1)


def test_an_unlabelled_cohort_has_no_reference_segmentation(tmp_path):
    labelled = write_cohort(tmp_path / "labelled", 1, 5, spacing=5.0, jobs=1)[0]
    unlabelled = write_cohort(tmp_path / "un", 1, 5, spacing=5.0, jobs=1, labelled=False)[0]
    names = {file.name for file in labelled.iterdir()}
    assert {file.name for file in unlabelled.iterdir()} == names - {"Phantom_005_00000_seg.nii.gz"}
    assert not open_cohort(tmp_path / "un").labelled().studies
    write_cohort(tmp_path / "un", 1, 5, spacing=5.0, jobs=1, labelled=False)
    with pytest.raises(GliodistillError, match=r"other settings.*labelled"):
        write_cohort(tmp_path / "un", 1, 5, spacing=5.0, jobs=1)


def test_processes_give_the_same_cohort(tmp_path):
    serial = write_cohort(tmp_path / "serial", 2, 9, spacing=5.0, jobs=1)
    together = write_cohort(tmp_path / "together", 2, 9, spacing=5.0, jobs=2)
    for first, second in zip(serial, together, strict=True):
        for file in first.iterdir():
            assert file.read_bytes() == (second / file.name).read_bytes()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: make_phantom(-1, 0), "seed"),
        (lambda: make_phantom(0, -1), "index"),
        (lambda: make_phantom(0, 0, spacing=0.1), "spacing"),
        (lambda: make_phantom(0, 0, spacing=float("nan")), "spacing"),
        (lambda: make_phantom(0, 0, difficulty=3), "difficulty"),
        (lambda: write_cohort("nowhere", 0, 0), "n"),
    ],
)
def test_bad_arguments_are_named(call, field):
    with pytest.raises(GliodistillError) as caught:
        call()
    assert caught.value.field == field
    assert caught.value.expected is not None


def test_phantoms_need_no_torch():
    code = (
        "import sys; from gliodistill.phantom import make_phantom; make_phantom(0, 0, 5.0);"
        " sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
