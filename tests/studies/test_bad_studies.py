"""Every kind of bad data set ends in one line that names file, field, got and expected."""

import json

import numpy as np
import pytest

from gliodistill.errors import GliodistillError, ImageError, LabelError, StudyError
from gliodistill.studies import Study, inspect, open_cohort
from gliodistill.studies.study import GridError, load_study


def check(
    caught: pytest.ExceptionInfo[GliodistillError], kind: type[GliodistillError], field: str
) -> None:
    error = caught.value
    assert type(error) is kind
    line = str(error)
    assert "\n" not in line
    assert error.file is not None and str(error.file) in line
    assert error.field == field and f"field {field}" in line
    assert error.got is not None and " got " in line
    assert error.expected is not None and "expected " in line


def nothing(root, make):
    return root / "nowhere"


def empty_folder(root, make):
    return root


def no_nifti(root, make):
    (root / "notes.txt").write_text("hello")
    return root


def dicom(root, make):
    (root / "series").mkdir()
    (root / "series" / "IM1.dcm").write_bytes(b"DICM")
    return root


def no_sequence_names(root, make):
    make.image(root / "brain.nii.gz")
    return root


def other_file(root, make):
    return make.image(root / "image.nii.gz")


def two_layouts(root, make):
    make.describe(root, channel_names={"0": "T1"}, labels={})
    make.image(root / "imagesTr" / "a_0000.nii.gz")
    make.image(root / "sub-1" / "anat" / "sub-1_T1w.nii.gz")
    return root


def two_of_one_id(root, make):
    for grade in ("HGG", "LGG"):
        make.image(root / grade / "case" / "case_t1.nii.gz")
    return root


def broken_json(root, make):
    (root / "dataset.json").write_text('{"modality": ')
    return root


def foreign_modality(root, make):
    make.describe(root, modality={"0": "CT"}, labels={})
    make.image(root / "imagesTr" / "liver_1.nii.gz")
    return root


def modality_twice(root, make):
    make.describe(root, modality={"0": "T1", "1": "T1w"}, labels={})
    make.image_4d(root / "imagesTr" / "a.nii.gz", 2)
    return root


def modality_is_text(root, make):
    make.describe(root, channel_names="T1", labels={})
    return root


def labels_are_a_list(root, make):
    make.describe(root, channel_names={"0": "T1"}, labels=["edema"])
    return root


def described_but_empty(root, make):
    make.describe(root, channel_names={"0": "T1"}, labels={})
    return root


def manifest(text, name="list.csv"):
    def write(root, make):
        make.image(root / "a.nii.gz")
        path = root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


FINDING = {
    "no such path": (nothing, "path"),
    "empty folder": (empty_folder, "layout"),
    "no NIfTI": (no_nifti, "layout"),
    "DICOM": (dicom, "layout"),
    "names without a sequence": (no_sequence_names, "layout"),
    "an image in place of a folder": (other_file, "layout"),
    "two layouts": (two_layouts, "layout"),
    "one id twice": (two_of_one_id, "id"),
    "broken dataset.json": (broken_json, "JSON"),
    "modality of another body": (foreign_modality, "modality 0"),
    "one sequence in two channels": (modality_twice, "modality 1"),
    "channels as text": (modality_is_text, "channel_names"),
    "labels as a list": (labels_are_a_list, "labels"),
    "description without images": (described_but_empty, "layout"),
    "manifest without id": (manifest("t1\na.nii.gz\n"), "header"),
    "manifest without sequence": (manifest("id,age\na,5\n"), "header"),
    "manifest with two T1": (manifest("id,t1,T1w\na,a.nii.gz,a.nii.gz\n"), "T1w"),
    "manifest without rows": (manifest("id,t1\n"), "rows"),
    "manifest with a ragged row": (manifest("id,t1\na,a.nii.gz,b\n"), "line 2"),
    "manifest with a short row": (manifest("id,t1\na\n"), "line 2"),
    "manifest with a blank id": (manifest("id,t1\n ,a.nii.gz\n"), "id"),
    "manifest with a path as id": (manifest("id,t1\n../a,a.nii.gz\n"), "id"),
    "manifest twice the id": (manifest("id,t1\na,a.nii.gz\na,a.nii.gz\n"), "id"),
    "manifest in Latin-1": (manifest("id,t1\nä,a.nii.gz\n".encode("latin-1")), "text"),
    "manifest of broken JSON": (manifest("[{", "list.json"), "JSON"),
    "manifest of numbers": (manifest("[1, 2]", "list.json"), "studies"),
    "manifest without studies": (manifest("{}", "list.json"), "studies"),
}


@pytest.mark.parametrize(("build", "field"), FINDING.values(), ids=FINDING)
def test_bad_folder(tmp_path, make, build, field):
    path = build(tmp_path, make)
    with pytest.raises(StudyError) as caught:
        open_cohort(path)
    check(caught, StudyError, field)


