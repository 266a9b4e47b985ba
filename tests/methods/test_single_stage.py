"""Single stage: a teacher of all sequences and a student of some learn in the same iteration."""

from itertools import combinations

import numpy as np
import pytest
import torch

from gliodistill.distillation import barlow_twins
from gliodistill.errors import CheckpointError, RecipeError, StudyError
from gliodistill.inference.predictor import Predictor
from gliodistill.methods.segmentation import segmentation_loss
from gliodistill.networks import build
from gliodistill.studies.sequence import MRSequence
from gliodistill.training.checkpoint import read_tensors, weights_hash
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.loop import BEST
from gliodistill.training.packaging import export
from gliodistill.training.resolve import resolve_run
from gliodistill.training.run import train as train_recipe
from tiny_cohort import STUDENT, recipe, study

DEEP = {"name": "unet", "options": {"widths": [4, 6, 8], "deep_supervision": 1}}
PAIR = ["T1CE", "FLAIR"]
SUBSETS = [
    list(each) for n in (1, 2, 3, 4) for each in combinations(["T1", "T1CE", "T2", "FLAIR"], n)
]
TINY = {"steps": 4, "save_every": 1, "validate_every": 2}


def single(network=STUDENT, sequences=PAIR, teacher=None, **options):
    method = {"name": "single_stage", "options": {"teacher": teacher or network, **options}}
    return {"single": {"network": network, "sequences": sequences, "method": method, "seed": 3}}


def method_and_batch(made, prepared, step=1):
    run = made.runs["single"]
    torch.manual_seed(run.seed)
    method = resolve_run(made, "single").build_method({}.__getitem__)
    return method, PatchSampler(
        prepared, made.sampling, run.augmentation, run.seed, resolve_run(made, "single").channels
    ).batch(step)


def train(made, data, out, **options):
    return train_recipe(made, data, out, labels="brats2021", jobs=1, **options)


def latent(network, image):
    """Logits of all heads, and what the bottleneck puts out."""
    seen = []
    handle = network.taps["bottleneck"].register_forward_hook(lambda _m, _i, out: seen.append(out))
    heads = network(image)
    handle.remove()
    return heads, seen[0]


@pytest.mark.parametrize("dice", [True, False])
def test_the_loss_is_its_formula(prepared, dice):
    losses = {
        "barlow_twins": {
            "weight": 0.02,
            "off_diagonal": 0.1,
            "taps": [["bottleneck", "bottleneck"]],
        }
    }
    method, batch = method_and_batch(recipe(single(DEEP, dice=dice, losses=losses)), prepared)
    terms = method.losses(batch)
    (ours, z_s), (theirs, z_t) = (
        latent(method.student, batch.image),
        latent(method.teacher, batch.complete),
    )
    assert len(ours) == len(theirs) == 2
    half = torch.nn.functional.avg_pool3d(batch.regions, 2)
    expected = {
        name: (
            2 / 3 * segmentation_loss(heads[0], batch.regions, "regions", dice=dice)
            + 1 / 3 * segmentation_loss(heads[1], half, "regions", dice=dice)
        )
        for name, heads in (("segmentation", ours), ("teacher", theirs))
    }
    expected["barlow_twins"] = 0.02 * barlow_twins([z_s], [z_t], off_diagonal=0.1)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_by_default_the_latents_are_the_bottlenecks(prepared):
    method, batch = method_and_batch(recipe(single()), prepared)
    z_s, z_t = latent(method.student, batch.image)[1], latent(method.teacher, batch.complete)[1]
    torch.testing.assert_close(
        method.losses(batch)["barlow_twins"], 1e-3 * barlow_twins([z_s], [z_t])
    )


def test_the_teacher_sees_all_sequences_and_the_student_its_own(prepared):
    method, batch = method_and_batch(recipe(single()), prepared)
    seen = {}
    for role in ("student", "teacher"):
        getattr(method, role).register_forward_hook(
            lambda _m, inputs, _o, role=role: seen.setdefault(role, []).append(inputs[0])
        )
    method.losses(batch)
    assert torch.equal(batch.image, batch.complete[:, [1, 3]])
    assert {role: len(images) for role, images in seen.items()} == {"student": 1, "teacher": 1}
    assert seen["student"][0] is batch.image
    assert seen["teacher"][0] is batch.complete


