"""Conventions are told from evidence, or refused with the way out."""

import numpy as np
import pytest

from gliodistill.errors import LabelError
from gliodistill.studies import CONVENTIONS, open_cohort
from gliodistill.studies.label_anatomy import MARGIN, Boundaries
from gliodistill.studies.label_names import by_names

GLI, PED, PLAIN = ["BraTS-GLI-00001-000"], ["BraTS-PED-00001-000"], ["case"]
OLD, NEW, OTHER = (
    (("t1", "t1ce", "t2", "flair"), "_"),
    (("t1n", "t1c", "t2w", "t2f"), "-"),
    (("T1w", "t1gd", "T2w", "fla"), "_"),
)


@pytest.mark.parametrize(
    ("cases", "names", "tissues", "extra", "expected"),
    [
        (PLAIN, OLD, (1, 2, 4), {}, "brats2021"),
        (PLAIN, OLD, (1, 2, 0), {}, "brats2021"),  # low grade: nothing enhances
        (PLAIN, OLD, (0, 0, 0), {}, "brats2021"),  # no tumour at all
        (PLAIN, OLD, (2, 1, 3), {}, "msd"),  # old names around Decathlon codes: anatomy speaks
        (PLAIN, OLD, (1, 2, 3), {}, "brats2023"),
        (PLAIN, NEW, (1, 2, 3), {}, "brats2023"),
        (GLI, NEW, (1, 2, 3), {}, "brats2023"),
        (GLI, NEW, (1, 2, 0), {}, "brats2023"),
        (GLI, NEW, (1, 2, 3), {4: 7}, "brats2024"),
        (PLAIN, NEW, (1, 2, 3), {4: 7}, "brats2024"),
        (PLAIN, NEW, (2, 4, 1), {3: 7}, "brats-ped"),
        (PED, NEW, (2, 4, 1), {}, "brats-ped"),
        (PLAIN, OTHER, (1, 2, 4), {}, "brats2021"),
        (PLAIN, OTHER, (1, 2, 3), {}, "brats2023"),
        (PLAIN, OTHER, (2, 1, 3), {}, "msd"),
        (PLAIN, OTHER, (2, 4, 1), {3: 7}, "brats-ped"),
    ],
)
def test_told(brats, make, cases, names, tissues, extra, expected):
    root = brats(cases, make.tumour(*tissues, extra), *names)
    assert open_cohort(root).convention is CONVENTIONS[expected]


@pytest.mark.parametrize(
    ("cases", "names", "tissues", "among"),
    [
        (
            PLAIN,
            OTHER,
            (1, 2, 0),
            {"brats2013", "brats2021", "brats2023", "brats2024"},
        ),  # what enhances would tell
        (PLAIN, OTHER, (2, 1, 0), {"msd"}),  # or a map of two classes
        (PED, NEW, (2, 0, 1), {"brats2023", "brats-ped"}),  # 2023 as for adults, or later
        (PED, NEW, (1, 2, 3), {"brats2023", "brats-ped"}),
        (PLAIN, OTHER, (0, 0, 0), {n for n, c in CONVENTIONS.items() if c.detectable}),
        (PLAIN, NEW, (1, 2, 4), {"brats2021", "brats2024"}),  # 4: enhancing tumour, or a cavity?
        (GLI, NEW, (1, 2, 4), {"brats2021", "brats2024"}),
    ],
)
def test_ambiguous_says_how_to_declare(brats, make, cases, names, tissues, among):
    root = brats(cases, make.tumour(*tissues), *names)
    with pytest.raises(LabelError, match="ambiguous label convention") as caught:
        open_cohort(root)
    assert set(caught.value.expected.removeprefix("one of ").split(", ")) == among
    assert "--labels NAME" in str(caught.value)
    assert all(name in caught.value.hint for name in CONVENTIONS)
    assert open_cohort(root, labels="brats2024").convention is CONVENTIONS["brats2024"]


