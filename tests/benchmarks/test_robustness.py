"""The study of robustness in small: images are disturbed as is said, the truth goes along, and the
command goes on where it stopped.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_cohort
import tiny_model
from benchmarks import disturbances
from gliodistill.inference import Predictor
from gliodistill.models import InferenceSettings
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study

EVERY = {one.name: one for one in disturbances.disturbances()}


@pytest.fixture(scope="module")
def study() -> Study:
    return disturbances.brain_part(tiny_cohort.study(1, (40, 38, 36)))


def brain(study: Study, sequence: MRSequence = MRSequence.T2) -> np.ndarray:
    return study.images[sequence].data != 0


def centre(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def test_noise_is_as_strong_as_it_says(study):
    before, after = (
        case.images[MRSequence.T1].data
        for case in (study, EVERY["noise, SD of the brain: 0.5"].apply(study, 3))
    )
    inside = brain(study, MRSequence.T1)
    assert np.std((after - before)[inside]) == pytest.approx(0.5 * np.std(before[inside]), rel=0.05)
    assert not after[~inside].any()


def test_the_same_seed_is_the_same_disturbance(study):
    for name in (
        "noise, SD of the brain: 0.5",
        "bias field, SD of its logarithm: 0.4",
        "FLAIR shifted, mm: 2",
    ):
        one, same, other = (
            EVERY[name].apply(study, seed).images[MRSequence.FLAIR].data for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


@pytest.mark.parametrize("name", EVERY)
def test_the_truth_goes_along(study, name):
    """What is bright on FLAIR stays where the truth says; a sequence disturbed alone leaves the
    truth as it was.
    """
    disturbed = EVERY[name].apply(study, 5)
    assert disturbed.truth is not None and disturbed.truth.same_grid(disturbed.grid)
    assert set(disturbed.images) == set(study.images) & set(EVERY[name].leaves)
    if MRSequence.FLAIR not in disturbed.images or name.startswith(
        ("FLAIR", "bias", "noise", "top of the brain cut off in FLAIR")
    ):
        np.testing.assert_array_equal(disturbed.truth.data, study.truth.data)
        return
    image = disturbed.images[MRSequence.FLAIR].data
    bright = image > (np.percentile(image[image != 0], 5) + image.max()) / 2
    np.testing.assert_allclose(centre(bright), centre(disturbed.truth.data > 0), atol=0.8)


def test_a_turned_head_is_whole(study):
    for axis in "XYZ":
        turned = EVERY[f"head turned about {axis}, degrees: 30"].apply(study, 0)
        assert brain(turned).sum() == pytest.approx(brain(study).sum(), rel=0.02)
        assert (turned.truth.data > 0).sum() == pytest.approx(
            (study.truth.data > 0).sum(), rel=0.06
        )


def test_a_cut_field_of_view_ends_the_truth_too(study):
    cut = EVERY["top of the brain cut off, share of its height: 0.3"].apply(study, 0)
    filled = np.flatnonzero(brain(cut).any(axis=(0, 1)))
    height = study.grid.shape[2]
    assert filled[0] == 0 and filled[-1] == pytest.approx(0.7 * height, abs=1)
    assert not cut.truth.data[:, :, filled[-1] + 1 :].any()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two labelled studies, one without a tumour, a model that draws what is bright and can do
    without T1.
    """
    root = tmp_path_factory.mktemp("robustness")
    tiny_cohort.write_cohort(root / "data", 2)
    tiny_cohort.write_study(root / "healthy", "healthy_7", 7, labelled=False)
    # Of the tiny cohort's brain a tenth is tumour: a lower bar than that of the model's own test
    # study.
    tiny_model.export(
        root / "model",
        may_lack=(MRSequence.T1,),
        inference=InferenceSettings((16, 16, 16), threshold=0.3),
    )
    return root


def measured(place: Path, name: str, *more: str) -> dict:
    command = [
        sys.executable,
        "-m",
        "benchmarks.robustness",
        str(place / "model"),
        "--data",
        str(place / "data"),
        "--no-tumour",
        str(place / "healthy"),
    ]
    command += [
        "-o",
        str(place / "out" / name),
        "--work",
        str(place / "work"),
        "--jobs",
        "1",
        "--threads",
        "1",
    ]
    words = ("noise", "exchanged", "left")
    done = subprocess.run(
        [*command, *(f"--only={word}" for word in words), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((place / "out" / f"{name}.json").read_text())


def test_one_command_and_it_goes_on_where_it_stopped(place):
    found = measured(place, "first")
    assert {path.name for path in (place / "out").iterdir()} == {
        "first.json",
        "first.md",
        "first.svg",
    }
    texts = [(place / "out" / f"first{ending}").read_text() for ending in (".json", ".md", ".svg")]
    assert not any("case_" in text or "healthy_7" in text or str(place) in text for text in texts)

    rows = {f"{row['group']} {row['strength']}".strip(): row for row in found["rows"]}
    cohort, predictor = open_cohort(place / "data"), Predictor(place / "model", threads=1)
    for number, record in enumerate(sorted(cohort.studies, key=lambda record: record.id)):
        study = load_study(record, cohort.convention)
        regions = zip(
            predictor.segment(replace(study, truth=None)).regions,
            study.convention.to_regions(study.truth.data),
            strict=True,
        )
        expected = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in regions]
        assert expected[0] > 0.5
        assert rows["undisturbed"]["dice"][number] == pytest.approx(expected, abs=1e-5)
    # A model that looks at single voxels does not mind a mirror.
    assert rows["left and right exchanged"]["dice"] == rows["undisturbed"]["dice"]
    assert rows["left and right exchanged"]["WT"]["difference"]["mean"] == 0
    # It needs all but T1, so of 14 subsets one can be asked for.
    assert [name for name in rows if name.startswith("sequences left")] == [
        "sequences left T1CE+T2+FLAIR"
    ]
    assert [list(volumes) for volumes in found["no_tumour_ml"]] == [
        ["T1+T1CE+T2+FLAIR", "T1CE+T2+FLAIR"]
    ]
    assert all(way["same"] == way["studies"] == 2 for way in found["invariances"] if way["exact"])

    (place / "work" / "tumour" / "case_1.json").unlink()
    kept = place / "work" / "tumour" / "case_0.json"
    before = kept.stat().st_mtime_ns
    again = measured(place, "second")
    assert again | {"command": found["command"]} == found  # but for its own name
    assert kept.stat().st_mtime_ns == before
