"""Strata: by the truth, by a table, by sequences."""

from pathlib import Path

import pytest

from gliodistill.errors import EvaluationError, GliodistillWarning
from gliodistill.evaluation.strata import (
    Strata,
    describe_sequences,
    read_strata,
    sequence_strata,
    truth_strata,
)

TRUTH = {
    "a": {"WT": 10.0, "ET": 0.0},
    "b": {"WT": 20.0, "ET": 2.0},
    "c": {"WT": 30.0, "ET": 0.001},
    "d": {"WT": 40.0, "ET": 4.0},
    "e": {"WT": 50.0, "ET": 0.0},
    "f": {"WT": 60.0, "ET": 9.0},
}


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "strata.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_truth_tells_enhancing_and_size() -> None:
    enhancing, size = truth_strata(TRUTH)
    assert enhancing.groups == {"enhancing": ("b", "c", "d", "f"), "not enhancing": ("a", "e")}
    # Thirds of 10, 20 … 60 (linear quantiles) are cut at 26.7 and 43.3.
    assert size.groups == {
        "up to 26.7 ml": ("a", "b"),
        "26.7 to 43.3 ml": ("c", "d"),
        "over 43.3 ml": ("e", "f"),
    }


def test_strata_that_divide_nothing_are_not_made() -> None:
    assert truth_strata({id: {"WT": 5.0, "ET": 1.0} for id in "abc"}) == []
    assert truth_strata({id: {"TC": volume["WT"]} for id, volume in TRUTH.items()}) == []
    assert truth_strata({}) == []


def test_a_table_of_strata(tmp_path: Path) -> None:
    text = "\ufeffid,site,sex\nb,North,f\na,South,\nx,East,m\nc,North,f\n"
    with pytest.warns(GliodistillWarning, match=r"of studies that are not compared: x; .*: d$"):
        site, sex = read_strata(written(tmp_path, text), {"a", "b", "c", "d"})
    assert site == Strata("site", {"North": ("b", "c"), "South": ("a",), "not given": ("d",)})
    assert sex == Strata("sex", {"f": ("b", "c"), "not given": ("a", "d")})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a table of strata"),
        ("id\na\n", "not a table of strata"),
        ("study,site\na,North\n", "not a table of strata"),
        ("id,site\na,North\na,South\n", "an id is repeated"),
        ("id,site,site\na,North,South\n", "each column once"),
        ("id,site\nx,North\n", "no id of the studies compared"),
        ("id,age\n" + "".join(f"s{n},{n}\n" for n in range(13)), "too many groups"),
    ],
)
def test_what_is_no_table_of_strata_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(EvaluationError, match=problem):
        read_strata(written(tmp_path, text), {"a", *(f"s{n}" for n in range(13))})


def test_a_missing_or_binary_table(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot read strata"):
        read_strata(tmp_path / "missing.csv", {"a"})
    (tmp_path / "binary.csv").write_bytes(b"id,site\n\xff\xfe,\x80\n")
    with pytest.raises(EvaluationError, match="cannot read strata"):
        read_strata(tmp_path / "binary.csv", {"a"})


def test_sequences_there_and_back() -> None:
    described = describe_sequences({"b": ("FLAIR",), "a": ("T1", "T2"), "c": ("T2", "T1")})
    assert described == "FLAIR: b; T1+T2: a, c"
    assert sequence_strata(described, {"a", "b", "c"}) == [
        Strata("Sequences of the study", {"FLAIR": ("b",), "T1+T2": ("a", "c")})
    ]
    same = describe_sequences({"a": ("T1", "T2"), "c": ("T1", "T2")})
    assert same == "T1+T2"
    assert sequence_strata(same, {"a", "c"}) == []
