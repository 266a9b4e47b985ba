"""No patient on two sides."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.errors import StudyError
from gliodistill.studies import Cohort, ImageFile, MRSequence, StudyRecord, check_disjoint


def record(id: str, patient: str, truth: bool = False) -> StudyRecord:
    file = ImageFile(Path(f"{id}.nii.gz"))
    return StudyRecord(id, patient, {MRSequence.T1: file}, file if truth else None)


def cohort(*records: StudyRecord) -> Cohort:
    return Cohort("brats", None, records)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda p: len(set(p)) > 1),
    st.integers(0, 99),
    st.floats(0.2, 0.8),
)
def test_split_is_by_patient_complete_and_repeatable(patients, seed, share):
    whole = cohort(*(record(f"s{index}", f"p{patient}") for index, patient in enumerate(patients)))
    count = round(share * len(set(patients)))
    if not 0 < count < len(set(patients)):
        return
    sides = whole.split(share, seed)
    assert sides == whole.split(share, seed) == whole.split(count, seed)
    assert len(sides["validation"].patients) == count
    assert not set(sides["training"].patients) & set(sides["validation"].patients)
    assert {r.id for side in sides.values() for r in side.studies} == {r.id for r in whole.studies}


def test_split_does_not_depend_on_order_and_does_on_seed():
    records = [record(f"s{index}", f"p{index}") for index in range(20)]
    held = {seed: cohort(*records).split(5, seed)["validation"].patients for seed in range(4)}
    assert cohort(*records[::-1]).split(5, 0)["validation"].patients == held[0]
    assert len(set(held.values())) == 4


def test_folds_hold_each_patient_out_once():
    whole = cohort(*(record(f"s{index}", f"p{index // 2}") for index in range(26)))
    folds = [whole.split(f"{fold}/5") for fold in range(1, 6)]
    held = [patient for sides in folds for patient in sides["validation"].patients]
    assert sorted(held) == sorted(whole.patients)
    assert {len(sides["validation"].patients) for sides in folds} == {2, 3}


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1", "a/b", "", "1/", "-1/5"])
def test_no_such_fold(fold):
    with pytest.raises(StudyError, match="no such fold"):
        cohort(*(record(f"s{index}", f"p{index}") for index in range(9))).split(fold)


@pytest.mark.parametrize("validation", [3, -1, 0.0, 1.0, 1.5, 0.01, float("nan")])
def test_split_that_leaves_a_side_empty(validation):
    with pytest.raises(StudyError, match="cannot split"):
        cohort(*(record(f"s{index}", f"p{index}") for index in range(3))).split(validation, 0)


def test_nobody_validates_where_the_number_is_0():
    sides = cohort(*(record(f"s{index}", f"p{index}") for index in range(3))).split(0)
    assert [r.id for r in sides["training"].studies] == ["s0", "s1", "s2"]
    assert not sides["validation"].studies


def test_split_by_named_studies_takes_every_study_of_their_patients():
    whole = cohort(record("a-1", "a"), record("a-2", "a"), record("b", "b"), record("c", "c"))
    sides = whole.split(["a-2"])
    assert [r.id for r in sides["validation"].studies] == ["a-1", "a-2"]
    assert [r.id for r in sides["training"].studies] == ["b", "c"]
    for wrong in ([], ["a-1", "b", "c"], ["z"]):
        with pytest.raises(StudyError):
            whole.split(wrong)


def test_check_disjoint():
    left, right = cohort(record("a", "p"), record("b", "q")), cohort(record("c", "q"))
    check_disjoint({"training": left.select(["a"]), "validation": right})
    with pytest.raises(StudyError, match="a patient on two sides") as caught:
        check_disjoint({"training": left, "validation": right})
    assert caught.value.got == "q"


def test_select_and_labelled():
    whole = cohort(record("a", "p"), record("b", "q", truth=True), record("c", "r", truth=True))
    assert [r.id for r in whole.select(["c", "a"]).studies] == ["c", "a"]
    assert [r.id for r in whole.labelled().studies] == ["b", "c"]
    with pytest.raises(StudyError, match="no such study"):
        whole.select(["a", "z"])


def test_ids_are_unique():
    with pytest.raises(StudyError, match="two studies with the same id"):
        cohort(record("a", "p"), record("a", "q"))