@pytest.mark.parametrize("stop", [False, True])
def test_whom_barlow_twins_moves(prepared, stop):
    losses = {"barlow_twins": {"stop_gradient": stop, "taps": [["bottleneck", "bottleneck"]]}}
    method, batch = method_and_batch(recipe(single(losses=losses)), prepared)
    method.losses(batch)["barlow_twins"].backward()
    moved = {
        role: any(p.grad is not None and p.grad.any() for p in getattr(method, role).parameters())
        for role in ("student", "teacher")
    }
    assert moved == {"student": True, "teacher": not stop}


def test_every_weight_of_both_learns(prepared):
    method, batch = method_and_batch(recipe(single(DEEP)), prepared)
    sum(method.losses(batch).values()).backward()
    for network in (method.student, method.teacher):
        assert all(
            parameter.grad is not None and parameter.grad.any()
            for parameter in network.parameters()
        )


def test_the_student_differs_from_the_baseline_only_by_the_distillation_loss(prepared):
    """Same first weights, same patches, same segmentation loss as the baseline."""
    made = recipe(
        single() | {"baseline": {"network": STUDENT, "sequences": PAIR, "seed": 3}},
        augmentation={"spatial": 0.5, "noise": 0.5},
    )
    method, batch = method_and_batch(made, prepared)
    torch.manual_seed(3)
    baseline = resolve_run(made, "baseline").build_method({}.__getitem__)
    assert weights_hash(baseline.student.state_dict()) == weights_hash(method.student.state_dict())
    same = PatchSampler(
        prepared, made.sampling, made.runs["baseline"].augmentation, 3, [1, 3]
    ).batch(1)
    assert torch.equal(same.image, batch.image)
    assert torch.equal(baseline.losses(same)["segmentation"], method.losses(batch)["segmentation"])


@pytest.mark.parametrize("sequences", SUBSETS, ids="+".join)
def test_any_of_the_fifteen_subsets_trains(prepared, tmp_path, sequences):
    made = recipe(
        single(sequences=sequences), training={"steps": 2, "save_every": 2, "validate_every": 2}
    )
    experiment = train(made, prepared.folder, tmp_path / "run")
    assert experiment.load_network("single").encoders[0][0][0].in_channels == len(sequences)
    assert experiment.load_network("single", "teacher").encoders[0][0][0].in_channels == 4


def zero_filled(sequences=PAIR):
    options = {"network": "unet", "options": STUDENT["options"], "channels": [1, 3]}
    return single({"name": "zero_filled", "options": options}, sequences, teacher=STUDENT)


def test_a_student_by_zeroed_channels(prepared, tmp_path):
    method, batch = method_and_batch(recipe(zero_filled()), prepared)
    seen = []
    method.student.network.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    method.losses(batch)
    expected = batch.complete.clone()
    expected[:, [0, 2]] = 0
    assert torch.equal(seen[0], expected)
    assert method.student.network.encoders[0][0][0].in_channels == 4
    experiment = train(recipe(zero_filled(), training=TINY), prepared.folder, tmp_path / "run")
    assert export(experiment.folder, tmp_path / "model").spec.sequences == (
        MRSequence.T1CE,
        MRSequence.FLAIR,
    )
    with pytest.raises(RecipeError, match=r"runs\.single\.network\.channels.*3 of 0 to 3"):
        recipe(zero_filled(["T1", "T2", "FLAIR"]))


class Interrupted(Exception):
    """What a test throws to stop a run."""


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """Sequences in another order than the data's: the channels stay in the data's."""
    made = recipe(single(sequences=["FLAIR", "T1CE"]), training=TINY)
    return train(made, cohort, tmp_path_factory.mktemp("s") / "run")


