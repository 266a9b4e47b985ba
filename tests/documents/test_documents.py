"""The door for documents: what is read is what is written, and the bounds are where they are said
to be.
"""

import json
import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.documents import (
    Fields,
    Refusal,
    parse_json,
    read_document,
    read_json,
    read_json_lines,
    read_table,
)
from gliodistill.documents.reading import MOST_DEPTH
from gliodistill.documents.yaml_text import MOST_VALUES, parse_yaml
from gliodistill.errors import StudyError
from gliodistill.tables import csv_text

NO = Refusal(StudyError, "no document", "make one")
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=9)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, PLAIN, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(values):
    assert parse_json(json.dumps(values), NO) == values
    assert parse_json(json.dumps(values, ensure_ascii=False), NO) == values
    assert parse_yaml(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), NO) == values


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_depth_is_bounded_where_it_is_said(parse):
    assert parse('{"a":' * MOST_DEPTH + "1" + "}" * MOST_DEPTH, NO, dict)
    with pytest.raises(StudyError, match=f"at most {MOST_DEPTH} levels"):
        parse('{"a":' * (MOST_DEPTH + 1) + "1" + "}" * (MOST_DEPTH + 1), NO, dict)


def test_values_behind_aliases_count_each_time():
    half = MOST_VALUES // 2
    items = ", ".join("x" * (half - 8))
    assert parse_yaml(f"a: &a [{items}]\nb: *a\n", NO)["b"] == ["x"] * (half - 8)
    with pytest.raises(StudyError, match=f"at most {MOST_VALUES}"):
        parse_yaml(f"a: &a [{items}]\nb: *a\nc: *a\n", NO)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615", 2**64 - 1),
        ("1e308", 1e308),
        ("-0", 0),
        ("1E-400", 0.0),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_the_last_good_value(text, value):
    assert parse_json(f'{{"a": {text}}}', NO) == {"a": value}


@pytest.mark.parametrize(
    ("text", "field", "got"),
    [
        ('{"a": {"b": [0, 1e309]}}', "a.b.1", "1e309"),
        ('{"a": -9223372036854775809}', "a", "-9223372036854775809"),
        ('{"a": [{"b": "\\u0000"}]}', "a.0.b", r"'\x00'"),
        ('{"a": {"\\ud800": 1}}', "a", r"'\ud800'"),
        ('{"a": 1, "a": 1}', "key 'a'", "a repeated name"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "key 'b'", "a repeated name"),
        ("3", "document", "3"),
        ("null", "document", "nothing"),
        ("", "JSON", "Expecting value"),
    ],
)
def test_a_refusal_names_the_place(text, field, got):
    with pytest.raises(StudyError) as caught:
        parse_json(text, NO.of("x.json"))
    assert caught.value.field == field
    assert got in str(caught.value.got) and str(caught.value).startswith("x.json: no document")
    assert str(caught.value).endswith("; make one")


def test_yaml_says_what_json_says():
    """Tags of YAML's own kinds are allowed where they are true; 1.1's sexagesimals stay text."""
    read = parse_yaml("a: !!str 5\nb: !!float 5\nc: 1_000\nd: 0x1F\ne: 1:30\nf: ~\ng: yes\n", NO)
    assert read == {"a": "5", "b": 5.0, "c": 1000, "d": 31, "e": "1:30", "f": None, "g": True}


def test_merged_keys_give_way_to_written_ones():
    text = "x: &x {a: 1, b: 1}\ny: &y {a: 2, c: 2}\nz:\n  b: 3\n  <<: [*x, *y]\n"
    assert parse_yaml(text, NO)["z"] == yaml.safe_load(text)["z"] == {"a": 1, "b": 3, "c": 2}
    with pytest.raises(StudyError, match="a mapping, or several"):
        parse_yaml("z: {<<: 3}", NO)


def test_files(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file, NO) == {"a": 1}
    file.write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(StudyError, match="field text, got 0xe9 at byte 7, expected UTF-8"):
        read_json(file, NO)
    with pytest.raises(StudyError, match="got more than 3 bytes, expected at most 3"):
        read_document(file, NO, most_bytes=3)
    with pytest.raises(StudyError, match=r"gone.json: no document \(got No such file"):
        read_json(tmp_path / "gone.json", NO)
    with pytest.raises(StudyError, match="got Is a directory"):
        read_json(tmp_path, NO)


def test_lines_end_where_a_kill_ended_them(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert read_json_lines(file, NO) == [{"a": 1}, {"a": 2}]
    file.write_text('{"a": 1}\n[2]\n{"a": 3}\n')
    with pytest.raises(StudyError, match=r"log.jsonl: line 2: no document"):
        read_json_lines(file, NO)


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    return tmp_path_factory.mktemp("table") / "t.csv"


@given(rows=st.lists(st.tuples(*[st.text(string.printable, max_size=6)] * 3), max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_table_comes_back(table_file, rows):
    file = table_file
    file.write_text(csv_text([("a", "b", "c"), *rows]), encoding="utf-8", newline="")
    columns, found = read_table(file, NO)
    assert columns == ["a", "b", "c"]
    assert [tuple(row.values()) for row in found] == rows


def test_fields():
    values = {"text": "x", "n": 3, "f": 1.5, "on": True, "part": {"a": [1, 2]}, "none": None}
    told = Fields(values, NO)
    assert (told.text("text"), told.whole("n"), told.number("n"), told.number("f")) == (
        "x", 3, 3.0, 1.5,
    )  # fmt: skip
    assert told.flag("on") and told.part("part").listed("a", int, "numbers") == [1, 2]
    for ask, field in (
        (lambda: told.text("n"), "n"),
        (lambda: told.text("text", ["y"]), "text"),
        (lambda: told.whole("on"), "on"),
        (lambda: told.whole("f"), "f"),
        (lambda: told.whole("n", 4), "n"),
        (lambda: told.number("none"), "none"),
        (lambda: told.flag("n"), "n"),
        (lambda: told.part("text"), "text"),
        (lambda: told.part("part").texts("a"), "part.a"),
        (lambda: told.part("part").text("gone"), "part.gone"),
        (lambda: told.sha256("text"), "text"),
    ):
        with pytest.raises(StudyError) as caught:
            ask()
        assert caught.value.field == field and caught.value.expected


def test_there_is_one_door():
    """No other file of the package parses what others wrote."""
    import re
    from pathlib import Path

    import gliodistill

    root = Path(gliodistill.__file__).parent
    parsing = re.compile(
        r"json\.loads?\(|yaml\.(safe_)?load|csv\.(reader|DictReader)|np\.load\(|torch\.load\("
    )
    found = {
        (file.relative_to(root).as_posix(), line.strip())
        for file in root.rglob("*.py")
        if file.parent.name != "documents"
        for line in file.read_text().splitlines()
        if parsing.search(line) and "``" not in line and '"$' not in line
    }
    assert found == {
        # What was just written, and what comes with the package.
        ("cli/evaluate.py", "emit(as_json, json.loads(scores.to_json()), show)"),
        ("phantom/atlas.py", "with np.load(ATLAS_FILE) as stored:"),
        (
            "models/shipped/__init__.py",
            "described = {name: json.loads((_HERE / name / _DESCRIPTION).read_bytes()) for name in"
            " names()}",
        ),
        # A checkpoint of nnU-Net: numbers only, refused if it asks for more.
        ("teachers/state.py", 'return torch.load(file, map_location="cpu", weights_only=True)'),
    }