@pytest.mark.parametrize(
    ("options", "kind", "field"),
    [({"layout": "zip"}, StudyError, "layout"), ({"labels": "brats1999"}, LabelError, "labels")],
)
def test_undeclared_names(brats, make, options, kind, field):
    with pytest.raises(kind) as caught:
        open_cohort(brats(codes=make.tumour(1, 2, 4)), **options)
    check(caught, kind, field)


def duplicate(case, make):
    make.image(case / "case_T1w.nii.gz")


def two_truths(case, make):
    make.labels(case / "case_label.nii.gz", make.tumour(1, 2, 4))


def corrupt(case, make):
    path = case / "case_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:-9])


def corrupt_truth(case, make):
    path = case / "case_seg.nii.gz"
    path.write_bytes(path.read_bytes()[:-9])


def empty_file(case, make):
    (case / "case_flair.nii.gz").write_bytes(b"")


def four_axes(case, make):
    make.image_4d(case / "case_t2.nii.gz", 2)


def other_shape(case, make):
    make.image(case / "case_t2.nii.gz", shape=(12, 13, 15))


def other_place(case, make):
    make.image(
        case / "case_t2.nii.gz",
        affine=np.array([[-1.0, 0, 0, 3], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )


def other_voxels(case, make):
    make.image(case / "case_t2.nii.gz", affine=np.diag([-1.0, -1.0, 2.0, 1.0]))


def truth_elsewhere(case, make):
    make.labels(case / "case_seg.nii.gz", make.tumour(1, 2, 4)[1:])


def soft_truth(case, make):
    make.image(case / "case_seg.nii.gz", 0.3)


def foreign_code(case, make):
    make.labels(case / "case_seg.nii.gz", make.tumour(1, 2, 3))


LOADING = {
    "sequence twice": (duplicate, StudyError, "study", "T1"),
    "truth twice": (two_truths, StudyError, "study", "label maps"),
    "corrupt image": (corrupt, ImageError, "gzip", "case_t2"),
    "corrupt truth": (corrupt_truth, ImageError, "gzip", "case_seg"),
    "empty image": (empty_file, ImageError, "size", "case_flair"),
    "4-D image": (four_axes, ImageError, "dim", "case_t2"),
    "other shape": (other_shape, GridError, "T2", "T1"),
    "other origin": (other_place, GridError, "T2", "T1"),
    "other voxel size": (other_voxels, GridError, "T2", "T1"),
    "truth on another grid": (truth_elsewhere, GridError, "truth", "T1"),
    "truth of probabilities": (soft_truth, LabelError, "labels", "case_seg"),
    "truth of another convention": (foreign_code, LabelError, "labels", "case_seg"),
}


@pytest.mark.parametrize(("damage", "kind", "field", "named"), LOADING.values(), ids=LOADING)
def test_bad_study(brats, make, damage, kind, field, named):
    root = brats(["case", "other"], make.tumour(1, 2, 4))
    damage(root / "case", make)
    cohort = open_cohort(root, labels="brats2021")
    with pytest.raises(kind) as caught:
        load_study(cohort.studies[0], cohort.convention)
    check(caught, kind, field)
    assert named in str(caught.value)
    assert load_study(cohort.studies[1], cohort.convention).id == "other"


@pytest.mark.parametrize(("damage", "kind", "field", "named"), LOADING.values(), ids=LOADING)
def test_inspection_finds_it_too(brats, make, damage, kind, field, named):
    root = brats(["case", "other"], make.tumour(1, 2, 4))
    damage(root / "case", make)
    inspection = inspect(root, labels="brats2021", deep=True)
    assert any(p.blocking and p.study == "case" and named in str(p) for p in inspection.problems)
    assert not any(p.study == "other" and p.blocking for p in inspection.problems)
    json.dumps(inspection.as_dict(), allow_nan=False)


def test_missing_file_of_a_manifest(tmp_path, make):
    path = manifest("id,t1,t2\na,a.nii.gz,b.nii.gz\n")(tmp_path, make)
    cohort = open_cohort(path)
    with pytest.raises(StudyError, match=r"no such file: b\.nii\.gz") as caught:
        load_study(cohort.studies[0])
    check(caught, StudyError, "study")


def test_channel_that_is_not_there(tmp_path, make):
    path = manifest("id,t1\na,a.nii.gz#4\n")(tmp_path, make)
    with pytest.raises(ImageError) as caught:
        load_study(open_cohort(path).studies[0])
    check(caught, ImageError, "channel")
    assert any("channel 4 is wanted" in str(problem) for problem in inspect(path).problems)


def test_several_studies_where_one_is_wanted(brats):
    root = brats(["a", "b"])
    with pytest.raises(StudyError) as caught:
        Study.open(root)
    check(caught, StudyError, "id")
    assert Study.open(root, id="b").id == "b"
    with pytest.raises(StudyError) as caught:
        Study.open(root, id="c")
    check(caught, StudyError, "id")
