"""A teacher from files: what any tool wrote is cut with its patch and distilled, or refused in one line."""

import json

import numpy as np
import pytest
import torch

import tiny_cohort
from gliodistill.cli.main import run
from gliodistill.errors import GliodistillError, RecipeError
from gliodistill.images import Volume, write_nifti
from gliodistill.images.nifti import read_labels, write_channels
from gliodistill.inference.pseudo_cohort import PseudoLabels
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import AugmentationPart, SamplingPart
from gliodistill.studies.labels import BRATS2021
from gliodistill.teachers import parse_teacher
from gliodistill.teachers.levels import to_levels, to_logits
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.data.teacher_outputs import TeacherOutputs
from gliodistill.training.packaging import export
from gliodistill.training.run import train
from tiny_cohort import PLAIN, STUDENT, recipe

REGIONS = ("WT", "TC", "ET")
LABELS = {"background": 0, "NCR": 1, "edema": 2, "enhancing tumor": 4}
"""nnU-Net would have consecutive codes; ours are those of BraTS 2021."""


def soft(seed: int) -> np.ndarray:
    """Probabilities of WT, TC, ET (float32 3 X Y Z): nested, and softer towards the border."""
    regions = BRATS2021.to_regions(tiny_cohort.arrays(seed)[1]).astype(np.float32)
    smooth = regions.copy()
    for axis in (1, 2, 3):
        smooth = (np.roll(smooth, 1, axis) + 2 * smooth + np.roll(smooth, -1, axis)) / 4
    return smooth


def classes(seed: int) -> np.ndarray:
    """The same as shares of background, NCR, ED, ET."""
    whole, core, enhancing = soft(seed)
    return np.stack([1 - whole, core - enhancing, whole - core, enhancing])


def maps(values: np.ndarray) -> list[Volume]:
    return [Volume(np.ascontiguousarray(each), tiny_cohort.AFFINE) for each in values]


def save_npz(folder, seed, values, label_map=True):
    np.savez_compressed(
        folder / f"case_{seed}.npz", probabilities=values.transpose(0, 3, 2, 1).astype(np.float32)
    )
    if label_map:
        codes = np.where(soft(seed)[0] > 0.5, 2, 0).astype(np.uint8)
        write_nifti(Volume(codes, tiny_cohort.AFFINE), folder / f"case_{seed}.nii.gz")


