"""Every layout is found without being told, and its files land under the right names."""

import json

import pytest

from gliodistill.errors import StudyError
from gliodistill.studies import MRSequence, Study, open_cohort
from gliodistill.studies.study import load_study

T1, T1CE, T2, FLAIR = MRSequence


def values(study: Study) -> dict[MRSequence, float]:
    """Sequence → the value its image is filled with."""
    return {sequence: float(volume.data[0, 0, 0]) for sequence, volume in study.images.items()}


CANONICAL = {T1: 1.0, T1CE: 2.0, T2: 3.0, FLAIR: 4.0}


@pytest.mark.parametrize("separator", "_-")
@pytest.mark.parametrize(
    "kinds",
    [("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f"), ("T1", "t1gd", "T2", "fla")],
)
def test_brats(brats, make, kinds, separator):
    root = brats(kinds=kinds, separator=separator, codes=make.tumour(1, 2, 4))
    cohort = open_cohort(root, labels="brats2021")
    assert (cohort.layout, [record.id for record in cohort.studies]) == (
        "brats",
        ["case_1", "case_2"],
    )
    study = load_study(cohort.studies[0], cohort.convention)
    assert values(study) == CANONICAL
    assert study.truth is not None
    assert cohort.studies[0].spellings == dict(zip(MRSequence, kinds, strict=True))
    assert cohort.problems == ()


def test_brats_single_case_and_grades(brats, tmp_path):
    brats(["a"], root=tmp_path / "all" / "HGG")
    brats(["b", "c"], root=tmp_path / "all" / "LGG")
    assert [record.id for record in open_cohort(tmp_path / "all").studies] == ["a", "b", "c"]
    assert values(Study.open(tmp_path / "all" / "HGG" / "a")) == CANONICAL


def test_brats_case_folder_given_as_dot(brats, monkeypatch):
    monkeypatch.chdir(brats(["case"]) / "case")
    assert values(Study.open(".")) == CANONICAL


def test_time_points_share_a_patient(brats):
    cohort = open_cohort(
        brats(
            [
                "BraTS-GLI-00001-000",
                "BraTS-GLI-00001-001",
                "BraTS-GLI-00002-000",
                "Brats18_2013_11_1",
            ]
        )
    )
    assert cohort.patients == ("BraTS-GLI-00001", "BraTS-GLI-00002", "Brats18_2013_11_1")


def test_any_non_empty_subset_is_a_study(brats):
    study = Study.open(brats(["case"], kinds=("flair",)))
    assert study.sequences == (FLAIR,)


def test_hidden_files_are_not_there(brats):
    root = brats(["case"])
    for name in (
        ".DS_Store",
        "._case",
        "case/._case_t1.nii.gz",
        "case/.case_t1.nii.gz.partial",
        "dataset",
    ):
        (root / name).write_bytes(b"\0")
    cohort = open_cohort(root)
    assert [record.id for record in cohort.studies] == ["case"]
    assert cohort.problems == ()


MSD_LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}


