"""Writing, removing and locking: what the commands build on."""

import csv
import io
import multiprocessing
import os

import pytest

from gliodistill.errors import OutputError, StudyError, printable
from gliodistill.files import atomic_file, atomic_folder, contents, remove_folder, remove_leftovers
from gliodistill.locks import Busy, lock_folder, lock_name
from gliodistill.studies.ids import check_id, check_names
from gliodistill.tables import csv_text, read_cell


@pytest.mark.parametrize("name", ["..", ".", "", "a/..", "mine", "link", "with a stranger"])
def test_only_what_is_ours_is_removed(tmp_path, monkeypatch, name):
    made = tmp_path / "made"
    for folder in ("work/a", "mine", "made", "with a stranger"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "work", made, tmp_path / "with a stranger"):
        (folder / "mark.json").write_text("{}")
    (tmp_path / "with a stranger" / "thesis.txt").write_text("mine")
    (tmp_path / "work" / "link").symlink_to(made)
    monkeypatch.chdir(tmp_path / "work")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / name if name in ("mine", "with a stranger") else name
    with pytest.raises(OutputError, match="will not remove"):
        remove_folder(target, "mark.json", ["mark.json"])
    assert sorted(tmp_path.rglob("*")) == before
    remove_folder(made, "mark.json", ["mark.json"])
    assert not made.exists()


def test_a_folder_of_ours_is_replaced_when_the_new_one_is_complete(tmp_path):
    files = ("mark.json", "data")
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "a", replaces=files) as folder:
            (folder / "mark.json").write_text(content)
            if content == "new":
                assert (tmp_path / "a" / "mark.json").read_text() == "old"
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "a", replaces=files) as folder:
        (folder / "mark.json").write_text(str(1 / 0))
    assert (tmp_path / "a" / "mark.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", [None, "page.html"])
def test_what_a_process_left_before_it_wrote_goes_too(tmp_path, name):
    for left in (".0badcafe.partial", ".00000001.partial", ".00000001.partial.page.html"):
        (tmp_path / left).write_text("")
    for left in (".gliodistill.lock", ".case_0.gliodistill.lock") if name is None else ():
        (tmp_path / left).write_text("process 1 on nowhere")
    (tmp_path / ".00000002.partial.other").write_text("")
    (tmp_path / ".note.partial").write_text("the user's")
    remove_leftovers(tmp_path, name)
    others = {".00000002.partial.other"} if name else set()
    assert {path.name for path in tmp_path.iterdir()} == {".note.partial", *others}


def _hold(folder, started, stop):
    with lock_folder(folder, shared=True), atomic_file(folder / "file") as path:
        path.write_text("half")
        started.set()
        stop.wait(60)
        os._exit(9)  # as a kill: nothing is tidied


def test_a_lock_ends_with_its_process(tmp_path):
    context = multiprocessing.get_context("fork")
    started, stop = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(tmp_path, started, stop))
    child.start()
    assert started.wait(60)
    with pytest.raises(Busy, match=f"process {child.pid} on "), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path, shared=True):
        pass
    with pytest.raises(Busy), lock_folder(tmp_path):  # the other one still holds it
        pass
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.glob(".*.partial.file"))) == 1
    assert contents(tmp_path) == []
    stop.set()
    child.join(60)
    with lock_folder(tmp_path), lock_name(tmp_path / "a"):
        remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "cell", ["=1", "'=1", "''-x", "+", "@a", "\ta", "plain", "'plain", "a=1", "", "-0.5", 'a"b,c']
)
def test_cells_come_back_as_they_were(cell):
    text = csv_text([["id", 1.5, None, cell]])
    (row,) = csv.reader(io.StringIO(text))
    assert row[:3] == ["id", "1.5", ""] and read_cell(row[3]) == cell
    assert row[3][:1] not in set("=+-@\t\r") - {""}


def test_numbers_are_no_formulas():
    assert csv_text([[-0.5, -3]]) == "-0.5,-3\n"


def test_what_does_not_print_is_escaped():
    assert printable("a\x1b[1m\x9b\u202e\ud800é\nb") == "a\\x1b[1m\\x9b\\u202e\\ud800é\nb"


@pytest.mark.parametrize("id", ["a", "BraTS-GLI-00001-000", "é 中 (2)", "=1", "a.b", "x" * 200])
def test_usable_ids(id):
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", " a", "a ", ".", "..", "a\n", "x" * 201, "é" * 101, 7, None])
def test_unusable_ids(id):
    with pytest.raises(StudyError, match="id cannot name a file"):
        check_id(id)


def test_names_are_compared_as_any_disk_does():
    check_names({"a": ["a.nii"], "b": ["b.nii"]}, ["table.csv"])
    with pytest.raises(StudyError, match="of study A and of study a"):
        check_names({"a": ["a.nii"], "A": ["A.nii"]})
    with pytest.raises(StudyError, match="of study Table and of the table of all studies"):
        check_names({"Table": ["Table.CSV"]}, ["table.csv"])
