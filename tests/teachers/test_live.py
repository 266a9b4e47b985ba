"""Live teachers: run on the patches of each step, in their own preparation, with features to read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gliodistill.cli.main import run
from gliodistill.errors import GliodistillError, RecipeError
from gliodistill.networks import build
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import AugmentationPart, SamplingPart
from gliodistill.teachers import parse_teacher
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.data.source import open_source
from gliodistill.training.data.teacher_outputs import Asked
from gliodistill.training.packaging import export
from gliodistill.training.resolve import resolve
from gliodistill.training.run import train
from gliodistill.training.teachers import Teachers, records_of
from gliodistill.training.transforms.spatial import SpatialDraw
from nnunet_folders import write_nnunet
from tiny_cohort import PLAIN, STUDENT, recipe

SEQUENCES, CHANNELS = ["FLAIR", "T1CE", "T1", "T2"], ["ET", "WT", "TC"]
OPTIONS = {"widths": [4, 8], "norm": "batch"}
RESULTS = Path(__file__).parent / "nnunet_results"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(build("unet", in_channels=4, out_channels=3, **OPTIONS).state_dict(), file)
    return file


def of_network(weights, **changes):
    declared = {"sequences": SEQUENCES, "channels": CHANNELS, "name": "unet", "options": OPTIONS}
    return {"network": str(weights), **declared, "spacing": [1, 1, 1], **changes}


def runs(teacher, losses=None):
    options = {"teacher": teacher, **({"losses": losses} if losses else {})}
    return {
        "distilled": {"network": STUDENT, "method": {"name": "compression", "options": options}}
    }


def asked(teacher, data, root, patch, augmentation=PLAIN, spacing=(1, 1, 1), **changes):
    """The method of a run, and a sampler, with the teacher opened."""
    made = recipe(
        runs(teacher), sampling={"patch": patch}, augmentation=augmentation,
        data={"validation": 0, "spacing": spacing}, training={"steps": 1}, **changes,
    )  # fmt: skip
    experiment = train(made, data, root, jobs=1)
    source, cache = open_source(made, data, None, None), Cache.open(experiment.cache)
    (distilled,) = resolve(made)
    teachers = Teachers(made, [distilled], lambda name: None)
    answers = teachers.ask(
        lambda _, key: Asked({"labelled": (cache, records_of(source))}, root, key)
    )
    method = distilled.build_method(
        lambda name: None, lambda place, named: teachers.network(distilled, place, named, answers)
    )
    part = AugmentationPart.model_validate(augmentation)
    sampling = SamplingPart(patch=patch, batch=2)
    sampler = PatchSampler(cache, sampling, part, 3, teachers=list(answers.values()))
    return method, sampler, list(answers.values())


def test_live_and_stored_outputs_of_a_network_are_the_same_numbers(cohort, weights, tmp_path):
    """Where the patch is the whole study as the network saw it when it was asked once."""
    said, patch = {}, (32, 32, 32)
    for live in (True, False):
        teacher = of_network(weights, live=live)
        method, sampler, (answers,) = asked(teacher, cohort, tmp_path / str(live), patch)
        batch, study = sampler.batch(0), sampler.studies[0]
        if live:
            flair = batch.complete[:, 3]
            pair = np.corrcoef(batch.given[0][:, 0][flair != 0], flair[flair != 0])
            assert pair[0, 1] > 0.9999
            origin = np.array(answers.studies[study.folder][1]["to_view"])[:, 3]
        centre = 16 - np.rint(origin).astype(int)
        given = answers.reader(study)(centre, patch, SpatialDraw((False,) * 3, None, None))
        assert len(given) == (4 if live else 3)
        logits = method.ask(method.teacher, replace(batch[:1], given=(given[None],)))[0]
        said[live] = logits[:, 6:18, 6:18, 6:16]  # far from where the study ends
    assert float((said[True] - said[False]).abs().max()) < 0.06  # stored in steps of 0.1
    assert float(said[True].std()) > 0.05
    with pytest.raises(RecipeError, match=r"self.ask\(teacher, batch\)"):
        method.teacher(batch.complete)


@pytest.mark.parametrize("name", ["Dataset901_Regions", "Dataset902_Labels"])
def test_an_nnunet_sees_the_patch_the_student_sees(name, tmp_path):
    """Whatever its axes and voxel size: its images, on the student's grid, are the student's."""
    pytest.importorskip("dynamic_network_architectures")
    root = write_nnunet(tmp_path, "Dataset901_Regions")
    data = root / "nnUNet_raw" / "Dataset901_Regions"
    teacher = {"nnunet": str(RESULTS / name), "folds": [0], "live": True}
    for augmentation in (PLAIN | {"flip": 0.5}, PLAIN | {"spatial": 1.0, "rotate_degrees": 30}):
        method, sampler, _ = asked(
            teacher, data, tmp_path / str(len(list(tmp_path.iterdir()))), (16, 16, 16),
            augmentation, spacing=(5, 5, 5),
        )  # fmt: skip
        network, batch = method.teacher, sampler.batch(0)
        order = [network_order(sequence) for sequence in ("T1", "T1CE", "T2", "FLAIR")]
        theirs = network._on_students_grid(batch.given[0][:, order][:, :3])
        ours = batch.complete[:, :3]
        inside = (ours != 0) & (theirs.abs() > 1e-3)
        pairs = np.corrcoef(ours[inside].numpy(), theirs[inside].numpy())
        assert pairs[0, 1] > 0.75, pairs  # both interpolate noise, at different voxel sizes
        logits = method.ask(network, batch)
        assert logits.shape == batch.regions.shape and torch.isfinite(logits).all()
        features = network.oriented(
            torch.zeros(1, 2, *(network.reading.sides[a] for a in network.reading.axes))
        )
        assert tuple(features.shape[2:]) == network.reading.sides


def network_order(sequence):
    return ["FLAIR", "T1", "T1CE", "T2"].index(sequence)


TAPS = {"attention_transfer": {"weight": 0.1, "taps": [["bottleneck", "encoder.stages.2"]]},
        "soft_target": {"weight": 0.1}}  # fmt: skip


def test_features_of_an_nnunet_are_distilled_and_export_needs_no_teacher(tmp_path, capsys):
    pytest.importorskip("dynamic_network_architectures")
    root = write_nnunet(tmp_path, "Dataset901_Regions")
    results = root / "nnUNet_results" / "Dataset901_Regions"
    assert run(["networks", "--of", f"nnunet:{results}", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert stages["encoder.stages.2"][0] == 18
    data = root / "nnUNet_raw" / "Dataset901_Regions"
    made = recipe(
        runs({"nnunet": str(results)}, TAPS), data={"validation": 1, "spacing": [5, 5, 5]},
        training={"steps": 2, "validate_every": 2},
    )  # fmt: skip
    experiment = train(made, data, tmp_path / "run", jobs=1)
    told = experiment.summary("distilled")["teachers"][0]
    assert told["live"] and told["sides"] == [16, 16, 16] and told["studies"] == 3
    log = (tmp_path / "run" / "distilled" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["loss"]["attention_transfer"] > 0
    results.rename(tmp_path / "away")
    stored = tmp_path / "run" / "recipe.yaml"  # as where a plug-in's kind is not installed
    stored.write_text(stored.read_text().replace("nnunet:", "kind_of_a_plug_in:"))
    assert export(tmp_path / "run", tmp_path / "model", formats=["torch"]).spec.network.name


@pytest.mark.parametrize(
    ("teacher", "losses", "problem"),
    [
        ({}, {"attention_transfer": {"taps": [["bottleneck", "encoder9"]]}}, "no such feature tap"),
        ({}, {"barlow_twins": {"taps": [["bottleneck", "decoder0"]]}}, "channel by channel"),
        ({"live": False}, {"attention_transfer": {"taps": [["bottleneck", "x"]]}}, "live: false"),
        ({}, {"attention_transfer": {}}, "no stages to compare.*networks --of"),
        ({"live": True, "tta": "x"}, None, "sees each patch once"),
        ({"live": True, "spacing": None}, None, "need a voxel size each"),
    ],
)
def test_what_a_live_teacher_cannot_do_is_one_line_before_training(
    teacher, losses, problem, cohort, weights, tmp_path
):
    with pytest.raises(GliodistillError, match=problem):
        made = recipe(runs(of_network(weights, **teacher), losses), data={"spacing": [1, 1, 1]})
        train(made, cohort, tmp_path / "run", jobs=1)
    assert not (tmp_path / "run").exists()


def test_an_ensemble_cannot_run_on_patches():
    with pytest.raises(RecipeError, match="predicts whole studies only"):
        parse_teacher({"ensemble": [], "live": True}, "teacher")