def write(folder, form, seed=0):
    """Outputs of one study in one of the forms."""
    folder.mkdir(exist_ok=True)
    if form == "npz":
        save_npz(folder, seed, classes(seed))
        (folder / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    elif form == "npz regions":  # in nnU-Net's order of regions
        save_npz(folder, seed, soft(seed)[[2, 0, 1]])
        labels = {"background": 0, "enhancing": [4], "whole": [1, 2, 4], "core": [1, 4]}
        (folder / "dataset.json").write_text(
            json.dumps({"labels": labels, "regions_class_order": [4, 2, 1]})
        )
    elif form == "4-D":
        write_channels(maps(soft(seed)[[1, 2, 0]]), folder / f"case_{seed}.nii.gz")
    elif form == "4-D classes":
        write_channels(maps(classes(seed)), folder / f"case_{seed}.nii.gz")
    elif form == "regions":
        for name, volume in zip(REGIONS, maps(soft(seed)), strict=True):
            write_nifti(volume, folder / f"case_{seed}_{name}.nii.gz")
    elif form == "bytes":
        (folder / f"case_{seed}").mkdir()
        for name, values in zip(REGIONS, np.rint(soft(seed) * 255), strict=True):
            volume = Volume(values.astype(np.uint8), tiny_cohort.AFFINE)
            write_nifti(volume, folder / f"case_{seed}" / f"{name}.nii.gz")
    elif form == "logits":
        probability = np.clip(soft(seed), 1e-5, 1 - 1e-5)
        values = np.log(probability / (1 - probability)).astype(np.float32)
        write_channels(maps(values), folder / f"case_{seed}.nii.gz")
    elif form == "labels":
        codes = Volume(tiny_cohort.arrays(seed)[1], tiny_cohort.AFFINE)
        write_nifti(codes, folder / f"case_{seed}.nii.gz")
    return folder


FORMS = {
    "npz": {},
    "npz regions": {},
    "4-D": {},
    "4-D classes": {"channels": ["background", "NCR", "ED", "ET"]},
    "regions": {},
    "bytes": {},
    "logits": {"channels": ["WT", "TC", "ET"], "values": "logits"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_probabilities(form, tmp_path):
    folder = write(tmp_path / "out", form)
    teacher = parse_teacher({"files": str(folder), **FORMS[form]}, "teacher").open()
    said = teacher.predict(tiny_cohort.study(0))
    assert not said.hard and said.probability.dtype == np.float32
    np.testing.assert_allclose(said.probability, soft(0), atol=2e-3)
    assert json.dumps(teacher.facts("case_0")) == json.dumps(teacher.facts("case_0"))


def test_levels_keep_logits_to_a_twentieth():
    logits = np.linspace(-14, 14, 999, dtype=np.float32)
    kept = to_logits(to_levels(1 / (1 + np.exp(-logits.astype(np.float64)))))
    inside = np.abs(logits) < 12.7
    assert np.abs(kept - logits)[inside].max() < 0.051
    assert np.abs(kept).max() <= 12.71 and to_levels(np.float32([0, 1])).tolist() == [0, 254]


REFUSED = {
    "nothing stored": (None, {}, "no output for this study"),
    "two forms": (("regions", "4-D"), {}, "outputs in two forms"),
    "classes that nothing names": (("4-D classes",), {}, "cannot tell which channel"),
    "logits that nothing declares": (("logits",), {}, "not probabilities"),
    "logits without channels": (("logits",), {"values": "logits"}, "must be declared"),
    "other channels": (("4-D",), {"channels": ["WT", "TC"]}, "channels that are not understood"),
    "a class more": (
        ("4-D",),
        {"channels": ["background", "NCR", "ED", "ET"]},
        "another number of channels",
    ),
    "unknown codes": (("labels",), {}, "label convention of the teacher's label maps is not known"),
    "codes of another convention": (("labels",), {"labels": "msd"}, "unknown label codes"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_evidence_cannot_decide_is_an_error(what, tmp_path):
    forms, options, problem = REFUSED[what]
    folder = tmp_path / "out"
    folder.mkdir()
    for form in forms or ():
        write(folder, form)
    with pytest.raises(GliodistillError, match=problem):
        parse_teacher({"files": str(folder), **options}, "t").open().predict(tiny_cohort.study(0))


def test_outputs_of_another_grid_or_study_are_refused(tmp_path):
    folder = write(tmp_path / "out", "regions")
    moved = tiny_cohort.AFFINE + np.diag([0, 0, 0.2, 0])
    write_nifti(Volume(soft(0)[0], moved), folder / "case_0_WT.nii.gz")
    teacher = parse_teacher({"files": str(folder)}, "t").open()
    with pytest.raises(GliodistillError, match="output is on another grid"):
        teacher.predict(tiny_cohort.study(0))
    other = write(tmp_path / "npz", "npz")
    save_npz(other, 0, classes(0)[:, :, :, :-1])
    with pytest.raises(GliodistillError, match="output is on another grid"):
        parse_teacher({"files": str(other)}, "t").open().predict(tiny_cohort.study(0))
    save_npz(other, 0, classes(0)[:, ::-1])  # mirrored against the label map beside it
    codes = np.zeros(tiny_cohort.SHAPE, dtype=np.uint8)
    codes[2:9, 2:9, 2:9] = 2
    write_nifti(Volume(codes, tiny_cohort.AFFINE), other / "case_0.nii.gz")
    with pytest.raises(GliodistillError, match="probabilities and label map of one study disagree"):
        parse_teacher({"files": str(other)}, "t").open().predict(tiny_cohort.study(0))


def test_an_archive_of_a_reader_that_turns_images(tmp_path):
    """The study's file runs from right to left; nnU-Net turned it."""
    write(tmp_path, "npz")
    turned = np.ascontiguousarray(classes(0)[:, ::-1, ::-1])  # as the affine says
    save_npz(tmp_path, 0, turned)
    plans = {"image_reader_writer": "NibabelIOWithReorient"}
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    said = parse_teacher(f"files:{tmp_path}", "t").open().predict(tiny_cohort.study(0))
    np.testing.assert_allclose(said.probability, soft(0), atol=2e-3)
    (tmp_path / "plans.json").write_text(json.dumps({"image_reader_writer": "Tiff3DIO"}))
    with pytest.raises(GliodistillError, match="axes of its own"):
        parse_teacher(f"files:{tmp_path}", "t").open().predict(tiny_cohort.study(0))


def test_an_archive_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "case_0.npz", probabilities=np.array([{}], dtype=object))
    with pytest.raises(GliodistillError, match=r"another grid|cannot read the archive"):
        parse_teacher({"files": str(tmp_path)}, "t").open().predict(tiny_cohort.study(0))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"filse": "x"}, "did you mean files"),
        ({"files": "x", "channel": []}, "did you mean channels"),
        ({"files": "x", "values": "percent"}, "option does not fit"),
        ({}, "not a teacher"),
        ("files", "KIND:PATH"),
    ],
)
def test_a_teacher_that_is_misspelt(value, problem):
    with pytest.raises(RecipeError, match=problem):
        parse_teacher(value, "runs.distilled.method.options.teacher")


