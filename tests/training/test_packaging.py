"""A run's package segments as its network does."""

import json

import numpy as np
import pytest
import torch

from gliodistill.errors import CheckpointError, PackageError
from gliodistill.inference.predictor import Predictor
from gliodistill.models import ModelPackage, Step
from gliodistill.preparation import Cache, Preparation, dequantise
from gliodistill.training.experiment import find_run
from gliodistill.training.packaging import bundle_run, export
from gliodistill.training.run import train
from gliodistill.training.validation import whole_volume_logits
from tiny_cohort import distilled, recipe, study, write_cohort
from way_back import to_native


@pytest.fixture(scope="module", params=["regions", "classes"])
def experiment(request, cohort, tmp_path_factory):
    made = recipe(
        distilled(),
        outputs=request.param,
        training={"steps": 25, "save_every": 25, "validate_every": 25},
        augmentation={"modality_dropout": {"p": 0.1}},
    )
    return train(made, cohort, tmp_path_factory.mktemp("p") / "run", labels="brats2021", jobs=1)


def test_the_package_is_the_network(experiment, tmp_path):
    package = export(experiment.folder / "distilled", tmp_path / "model")
    network, case = experiment.load_network("distilled"), study(5)
    prepared = Preparation().apply(case)
    logits = whole_volume_logits(
        network,
        torch.from_numpy(dequantise(prepared.image)),
        experiment.recipe.runs["baseline"].outputs,
    )
    regions = np.logical_and.accumulate(to_native(prepared, logits.numpy(), 0.0), axis=0)
    for runtime in ("torch", "openvino"):
        answer = Predictor(package, runtime, threads=1).segment(case)
        disagreeing = (answer.regions != regions).mean()
        assert disagreeing < (1e-4 if runtime == "torch" else 5e-3)
        assert (answer.labels.shape, answer.convention.name) == (case.grid.shape, "brats2021")


def test_the_package_says_where_it_comes_from(experiment, tmp_path):
    package = export(experiment.folder, tmp_path / "model", name="mine")
    training = package.spec.training
    assert package.name == "mine"
    assert (training.recipe, training.method, training.steps, training.seed) == (
        "tiny",
        "compression",
        25,
        0,
    )
    dice = experiment.summary("distilled")["dice"]
    assert training.validation_dice == {region: dice[region] for region in ("WT", "TC", "ET")}
    assert "2 labelled studies for training and 1 for validation" in training.data
    assert package.spec.may_lack == experiment.recipe.data.sequences
    assert package.spec.preparation == experiment.recipe.data.preparation()


@pytest.mark.parametrize("learnt", [False, True])
def test_bias_is_corrected_in_inference_even_if_training_keeps_it(cohort, tmp_path, learnt):
    made = recipe(
        data={"validation": 1, "bias_correction_mm": 20, "correct_training": not learnt},
        training={"steps": 2},
    )
    experiment = train(made, cohort, tmp_path / "run", labels="brats2021", jobs=1)
    assert Cache.open(experiment.cache).preparation == Preparation(bias_mm=None if learnt else 20.0)
    assert export(experiment.folder, tmp_path / "model").spec.preparation == Preparation(
        bias_mm=20.0
    )


def test_which_run_is_meant(experiment, tmp_path):
    assert find_run(experiment.folder)[1] == "distilled"
    assert find_run(experiment.folder, "baseline")[1] == "baseline"
    assert find_run(experiment.folder / "teacher")[1] == "teacher"
    with pytest.raises(CheckpointError, match="no such run"):
        find_run(experiment.folder, "nobody")
    with pytest.raises(CheckpointError, match="not a run folder"):
        find_run(tmp_path)


def test_an_unfinished_run_is_not_packaged(experiment, tmp_path):
    summary = experiment.folder / "baseline" / "summary.json"
    content = summary.read_text()
    summary.unlink()
    try:
        with pytest.raises(CheckpointError, match="not finished"):
            export(experiment.folder / "baseline", tmp_path / "model")
    finally:
        summary.write_text(content)
    assert not (tmp_path / "model").exists()


def test_exports_are_compared_on_training_studies(experiment, tmp_path):
    package = export(experiment.folder / "distilled", tmp_path / "model", formats=["openvino"])
    assert [(export.runtime, export.studies.images) for export in package.exports] == [
        ("openvino", 1)
    ]


def test_int8_without_the_cache_is_refused(experiment, tmp_path):
    hidden = experiment.cache.rename(experiment.cache.with_name("elsewhere"))
    try:
        assert export(experiment.folder, tmp_path / "float").exports[0].studies is None
        with pytest.raises(PackageError, match="too few studies to calibrate"):
            export(experiment.folder, tmp_path / "model", int8=True)
    finally:
        hidden.rename(experiment.cache)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("experiment", ["regions"], indirect=True)
def test_int8_is_calibrated_on_other_studies_than_it_is_compared_on(experiment, tmp_path):
    pytest.importorskip("nncf")
    try:
        found = export(experiment.folder, tmp_path / "model", int8=True).find("openvino", ["int8"])
    except PackageError as error:  # so little trained, it may well not survive
        assert error.field == "--int8" and "Dice" in str(error)
    else:
        assert (found.calibration.studies, found.calibration.patches, found.studies.images) == (
            1,
            4,
            1,
        )


def test_threshold_and_clean_up_rules_come_along(experiment, tmp_path):
    rules = (Step("drop_small_et", {"mm3": 33.0}),)
    package = export(
        experiment.folder / "baseline",
        tmp_path / "model",
        formats=["torch"],
        threshold=0.3,
        postprocessing=rules,
    )
    inference = ModelPackage.open(package.folder).spec.inference
    assert (inference.threshold, inference.postprocessing) == (0.3, rules)
    with pytest.raises(PackageError, match="threshold"):
        export(experiment.folder / "baseline", tmp_path / "never", formats=["torch"], threshold=1.0)
    assert not (tmp_path / "never").exists()


def test_what_training_studies_look_like_comes_along(experiment, tmp_path):
    assert export(experiment.folder, tmp_path / "few", formats=["torch"]).spec.reference is None
    many = train(
        recipe(training={"steps": 1, "save_every": 1, "validate_every": 1, "warmup": 0}),
        write_cohort(tmp_path / "many", 9),
        tmp_path / "run",
        labels="brats2021",
        jobs=1,
    )
    reference = export(many.folder, tmp_path / "model", formats=["torch"]).spec.reference
    assert (reference.studies, reference.sequences) == (8, many.recipe.data.sequences)


def test_a_bundle_of_a_run(experiment, tmp_path):
    bundle = bundle_run(experiment.folder, tmp_path / "bundle", name="mine")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    outputs = (
        ["background", "NCR", "ED", "ET"]
        if experiment.recipe.runs["distilled"].outputs == "classes"
        else ["WT", "TC", "ET"]
    )
    assert (
        list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()) == outputs
    )
