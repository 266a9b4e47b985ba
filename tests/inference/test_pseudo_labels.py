"""Studies without truth → a cohort whose truth is what an ensemble says, by way of the disk."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_model
from gliodistill.errors import GliodistillError, OutputError, StudyError
from gliodistill.files import sha256
from gliodistill.images import Volume, read_labels, write_nifti
from gliodistill.inference import Predictor
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.pseudo_cohort import PseudoLabels
from gliodistill.inference.pseudo_labels import write_pseudo_labels
from gliodistill.inference.tta import parse_tta
from gliodistill.models import ModelPackage
from gliodistill.studies.cohort import find_cohort, open_cohort
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.studies.study import Study, load_study

BRATS = CONVENTIONS["brats2021"]
FILES = ["confidence.nii.gz", "disagreement.nii.gz", "labels.nii.gz", "study.json"]


def write(root: Path, study: Study, id: str, dtype=np.float32) -> Path:
    folder = root / id
    folder.mkdir(parents=True)
    for sequence, image in study.images.items():
        write_nifti(
            image.with_data(np.rint(image.data).astype(dtype)),
            folder / f"{id}_{sequence.lower()}.nii.gz",
        )
    return folder


def patient(seed: int) -> Study:
    """Another brain: the same balls of tumour in noise of its own, coarse enough to be told apart."""
    random, study = np.random.default_rng(seed), tiny_model.study()
    patches = np.kron(random.normal(0, 12, (10, 11, 10)), np.ones((5, 5, 5)))[:50, :53, :46]
    images = {
        s: image.with_data(np.where(image.data > 0, image.data + patches, 0).astype(np.float32))
        for s, image in study.images.items()
    }
    return replace(study, images=images)


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unlabelled")
    for seed, id in enumerate(("a", "b", "c")):
        write(root, patient(seed), id)
    return root


@pytest.fixture(scope="session")
def ensemble(package: ModelPackage, unet: ModelPackage) -> Ensemble:
    return Ensemble([Predictor(package, threads=1), Predictor(unet, threads=1)], parse_tta("x"))


@pytest.fixture(scope="session")
def single(package: ModelPackage) -> Ensemble:
    return Ensemble([Predictor(package, threads=1)])


def label(folder: Path, ensemble: Ensemble, out: Path, **options):
    return write_pseudo_labels(
        find_cohort(folder)[0].studies, ensemble, out, **{"labels": BRATS, **options}
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(unlabelled, ensemble, package, tmp_path):
    out = tmp_path / "deep" / "out"
    report = label(unlabelled, ensemble, out, soft=True)
    assert list(report.done) == ["a", "b", "c"] and not report.failed and not report.left_out
    assert names(out) == ["a", "b", "c", "manifest.json", "pseudo.json"]
    assert names(out / "a") == sorted([*FILES, "WT.nii.gz", "TC.nii.gz", "ET.nii.gz"])
    study = load_study(find_cohort(unlabelled)[0].studies[0])
    said = ensemble.ask(study)
    np.testing.assert_array_equal(
        BRATS.to_regions(read_labels(out / "a" / "labels.nii.gz").data), said.regions
    )
    for name, values in [
        *zip(("WT", "TC", "ET"), said.probability, strict=True),
        ("confidence", said.confidence()),
    ]:
        stored = read_labels(out / "a" / f"{name}.nii.gz")
        assert stored.same_grid(study.grid)
        assert np.abs(stored.data / 255 - values).max() <= 0.5 / 255 + 1e-6
    facts = json.loads((out / "pseudo.json").read_text())
    assert facts["models"][0] == {
        "name": "tiny", "sha256": package.fingerprint, "weights_sha256": sha256(package.folder / "model.safetensors"),
    }  # fmt: skip
    assert facts["tta"] == ["", "x"] and "medical device" in facts["notice"]
    assert facts["labels"] == {
        "convention": "brats2021",
        "codes": {"1": "NCR", "2": "ED", "4": "ET"},
    }
    assert facts["studies"]["a"]["selected"] and facts["studies"]["a"]["agreement"].keys() == {
        "WT",
        "TC",
        "ET",
        "mean",
    }
    assert {"python", "numpy", "openvino", "gliodistill"} <= facts["versions"].keys()
    assert str(tmp_path) not in (out / "manifest.json").read_text()


def test_out_opens_as_a_cohort_and_moves_with_its_images(unlabelled, single, tmp_path):
    shutil.copytree(unlabelled, tmp_path / "here" / "images")
    label(
        tmp_path / "here" / "images",
        single,
        tmp_path / "here" / "out",
        labels=CONVENTIONS["brats2023"],
    )
    (tmp_path / "here").rename(tmp_path / "there")
    pseudo = PseudoLabels.open(tmp_path / "there" / "out")
    for cohort in (pseudo.cohort, open_cohort(tmp_path / "there" / "out")):
        assert (
            cohort.layout == "manifest"
            and cohort.convention.name == "brats2023"
            and not cohort.problems
        )
        assert [(record.id, record.patient) for record in cohort.studies] == [
            (id, id) for id in "abc"
        ]
    loaded = load_study(pseudo.cohort.studies[0], pseudo.cohort.convention)
    truth = pseudo.cohort.convention.to_regions(loaded.truth.data)
    assert (
        2
        * (truth[0] & tiny_model.regions()[0]).sum()
        / (truth[0].sum() + tiny_model.regions()[0].sum())
        > 0.8
    )
    with pytest.raises(StudyError, match="hard"):
        pseudo.soft_files("a")


def test_a_patient_who_is_known_is_left_out_even_under_another_id_and_saved_anew(
    unlabelled, single, tmp_path
):
    """``a`` by its id; ``b`` because the same voxels lie in the excluded cohort as int16, on other
    axes, under another name.
    """
    write(tmp_path / "labelled", patient(7), "a")
    disguised = patient(1)
    images = {}
    for sequence, image in disguised.images.items():
        affine = image.affine[:, [1, 0, 2, 3]].copy()
        affine[:3, 3] += affine[:3, 1] * (image.shape[0] - 1)
        affine[:3, 1] *= -1
        images[sequence] = Volume(
            np.ascontiguousarray(image.data.transpose(1, 0, 2)[:, ::-1]), affine
        )
    write(tmp_path / "labelled", replace(disguised, images=images), "renamed", np.int16)
    excluded = {"labelled": find_cohort(tmp_path / "labelled")[0]}
    report = label(unlabelled, single, tmp_path / "out", exclude=excluded)
    assert list(report.done) == ["c"]
    assert report.left_out["a"] == "patient a is that of a of labelled"
    assert report.left_out["b"].startswith("the same images as renamed of labelled")
    assert names(tmp_path / "out") == ["c", "manifest.json", "pseudo.json"]
    facts = json.loads((tmp_path / "out" / "pseudo.json").read_text())
    assert facts["left_out"] == report.left_out
    assert facts["excluded"] == {"labelled": {"a": "a", "renamed": "renamed"}}


def test_an_excluded_study_that_cannot_be_read_is_refused(unlabelled, single, tmp_path):
    folder = write(tmp_path / "labelled", patient(7), "x")
    (folder / "x_t1.nii.gz").write_bytes((folder / "x_t1.nii.gz").read_bytes()[:300])
    with pytest.raises(StudyError, match="excluded study cannot be compared"):
        label(
            unlabelled,
            single,
            tmp_path / "out",
            exclude={"labelled": find_cohort(tmp_path / "labelled")[0]},
        )
    assert names(tmp_path / "out") == []


def test_a_truncated_study_does_not_stop_the_rest(unlabelled, single, tmp_path):
    data = shutil.copytree(unlabelled, tmp_path / "data")
    (data / "b" / "b_t2.nii.gz").write_bytes((data / "b" / "b_t2.nii.gz").read_bytes()[:500])
    report = label(data, single, tmp_path / "out")
    assert list(report.done) == ["a", "c"] and list(report.failed) == ["b"]
    assert names(tmp_path / "out") == ["a", "c", "manifest.json", "pseudo.json"]
    assert (
        "b_t2.nii.gz" in json.loads((tmp_path / "out" / "pseudo.json").read_text())["failed"]["b"]
    )
    shutil.copytree(unlabelled / "b", data / "b", dirs_exist_ok=True)
    again = label(data, single, tmp_path / "out", resume=True)
    assert (again.skipped, list(again.done), again.failed) == (["a", "c"], ["b"], {})
    assert len(PseudoLabels.open(tmp_path / "out").cohort) == 3


def test_selection_by_agreement_can_be_changed_without_asking_again(unlabelled, ensemble, tmp_path):
    means = {
        id: facts["agreement"]["mean"]
        for id, facts in label(unlabelled, ensemble, tmp_path / "out").done.items()
    }
    middle = sorted(means.values())[1]
    report = label(unlabelled, ensemble, tmp_path / "out", agreement=middle, resume=True)
    assert report.skipped == ["a", "b", "c"]
    assert {record.id for record in PseudoLabels.open(tmp_path / "out").cohort.studies} == {
        id for id, mean in means.items() if mean >= middle
    }
    assert (
        all("is below" in reason for reason in report.left_out.values())
        and len(report.left_out) == 1
    )
    label(unlabelled, ensemble, tmp_path / "out", agreement=1.0, resume=True)
    with pytest.raises(StudyError, match="no pseudo-label was selected"):
        PseudoLabels.open(tmp_path / "out")


def test_other_settings_are_done_again_and_results_never_overwritten_unasked(
    unlabelled, single, ensemble, tmp_path
):
    label(unlabelled, single, tmp_path / "out")
    with pytest.raises(OutputError, match="--resume"):
        label(unlabelled, single, tmp_path / "out")
    assert list(label(unlabelled, single, tmp_path / "out", resume=True, soft=True).done) == [
        "a",
        "b",
        "c",
    ]
    assert len(PseudoLabels.open(tmp_path / "out").soft_files("a")) == 3
    assert label(unlabelled, ensemble, tmp_path / "out", resume=True).skipped == []
    shutil.rmtree(tmp_path / "out" / "a")
    (tmp_path / "out" / "a").mkdir()
    (tmp_path / "out" / "a" / "mine.txt").write_text("not yours")
    with pytest.raises(OutputError, match="something else"):
        label(unlabelled, ensemble, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "a" / "mine.txt").exists()


@pytest.mark.parametrize("value", [-0.1, 1.5, 0.5])
def test_agreement_that_cannot_be_is_refused(unlabelled, single, tmp_path, value):
    with pytest.raises(GliodistillError, match="agree"):
        label(unlabelled, single, tmp_path / "out", agreement=value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_finished_does_not_open(unlabelled, single, tmp_path):
    label(unlabelled, single, tmp_path / "out")
    for content in (None, "{", "[]", '{"format": 9}'):
        (tmp_path / "out" / "pseudo.json").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "out" / "pseudo.json").write_text(content)
        with pytest.raises(StudyError, match="pseudo-labels"):
            PseudoLabels.open(tmp_path / "out")


KILLED = """
import os, sys
from pathlib import Path
import gliodistill.files, gliodistill.images.nifti
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.predictor import load_model
from gliodistill.inference import pseudo_files, pseudo_labels
from gliodistill.pool import Threads
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.labels import CONVENTIONS

