"""Codes ↔ tissues ↔ regions, against the table of the challenges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gliodistill.errors import LabelError, StudyError
from gliodistill.studies import CONVENTIONS, REGIONS, MRSequence, Tissue
from gliodistill.studies.naming import parse_sequence

# convention → code → regions, by hand from the challenges' descriptions.
TABLE = {
    "brats2021": {0: "", 1: "WT TC", 2: "WT", 4: "WT TC ET"},
    "brats2023": {0: "", 1: "WT TC", 2: "WT", 3: "WT TC ET"},
    "brats2024": {0: "", 1: "WT TC", 2: "WT", 3: "WT TC ET", 4: ""},
    "brats-ped": {0: "", 1: "WT TC ET", 2: "WT TC", 3: "WT TC", 4: "WT"},
    "msd": {0: "", 1: "WT", 2: "WT TC", 3: "WT TC ET"},
}


@pytest.mark.parametrize(
    ("name", "code", "regions"), [(n, c, r) for n, codes in TABLE.items() for c, r in codes.items()]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_to_regions(name, code, regions, dtype):
    found = CONVENTIONS[name].to_regions(np.full((1, 2, 3), code, dtype=dtype))
    assert found.shape == (3, 1, 2, 3)
    assert {region for region, mask in zip(REGIONS, found, strict=True) if mask.all()} == set(
        regions.split()
    )


@pytest.mark.parametrize("name", [n for n, c in CONVENTIONS.items() if c.detectable])
@given(bits=st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_regions_come_back_nested(name, bits):
    regions = np.array(
        [[bit & 1, bit >> 1 & 1, bit >> 2] for bit in bits], dtype=np.uint8
    ).T.reshape(3, 2, 2, 2)
    nested = np.stack(
        [regions[0], regions[0] & regions[1], regions[0] & regions[1] & regions[2]]
    ).astype(bool)
    convention = CONVENTIONS[name]
    np.testing.assert_array_equal(convention.to_regions(convention.from_regions(regions)), nested)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("brats2021", [0, 3]),
        ("msd", [4]),
        ("brats2023", [4, 1]),
        ("brats2021", [-1]),
        ("brats2024", [0.5]),
    ],
)
def test_strangers_are_named(name, values):
    with pytest.raises(LabelError, match="unknown label codes") as caught:
        CONVENTIONS[name].to_regions(np.array(values).reshape(1, 1, -1))
    assert "--labels" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_code_of():
    assert CONVENTIONS["brats-ped"].code_of(Tissue.NCR, Tissue.NET) == 2
    with pytest.raises(LabelError):
        CONVENTIONS["brats2021"].code_of(Tissue.RC)


@pytest.mark.parametrize(
    ("spellings", "sequence"),
    [
        (("t1", "T1w", "T1-weighted", "t1n", "T1 native"), MRSequence.T1),
        (("t1c", "t1ce", "T1Gd", "T1_post", "t1km", "ceT1w"), MRSequence.T1CE),
        (("T2", "t2w", "T2-w"), MRSequence.T2),
        (("FLAIR", "fla", "t2f", "T2-FLAIR", "t2w flair"), MRSequence.FLAIR),
    ],
)
def test_spellings(spellings, sequence):
    assert {parse_sequence(spelling) for spelling in spellings} == {sequence}


@pytest.mark.parametrize("spelling", ["", "dwi", "t1x", "t3"])
def test_unknown_spelling_lists_the_known(spelling):
    with pytest.raises(StudyError, match="t1gd"):
        parse_sequence(spelling)