def runs(folder, losses=None, **method):
    """Baseline and student distilled from files."""
    options = {"teacher": {"files": str(folder)}, **({"losses": losses} if losses else {})}
    method = {"name": "compression", "options": options, **method}
    return {"baseline": {"network": STUDENT}, "distilled": {"network": STUDENT, "method": method}}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "out"
    for seed in range(3):
        write(folder, "regions", seed)
    return folder


@pytest.mark.parametrize("kind", ["regions", "classes"])
def test_a_student_is_distilled_from_files_and_exported_without_them(
    kind, cohort, outputs, tmp_path
):
    made = recipe(runs(outputs), outputs=kind, training={"steps": 2, "validate_every": 2})
    experiment = train(made, cohort, tmp_path / "run", jobs=1, labels="brats2021")
    facts = experiment.summary("distilled")["teachers"][0]
    assert facts["files"] == str(outputs) and facts["studies"] == 2 and facts["dice"]["WT"] > 0.8
    assert "teachers" not in experiment.summary("baseline")
    stored = sorted((tmp_path / "run" / "cache-teachers").glob("*/case_*/levels.npy"))
    assert len(stored) == 2  # the training studies; no validation patient teaches
    outputs.rename(outputs.with_name("away"))
    try:
        assert export(tmp_path / "run", tmp_path / "model", formats=["torch"]).spec.network.name
    finally:
        outputs.with_name("away").rename(outputs)
    resumed = train(made, cohort, tmp_path / "run", jobs=1, labels="brats2021", resume=True)
    assert resumed.summary("distilled") == experiment.summary("distilled")


