"""Prepared studies on disk: whole or absent, kept while nothing changes, and never over somebody's
files.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from gliodistill.errors import CacheError, GliodistillError, OutputError, StudyError
from gliodistill.images import Volume, write_nifti
from gliodistill.preparation import Cache, Preparation, build_cache
from gliodistill.preparation.cache_building import cache_key
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.study import load_study
from tiny_cohort import AFFINE, write_cohort, write_study


@pytest.fixture
def root(tmp_path):
    return write_cohort(tmp_path / "cohort", 3)


def build(root, folder, preparation=Preparation(), jobs=1):  # noqa: B008 (frozen)
    return build_cache(open_cohort(root, labels="brats2021"), preparation, folder, jobs)


def written(folder):
    """When each study was written (it is the folder's own number, so a rewrite shows)."""
    return {path.name: path.stat().st_ino for path in folder.iterdir() if path.is_dir()}


def test_what_is_in_it_is_what_preparation_gives(root, tmp_path):
    cache = build(root, tmp_path / "cache")
    assert [study.id for study in cache] == ["case_0", "case_1", "case_2"]
    cohort = open_cohort(root, labels="brats2021")
    for cached, record in zip(cache, cohort.studies, strict=True):
        prepared = Preparation().apply(load_study(record, cohort.convention))
        np.testing.assert_array_equal(cached.image(), prepared.image)
        np.testing.assert_array_equal(cached.truth(), prepared.truth)
        assert (cached.patient, cached.present, cached.labelled, cached.shape) == (
            record.patient,
            (True,) * 4,
            True,
            prepared.shape,
        )
    again = Cache.open(tmp_path / "cache")
    assert again.studies == cache.studies
    assert (again.preparation, again.convention.name) == (Preparation(), "brats2021")


def test_parallel_is_serial(root, tmp_path):
    one, many = build(root, tmp_path / "one", jobs=1), build(root, tmp_path / "many", jobs=3)
    for a, b in zip(one, many, strict=True):
        for name in ("image.npy", "truth.npy", "study.json"):
            assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes()
    assert (one.folder / "cache.json").read_bytes() == (many.folder / "cache.json").read_bytes()


def test_unlabelled_studies_have_no_truth(tmp_path):
    write_study(tmp_path / "cohort", "case_0", 0)
    write_study(tmp_path / "cohort", "case_1", 1, labelled=False)
    cache = build(tmp_path / "cohort", tmp_path / "cache")
    assert [study.labelled for study in cache] == [True, False]
    with pytest.raises(CacheError, match=r"truth\.npy"):
        cache.studies[1].truth()


def test_unchanged_studies_are_kept_and_a_deleted_one_comes_back(root, tmp_path):
    folder = tmp_path / "cache"
    build(root, folder)
    before = written(folder)
    build(root, folder)
    assert written(folder) == before
    shutil.rmtree(folder / "case_1")
    with pytest.raises(CacheError, match="missing"):
        Cache.open(folder)
    build(root, folder)
    after = written(folder)
    assert (after["case_0"], after["case_2"]) == (before["case_0"], before["case_2"])
    assert len(Cache.open(folder)) == 3


def test_changed_content_is_prepared_again(root, tmp_path):
    folder = tmp_path / "cache"
    cache = build(root, folder)
    keys = {
        study.id: json.loads((study.folder / "study.json").read_text())["key"] for study in cache
    }
    image = np.array(cache.studies[1].image())
    write_study(root, "case_1", 77)
    cache = build(root, folder)
    again = {
        study.id: json.loads((study.folder / "study.json").read_text())["key"] for study in cache
    }
    assert {id for id in keys if keys[id] != again[id]} == {"case_1"}
    assert (
        image.shape != cache.studies[1].image().shape or (image != cache.studies[1].image()).any()
    )


@pytest.mark.parametrize(
    "other",
    [Preparation(spacing=(2.0, 2.0, 2.0)), Preparation(margin_mm=1.0), Preparation(bias_mm=20.0)],
)
def test_other_settings_are_prepared_again(root, tmp_path, other):
    folder = tmp_path / "cache"
    build(root, folder)
    cache = build(root, folder, other)
    assert cache.preparation == other
    expected = build(root, tmp_path / "fresh", other)
    for a, b in zip(cache, expected, strict=True):
        np.testing.assert_array_equal(a.image(), b.image())


def test_other_labels_are_prepared_again(root, tmp_path):
    cohort = open_cohort(root, labels="brats2021")
    build_cache(cohort, Preparation(), tmp_path / "cache")
    images, codes = cohort.studies[0].images, cohort.studies[0].truth
    assert images
    assert codes is not None
    with pytest.raises(GliodistillError, match="unknown label codes"):
        build_cache(open_cohort(root, labels="msd"), Preparation(), tmp_path / "cache")


def test_a_cache_half_turned_to_other_settings_is_no_cache(root, tmp_path):
    """Else studies of two resolutions would train together."""
    folder, broken = tmp_path / "cache", root / "case_2" / "case_2_t1.nii.gz"
    build(root, folder)
    good = broken.read_bytes()
    broken.write_bytes(good[: len(good) // 2])
    with pytest.raises(GliodistillError, match="case_2_t1"):
        build(root, folder, Preparation(spacing=(2.0, 2.0, 2.0)))
    with pytest.raises(CacheError, match="not a preparation cache"):
        Cache.open(folder)
    broken.write_bytes(good)
    kept = written(folder)
    cache = build(root, folder, Preparation(spacing=(2.0, 2.0, 2.0)))
    assert len({study.shape for study in cache}) >= 1
    assert written(folder)["case_0"] == kept["case_0"]


def test_a_killed_build_goes_on(root, tmp_path):
    """SIGKILL of the real program as soon as the first study lies there."""
    for seed in range(3, 12):
        write_study(root, f"case_{seed}", seed, shape=(48, 46, 44))
    folder = tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "gliodistill",
        "prepare",
        str(root),
        "-o",
        str(folder),
        "--labels",
        "brats2021",
        "--jobs",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while (
        process.poll() is None and time.monotonic() < deadline and not (folder / "case_0").exists()
    ):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    with pytest.raises(CacheError):
        Cache.open(folder)
    (folder / ".0badcafe.partial.case_9").mkdir(
        exist_ok=True
    )  # at the latest now there is a leftover
    kept = written(folder)
    cache = build(root, folder)
    assert written(folder)["case_0"] == kept["case_0"]
    assert len(cache) == 12
    assert not [path for path in folder.iterdir() if "partial" in path.name]


def test_one_bad_study_is_named_and_the_others_stay(root, tmp_path):
    (root / "case_2" / "case_2_t2.nii.gz").write_bytes(b"no gzip at all, not even long enough")
    with pytest.raises(GliodistillError, match="case_2_t2"):
        build(root, tmp_path / "cache")
    assert set(written(tmp_path / "cache")) == {"case_0", "case_1"}


def test_a_folder_of_something_else_is_left_alone(root, tmp_path):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(CacheError, match="something else"):
        build(root, root)  # the cohort itself: study folders have the same names
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        build(root, tmp_path / "file")
    with pytest.raises(OutputError):
        build(root, tmp_path / "file" / "below")


def damage_npy(file, kind):
    content = file.read_bytes()
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "truncated":
        file.write_bytes(content[:-100])
    elif kind == "magic":
        file.write_bytes(b"garbage!" + content[8:])
    elif kind == "other type":
        np.save(file, np.load(file).astype(np.float32))
    elif kind == "other shape":
        np.save(file, np.load(file)[..., 1:])
    elif kind == "pickle":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        file.unlink()


@pytest.mark.parametrize(
    "kind", ["empty", "truncated", "magic", "other type", "other shape", "pickle", "missing"]
)
def test_a_damaged_array_is_named(root, tmp_path, kind):
    study = build(root, tmp_path / "cache").studies[0]
    for name, read in (("image.npy", study.image), ("truth.npy", study.truth)):
        damage_npy(study.folder / name, kind)
        with pytest.raises(CacheError, match=name) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{",
        '{"format": 99}',
        '{"format": 1}',
        '{"format": 1, "preparation": {}, "convention": null, "studies": []}',
        "\xff",
    ],
)
def test_a_damaged_index_is_no_cache(root, tmp_path, index):
    build(root, tmp_path / "cache")
    (tmp_path / "cache" / "cache.json").write_text(index, encoding="latin-1")
    with pytest.raises(CacheError):
        Cache.open(tmp_path / "cache")


def test_a_damaged_study_file_is_prepared_again(root, tmp_path):
    cache = build(root, tmp_path / "cache")
    (cache.studies[0].folder / "study.json").write_text('{"key": ')
    with pytest.raises(CacheError):
        Cache.open(tmp_path / "cache")
    assert len(build(root, tmp_path / "cache")) == 3


def test_select(root, tmp_path):
    cache = build(root, tmp_path / "cache")
    assert [study.id for study in cache.select({"case_2", "case_0"})] == ["case_0", "case_2"]
    with pytest.raises(CacheError, match="case_9"):
        cache.select({"case_9"})


def test_a_channel_is_part_of_the_key(tmp_path):
    """Two studies of one file but other channels must not be taken for each other."""
    write_study(tmp_path / "cohort", "case_0", 0)
    record = open_cohort(tmp_path / "cohort", labels="brats2021").studies[0]
    sequence, file = next(iter(record.images.items()))
    other = replace(record, images={**record.images, sequence: replace(file, channel=1)})
    assert cache_key(record, None, Preparation()) != cache_key(other, None, Preparation())


def test_a_grid_that_differs_is_a_problem_of_the_study(root, tmp_path):
    write_nifti(
        Volume(np.ones((5, 5, 5), np.float32), AFFINE), root / "case_1" / "case_1_t1.nii.gz"
    )
    with pytest.raises(StudyError, match="different grids"):
        build(root, tmp_path / "cache")