def test_codes_of_no_convention(brats, make):
    with pytest.raises(LabelError, match=r"got \[1, 2, 4, 7\]"):
        open_cohort(brats(PLAIN, make.tumour(1, 2, 4, {7: 7})))


def test_one_unreadable_map_does_not_hide_the_others(brats, make):
    root = brats(["a", "b", "c"], make.tumour(1, 2, 4))
    (root / "a" / "a_seg.nii.gz").write_bytes(b"\x1f\x8bnothing")
    cohort = open_cohort(root)
    assert cohort.convention is CONVENTIONS["brats2021"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "msd",
        ),
        ({"background": 0, "edema": 1, "necrosis": 2, "ET": 3}, "msd"),
        (
            {
                "background": 0,
                "whole tumor": [1, 2, 3],
                "tumor core": [2, 3],
                "enhancing tumor": [3],
            },
            "msd",
        ),
        ({"background": 0, "NCR": 1, "ED": 2, "ET": 3}, "brats2023"),
        ({"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": 3}, "brats2023"),
        ({"0": "background", "1": "necrotic core", "2": "oedema", "4": "enhancing"}, "brats2021"),
        ({"NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}, "brats2024"),
        (
            {
                "whole tumor": [1, 2, 3],
                "tumor core": [1, 3],
                "enhancing": [3],
                "resection cavity": [4],
            },
            "brats2024",
        ),
        ({"ET": 1, "NET": 2, "CC": 3, "ED": 4}, "brats-ped"),
    ],
)
def test_labels_by_their_names(labels, expected):
    assert by_names(labels, "here") is CONVENTIONS[expected]


@pytest.mark.parametrize(
    "labels",
    [
        {"1": "liver", "2": "edema"},
        {"edema": "many"},
        {"edema": 3, "necrosis": 2, "enhancing": 1},
        {"whole tumor": [1, 2], "whole": [3]},
        {"edema": None},
    ],
    ids=str,
)
def test_names_that_are_not_understood(labels):
    with pytest.raises(LabelError) as caught:
        by_names(labels, "dataset")
    assert caught.value.field == "dataset.json labels"
    assert "--labels" in caught.value.hint


def test_declared_names_must_hold_the_codes(tmp_path, make):
    make.describe(
        tmp_path,
        channel_names={"0": "FLAIR"},
        labels={"background": 0, "edema": 1, "NCR": 2, "ET": 3},
    )
    make.image(tmp_path / "imagesTr" / "a_0000.nii.gz")
    make.labels(tmp_path / "labelsTr" / "a.nii.gz", make.tumour(1, 2, 4))
    with pytest.raises(LabelError, match="does not declare"):
        open_cohort(tmp_path)


def test_faces_are_counted_as_by_hand():
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[1, 1, 1], labels[2, 1, 1] = 1, 2
    boundaries = Boundaries.of(labels)
    assert boundaries.faces == {1: {0: 5, 2: 1}, 2: {0: 5, 1: 1}}
    assert boundaries.shares() == {1: 5 / 6, 2: 5 / 6} and boundaries.share(2, 1) == 1 / 6
    assert boundaries.outermost(MARGIN) is None
    assert Boundaries.pooled([boundaries, boundaries]).faces == {1: {0: 10, 2: 2}, 2: {0: 10, 1: 2}}
    assert Boundaries.of(labels * 0).codes == frozenset()


@pytest.mark.real
def test_anatomy_agrees_with_the_real_experts(real_data):
    """Codes disguised as Decathlon's are told by anatomy alone, in pools of eight of 360 patients."""
    shapes = sorted((real_data / "tumour_shapes").glob("*.npz"))
    to_msd = np.array([0, 2, 1, 0, 3], dtype=np.uint8)
    for start in (0, 100, 200):
        pool = shapes[start : start + 8]
        seen = Boundaries.pooled(Boundaries.of(to_msd[np.load(path)["seg"]]) for path in pool)
        assert seen.outermost(MARGIN) == 1