def test_outputs_are_cut_and_turned_with_their_patch(cohort, outputs, tmp_path):
    """What the teacher says about a patch is what it says there of the study, augmented or not."""
    made = recipe(runs(outputs), data={"validation": 0}, training={"steps": 1})
    experiment = train(made, cohort, tmp_path / "run", jobs=1, labels="brats2021")
    cache = Cache.open(experiment.cache)
    place = next((tmp_path / "run" / "cache-teachers").iterdir())
    stored = TeacherOutputs({s.folder: (place / s.id, {}) for s in cache})
    sampling = SamplingPart(patch=(16, 16, 16), batch=4)
    plain = PLAIN | {"noise": 1.0, "brightness": 1.0}
    for augmentation, least in (
        (AugmentationPart.model_validate(plain | {"flip": 0.5}), 0.999),
        (AugmentationPart.model_validate(plain | {"spatial": 1.0, "rotate_degrees": 30}), 0.85),
    ):
        with_teacher = PatchSampler(cache, sampling, augmentation, 5, teachers=[stored])
        without = PatchSampler(cache, sampling, augmentation, 5)
        for step in range(3):
            batch, bare = with_teacher.batch(step), without.batch(step)
            assert torch.equal(batch.image, bare.image) and torch.equal(batch.regions, bare.regions)
            assert torch.equal(batch.complete, bare.complete)
            drawn = batch.given[0] > 0
            truth = batch.regions > 0.5
            assert float((drawn == truth).float().mean()) > 0.93  # the outputs are smoothed
            shared = (drawn & truth).sum() * 2 / (drawn.sum() + truth.sum())
            assert float(shared) > 0.8 * least


def test_a_loss_on_features_says_that_files_have_none(outputs):
    losses = {"attention_transfer": {"weight": 1.0}}
    with pytest.raises(RecipeError, match="compares features") as caught:
        recipe(runs(outputs, losses))
    assert caught.value.field == "runs.distilled.method.options.losses.attention_transfer"
    assert "soft_target" in str(caught.value) and "gives outputs only" in str(caught.value)


@pytest.mark.parametrize("broken", ["missing", "hard", "transplant", "prepared"])
def test_nothing_is_trained_where_the_teacher_does_not_fit(
    broken, cohort, prepared, outputs, tmp_path
):
    folder, data, augmentation = outputs, cohort, {}
    if broken == "missing":
        folder = write(tmp_path / "one", "regions", 0)
    elif broken == "hard":
        folder = tmp_path / "hard"
        for seed in range(3):
            write(folder, "labels", seed)
        (folder / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    elif broken == "transplant":
        augmentation = {"transplant": {"p": 0.5}}
    else:
        data = prepared.folder
    words = {
        "missing": "no output for this study",
        "hard": "gliodistill pseudo-label STUDIES --teacher",
        "transplant": "nothing of a transplanted tumour",
        "prepared": "reads the studies themselves",
    }
    with pytest.raises(GliodistillError, match=words[broken]):
        train(recipe(runs(folder), augmentation=augmentation), data, tmp_path / "run", jobs=1)
    assert broken == "hard" or not (tmp_path / "run").exists()


def test_predictions_of_another_tool_become_pseudo_labels(outputs, tmp_path, capsys):
    """Label maps too; a student is trained on them as on those of our own models."""
    unlabelled = tiny_cohort.write_cohort(tmp_path / "new", 2, labelled=False)
    folder = tmp_path / "maps"
    for seed in range(2):
        write(folder, "labels", seed)
    teacher = f"{{files: {folder}, labels: brats2021}}"
    words = ["pseudo-label", str(unlabelled), "-o", str(tmp_path / "pseudo"), "--teacher", teacher]
    assert run([*words, "--json"]) == 0
    capsys.readouterr()
    for seed in range(2):
        labels = read_labels(tmp_path / "pseudo" / f"case_{seed}" / "labels.nii.gz").data
        assert np.array_equal(labels, tiny_cohort.arrays(seed)[1])
    write(folder, "labels", 1)  # the same bytes
    assert run([*words, "--resume", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["skipped"]) == 2
    assert PseudoLabels.open(tmp_path / "pseudo").cohort.labels_by
    soft_words = [*words[:3], str(tmp_path / "soft"), "--teacher", f"files:{outputs}", "--soft"]
    assert run([*soft_words, "--json"]) == 0
    assert PseudoLabels.open(tmp_path / "soft").soft
    assert run([*soft_words[:3], str(tmp_path / "x")]) == 1
    assert "models, or one teacher" in capsys.readouterr().err