written = []
def dying(volume, path, really=pseudo_files.write_nifti):
    written.append(path)
    if len(written) == 5:  # the second file of the second study
        os._exit(9)
    really(volume, path)
pseudo_files.write_nifti = dying
data, model, out = sys.argv[1:]
pseudo_labels.write_pseudo_labels(
    find_cohort(Path(data))[0].studies, Ensemble([load_model(model, threads=1)]), out, labels=CONVENTIONS["brats2021"],
    executor=Threads(1))  # one study after the other
"""


def test_killed_in_between_leaves_whole_studies_only(unlabelled, single, package, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    words = [
        sys.executable,
        "-c",
        KILLED,
        str(unlabelled),
        str(package.folder),
        str(tmp_path / "out"),
    ]
    assert subprocess.run(words, env=environment, timeout=120).returncode == 9
    visible = [name for name in names(tmp_path / "out") if not name.startswith(".")]
    assert visible == ["a"] and names(tmp_path / "out" / "a") == FILES
    with pytest.raises(StudyError, match="--resume"):
        PseudoLabels.open(tmp_path / "out")
    report = label(unlabelled, single, tmp_path / "out", resume=True)
    assert (report.skipped, list(report.done)) == (["a"], ["b", "c"])
    assert names(tmp_path / "out") == ["a", "b", "c", "manifest.json", "pseudo.json"]
