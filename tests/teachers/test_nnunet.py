"""A live nnU-Net: its own predictor's numbers, and a checkpoint that would run code.

``nnunet_results`` and its oracle were written by ``benchmarks/teachers/nnunet.py``: a tiny nnU-Net
trained, and asked, by its own package.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_cohort
from gliodistill.errors import GliodistillError
from gliodistill.images import Volume
from gliodistill.studies.labels import MSD
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.teachers import parse_teacher
from gliodistill.teachers.nnunet.preparation import resized

RESULTS = Path(__file__).parent / "nnunet_results"
TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
REGIONS = RESULTS / "Dataset901_Regions" / TRAINER
SHAPE, SPACING = (30, 26, 28), 5.0


@pytest.fixture(autouse=True)
def architectures():
    pytest.importorskip("dynamic_network_architectures")


@pytest.fixture(scope="module")
def oracle():
    with np.load(RESULTS / "oracle.npz") as archive:
        return {name: archive[name] for name in archive.files}


def study(turned: bool = False) -> Study:
    """The oracle's study; or the same in a file whose axes run the other way."""
    images, _ = tiny_cohort.arrays(3, SHAPE)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    volumes = {sequence: Volume(image, affine) for sequence, image in images.items()}
    if turned:
        volumes = {
            sequence: Volume(volume.data[::-1], affine @ np.diag([-1, 1, 1, 1]))
            for sequence, volume in volumes.items()
        }
    return Study("oracle", "oracle", volumes)


CASES = {
    "Dataset901_Regions (0,)": {},
    "Dataset901_Regions (0,) mirrored": {"tta": True},
    "Dataset902_Labels (0,)": {"folds": [0]},
    "Dataset902_Labels (0, 1)": {},
}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_labels_are_those_of_nnunets_own_predictor(case, oracle):
    """Regions and labels, in its axes and voxel size, one fold, several, and mirrored."""
    folder = RESULTS / case.partition(" ")[0]
    teacher = parse_teacher({"nnunet": str(folder), **CASES[case]}, "teacher").open()
    seen = teacher.prepare(study())
    expected = oracle[f"{case} logits"].astype(np.float32)
    found = teacher.logits(seen)[:, ::2, ::2, ::2].astype(np.float32)  # every other is kept
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
    said = teacher.predict(study()).probability
    labels = oracle[f"{case} labels"].transpose(2, 1, 0)  # Z Y X, as nnU-Net writes it
    drawn = teacher.shares(study()).argmax(0)
    if "Regions" in case:  # as nnU-Net paints them
        drawn = np.zeros(SHAPE, dtype=np.uint8)
        for region, code in zip(said, (1, 2, 3), strict=True):
            drawn[region > 0.5] = code
    pairs = zip(MSD.to_regions(drawn), MSD.to_regions(labels), strict=True)
    dice = [2 * (a & b).sum() / max(a.sum() + b.sum(), 1) for a, b in pairs if (a | b).any()]
    assert min(dice) >= 0.999 and np.isfinite(expected).all()


def test_a_file_with_other_axes_and_a_cropped_study_are_seen_as_they_lie():
    teacher = parse_teacher(f"nnunet:{REGIONS}", "teacher").open()
    assert teacher.sequences == tuple(map(MRSequence, ("FLAIR", "T1", "T1CE", "T2")))
    whole = study()
    cropped = {
        sequence: Volume(
            image.data[2:-1, 1:, :-1], image.affine + SPACING * np.eye(4)[:, 3:] @ [[0, 0, 0, 0]]
        )
        for sequence, image in whole.images.items()
    }
    for sequence, image in cropped.items():
        image.affine[:3, 3] = (2 * SPACING, SPACING, 0)
        cropped[sequence] = Volume(image.data, image.affine)
    part = Study("oracle", "oracle", cropped, whole=whole.grid)
    assert np.array_equal(teacher.predict(part).probability, teacher.predict(whole).probability)


def test_a_network_that_reorients_sees_the_same_in_any_orientation(tmp_path):
    folder = copied(tmp_path)
    edit(folder / "plans.json", image_reader_writer="NibabelIOWithReorient")
    teacher = parse_teacher({"nnunet": str(folder), "folds": [0]}, "teacher").open()
    plain, turned = (teacher.predict(study(turned=t)).probability for t in (False, True))
    assert np.array_equal(turned[:, ::-1], plain)


def copied(tmp_path: Path) -> Path:
    return shutil.copytree(REGIONS, tmp_path / TRAINER)


def edit(file: Path, configuration: bool = False, **changes) -> None:
    values = json.loads(file.read_text())
    (values["configurations"]["3d_fullres"] if configuration else values).update(changes)
    file.write_text(json.dumps(values))


class Evil:
    """Unpickled, it would make a folder."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    folder = copied(tmp_path)
    file, target = folder / "fold_0" / "checkpoint_final.pth", tmp_path / "owned"
    kept = torch.load(file, weights_only=False)
    torch.save(kept | {"logging": Evil(str(target))}, file)
    with pytest.raises(GliodistillError, match="could run code") as caught:
        parse_teacher(f"nnunet:{folder}", "teacher").open()
    assert not target.exists() and caught.value.file == file and "mkdir" in str(caught.value)


BROKEN = {
    "another class": (
        lambda f: edit(
            f / "plans.json",
            True,
            architecture={
                "network_class_name": "os.path.join",
                "arch_kwargs": {},
                "_kw_requires_import": [],
            },
        ),
        "plans name a class that is not opened",
    ),
    "another network": (
        lambda f: edit(f / "dataset.json", channel_names={"0": "T1", "1": "T2"}),
        "not of the plans",
    ),
    "a cascade": (
        lambda f: edit(f / "plans.json", True, previous_stage="3d_lowres"),
        "not supported as a live teacher",
    ),
    "2-D": (
        lambda f: edit(f / "plans.json", True, patch_size=[32, 32]),
        "not supported as a live teacher",
    ),
    "a damaged file": (
        lambda f: (f / "fold_0" / "checkpoint_final.pth").write_bytes(b"PK\3\4 nothing"),
        "cannot read the checkpoint|could run code",
    ),
    "no folds": (lambda f: shutil.rmtree(f / "fold_0"), "no trained fold"),
    "no plans": (lambda f: (f / "plans.json").unlink(), "not a results folder"),
    "other labels": (
        lambda f: edit(f / "dataset.json", labels={"background": 0, "liver": 1}),
        "labels that are not understood",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_supported_or_damaged_is_one_line(what, tmp_path):
    folder, (break_it, problem) = copied(tmp_path), BROKEN[what]
    break_it(folder)
    with pytest.raises(GliodistillError, match=problem):
        parse_teacher(f"nnunet:{folder}", "teacher").open().predict(study())


def test_images_are_resampled_as_by_scikit_image():
    skimage = pytest.importorskip("skimage.transform")
    image = np.random.default_rng(0).normal(size=(9, 7, 8))
    for order in (1, 3):
        theirs = skimage.resize(image, (12, 5, 8), order, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(resized(image, (12, 5, 8), order), theirs, atol=1e-12)