def test_msd(tmp_path, make):
    make.describe(
        tmp_path, modality={"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}, labels=MSD_LABELS
    )
    make.image_4d(tmp_path / "imagesTr" / "BRATS_001.nii.gz", 4)
    make.labels(tmp_path / "labelsTr" / "BRATS_001.nii.gz", make.tumour(2, 1, 3))
    make.image_4d(tmp_path / "imagesTs" / "BRATS_485.nii.gz", 4)
    (tmp_path / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"\0")
    cohort = open_cohort(tmp_path)
    assert (cohort.layout, cohort.convention.name, cohort.problems) == ("msd", "msd", ())
    assert [(record.id, record.truth is not None) for record in cohort.studies] == [
        ("BRATS_001", True),
        ("BRATS_485", False),
    ]
    assert values(load_study(cohort.studies[0], cohort.convention)) == {
        T1: 2.0,
        T1CE: 3.0,
        T2: 4.0,
        FLAIR: 1.0,
    }


@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_nnunet(tmp_path, make, key):
    regions = {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": 3,
    }
    make.describe(
        tmp_path,
        **{key: {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}},
        labels=regions,
        file_ending=".nii.gz",
    )
    for side, case in (("Tr", "BraTS2021_00000"), ("Ts", "BraTS2021_00001")):
        for channel in range(4):
            make.image(tmp_path / f"images{side}" / f"{case}_{channel:04}.nii.gz", channel + 1)
    make.labels(tmp_path / "labelsTr" / "BraTS2021_00000.nii.gz", make.tumour(2, 1, 3))
    cohort = open_cohort(tmp_path)
    assert (cohort.layout, cohort.convention.name, cohort.problems) == ("nnunet", "msd", ())
    assert [(record.id, record.truth is not None) for record in cohort.studies] == [
        ("BraTS2021_00000", True),
        ("BraTS2021_00001", False),
    ]
    assert values(load_study(cohort.studies[1])) == CANONICAL


def bids(root, make, place="anat"):
    for session in ("ses-1", "ses-2"):
        name = f"sub-01_{session}"
        anatomy = root / "sub-01" / session / "anat"
        make.image(anatomy / f"{name}_T1w.nii.gz", 1)
        make.image(anatomy / f"{name}_ce-gadolinium_T1w.nii.gz", 2)
        make.image(anatomy / f"{name}_acq-tse_T2w.nii.gz", 3)
        make.image(anatomy / f"{name}_FLAIR.nii.gz", 4)
        derived = root / "derivatives" / "experts" / "sub-01" / session / place
        make.labels(derived / f"{name}_label-tumor_dseg.nii.gz", make.tumour(1, 2, 4))
        make.labels(derived / f"{name}_desc-brain_mask.nii.gz", make.tumour(1, 1, 1))
        make.labels(derived / f"{name}_desc-aseg_dseg.nii.gz", make.tumour(1, 1, 1))
    make.image(root / "sub-02" / "anat" / "sub-02_T1w.nii.gz", 1)
    return root


@pytest.mark.parametrize("place", ["anat", ""])
def test_bids(tmp_path, make, place):
    cohort = open_cohort(bids(tmp_path, make, place))
    assert (cohort.layout, cohort.convention.name, cohort.problems) == ("bids", "brats2021", ())
    assert [(record.id, record.patient) for record in cohort.studies] == [
        ("sub-01_ses-1", "sub-01"),
        ("sub-01_ses-2", "sub-01"),
        ("sub-02", "sub-02"),
    ]
    assert cohort.studies[0].truth.path.name == "sub-01_ses-1_label-tumor_dseg.nii.gz"
    assert values(load_study(cohort.studies[0], cohort.convention)) == CANONICAL
    assert cohort.studies[0].spellings[T1CE] == "ce-gadolinium_T1w"
    assert Study.open(tmp_path / "sub-01", id="sub-01_ses-2").truth is not None


def table(folder, make):
    make.image(folder / "data" / "one.nii.gz", 1)
    make.image_4d(folder / "data" / "rest.nii.gz", 4)
    make.labels(folder / "truth.nii", make.tumour(1, 2, 4))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_manifest_csv(tmp_path, make, delimiter):
    table(tmp_path, make)
    rows = [
        ["Study ID", "patient", "T1w", "T1-Gd", "T2 FLAIR", "seg", "age"],
        [
            "a",
            "p",
            "data/one.nii.gz",
            "data/rest.nii.gz#1",
            "data/rest.nii.gz#3",
            "truth.nii",
            "61",
        ],
        ["b", "p", "", "", str(tmp_path / "data" / "one.nii.gz"), "", ""],
    ]
    path = tmp_path / "list.csv"
    path.write_text("﻿" + "\n".join(delimiter.join(row) for row in rows) + "\n")
    cohort = open_cohort(path)
    assert (cohort.layout, cohort.convention.name, cohort.patients) == (
        "manifest",
        "brats2021",
        ("p",),
    )
    assert values(load_study(cohort.studies[0], cohort.convention)) == {
        T1: 1.0,
        T1CE: 2.0,
        FLAIR: 4.0,
    }
    assert values(load_study(cohort.studies[1], cohort.convention)) == {FLAIR: 1.0}
    assert cohort.problems == ("list.csv: columns not used: age",)


@pytest.mark.parametrize("wrapped", [False, True])
def test_manifest_json(tmp_path, make, wrapped):
    table(tmp_path, make)
    rows = [
        {"id": "a", "t2f": "data/one.nii.gz", "truth": "truth.nii"},
        {"id": "b", "patient": "q", "t1": "data/rest.nii.gz#0", "truth": None},
    ]
    (tmp_path / "list.json").write_text(json.dumps({"studies": rows} if wrapped else rows))
    cohort = open_cohort(tmp_path / "list.json")
    assert [(record.id, record.patient, record.truth is None) for record in cohort.studies] == [
        ("a", "a", False),
        ("b", "q", True),
    ]
    assert values(load_study(cohort.studies[1])) == {T1: 1.0}


def test_manifest_of_a_folder_that_names_its_labels(tmp_path, make):
    """Codes 1 and 2 alone could be of several conventions: what the manifest says of them decides."""
    table(tmp_path, make)
    rows = [{"id": "a", "t1": "data/one.nii.gz", "truth": "truth.nii"}]
    for labels, name in (
        ({"1": "NCR", "2": "ED", "4": "ET"}, "brats2021"),
        ({"1": "ET", "2": "NET", "3": "CC", "4": "ED"}, "brats-ped"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({"labels": labels, "studies": rows}))
        assert open_cohort(tmp_path).convention.name == name
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": "latin", "studies": rows}))
    with pytest.raises(StudyError, match="malformed manifest"):
        open_cohort(tmp_path)


def test_loose_folder(tmp_path, make):
    folder = tmp_path / "patient01"
    for value, name in enumerate(
        ("study1_T1W", "study1-T1-Gd", "T2 w", "study1_T2_FLAIR_brain"), 1
    ):
        make.image(folder / f"{name}.nii.gz", value)
    make.labels(folder / "study1_seg.nii.gz", make.tumour(1, 2, 4))
    make.image(folder / "study1_dwi.nii.gz")
    for place in (folder, tmp_path):
        cohort = open_cohort(place)
        assert (cohort.layout, [record.id for record in cohort.studies]) == ("loose", ["patient01"])
        assert values(load_study(cohort.studies[0], cohort.convention)) == CANONICAL
        assert cohort.problems == (
            "patient01: study1_dwi.nii.gz: dwi, none of the four sequences; not used",
        )


def test_loose_flat_folder_of_several_studies(tmp_path, make):
    for case in ("anna_1", "berta_2"):
        for value, kind in enumerate(make.OLD, 1):
            make.image(tmp_path / f"{case}_{kind}.nii.gz", value)
    cohort = open_cohort(tmp_path)
    assert [record.id for record in cohort.studies] == ["anna_1", "berta_2"]
    assert values(load_study(cohort.studies[1])) == CANONICAL


def test_declared_layout_wins(brats):
    assert open_cohort(brats(["case"]), layout="loose").layout == "loose"


@pytest.mark.real
def test_real_folders(real_data):
    cohort = open_cohort(real_data / "labelled")
    assert (
        cohort.layout,
        cohort.convention.name,
        len(cohort),
        len(cohort.patients),
        cohort.problems,
    ) == ("brats", "brats2021", 25, 25, ())
    assert all(len(record.images) == 4 for record in cohort.studies)
    without_tumour = Study.open(real_data / "no_tumour")
    assert (without_tumour.sequences, without_tumour.truth, without_tumour.grid.shape) == (
        tuple(MRSequence),
        None,
        (182, 218, 182),
    )
    native = open_cohort(real_data / "native")
    assert (native.layout, set(native.studies[0].images)) == ("loose", {T1, T2, FLAIR})