def test_resumed_is_never_stopped_bit_for_bit(finished, prepared, tmp_path):
    """Both networks, their averages and the optimiser."""
    for stop in (1, 3):

        def watch(run, steps, progress, stop=stop):
            if progress.step == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            train(finished.recipe, prepared.folder, tmp_path / "run", watch=watch, resume=True)
        torch.manual_seed(1234)
    train(finished.recipe, prepared.folder, tmp_path / "run", resume=True)
    for name in ("last", "best"):
        whole, parts = (
            read_tensors(folder / "single" / f"{name}.safetensors")[0]
            for folder in (finished.folder, tmp_path / "run")
        )
        assert weights_hash(whole) == weights_hash(parts)
        assert {
            key.split("/")[-1].split(".")[0]
            for key in whole
            if "student" in key or "teacher" in key
        } == {"student", "teacher"}


def test_both_networks_can_be_had(finished):
    weights, _ = read_tensors(finished.folder / "single" / BEST)
    for role, channels in (("student", 2), ("teacher", 4)):
        network = finished.load_network("single", role)
        assert not network.training
        assert network.encoders[0][0][0].in_channels == channels
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, weights[f"{role}.{name}"])
    torch.manual_seed(3)
    fresh = [build("unet", in_channels=channels, **STUDENT["options"]) for channels in (2, 4)]
    for role, network in zip(("student", "teacher"), fresh, strict=True):
        assert weights_hash(network.state_dict()) != weights_hash(
            finished.load_network("single", role).state_dict()
        )
    with pytest.raises(CheckpointError, match=r"got peer, expected student, teacher"):
        finished.load_network("single", "peer")


def test_the_package_is_the_student_and_needs_only_its_sequences(finished, tmp_path):
    package = export(finished.folder, tmp_path / "model")
    assert (
        package.spec.sequences
        == package.spec.preparation.sequences
        == (MRSequence.T1CE, MRSequence.FLAIR)
    )
    assert package.spec.may_lack == ()
    case, whole = study(5, lacking=(MRSequence.T1, MRSequence.T2)), study(5)
    for runtime in ("torch", "openvino"):
        predictor = Predictor(package, runtime, threads=1)
        answer = predictor.segment(case)
        assert answer.labels.shape == case.grid.shape
        logits = [
            predictor.logits(package.spec.preparation.apply(each).image) for each in (case, whole)
        ]
        np.testing.assert_array_equal(*logits)
        with pytest.raises(StudyError, match="T1CE"):
            predictor.segment(study(5, lacking=(MRSequence.T1CE,)))


WIDER = {"name": "unet", "options": {"widths": [4, 12]}}


def test_latents_of_unequal_widths_are_refused_at_load():
    with pytest.raises(RecipeError, match="channel by channel") as caught:
        recipe(single(teacher=WIDER))
    assert caught.value.field == "runs.single.method.taps"
    assert (caught.value.got, str(caught.value.file)) == ("8 and 12 channels", "tiny.yaml")
    recipe(single(teacher=WIDER, losses={"attention_transfer": {}}))
    recipe(single(teacher=WIDER, losses={"barlow_twins": {"taps": [["encoder0", "decoder0"]]}}))


@pytest.mark.parametrize(
    ("teacher", "field", "words"),
    [
        (
            {"name": "unet", "options": {"widths": [4, 8, 8, 8, 8, 8]}},
            "sampling.patch",
            "multiples of 32",
        ),
        (
            {"name": "unet", "options": {"widths": [4, 8], "in_channels": 4}},
            "runs.single.method.options.teacher.options.in_channels",
            "remove",
        ),
        (
            {"name": "unet", "options": {"width": [4, 8]}},
            "runs.single.method.options.teacher.network",
            "did you mean widths",
        ),
        ({"options": {}}, "runs.single.method.options.teacher", "trained together"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_at_load(teacher, field, words):
    with pytest.raises(RecipeError) as caught:
        recipe(single(teacher=teacher))
    assert caught.value.field == field
    assert words in str(caught.value)
