"""Methods by name: what fits together, and what any of them gives the loop."""

import pytest
import torch

from gliodistill.errors import RecipeError
from gliodistill.methods import METHODS, Method
from gliodistill.networks.subset import Selecting
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.resolve import resolve_run
from tiny_cohort import STUDENT, recipe

LATENT = {"attention_transfer": {"taps": [["bottleneck", "bottleneck"]]}}
OPTIONS = {
    "supervised": {},
    "compression": {"teacher": "teacher"},
    "assistant_chain": {"teachers": ["teacher", "pair"]},
    "single_stage": {"teacher": STUDENT},
    "mutual": {"peer": STUDENT},
    "any_subset": {"teacher": "teacher"},
}


def runs(method, sequences=None, **options):
    student = {
        "network": STUDENT,
        "sequences": sequences,
        "method": {"name": method, "options": {**OPTIONS[method], **options}},
        "augmentation": {"modality_dropout": {"p": 0.5}},
    }
    return {
        "teacher": {"network": STUDENT, "seed": 7},
        "pair": {"network": STUDENT, "sequences": ["T1CE", "FLAIR"]},
        "student": student,
    }


def method_of(made, name="student"):
    torch.manual_seed(0)
    return resolve_run(made, name).build_method(lambda run: resolve_run(made, run).build_network())


@pytest.fixture(params=list(OPTIONS))
def name(request):
    return request.param


@pytest.mark.parametrize("outputs", ["regions", "classes"])
@pytest.mark.parametrize("sequences", [None, ["T2", "FLAIR"]], ids=["all", "two"])
def test_any_method_gives_finite_losses_that_move_what_learns_and_nothing_else(
    prepared, name, sequences, outputs
):
    made = recipe(runs(name, sequences), outputs=outputs)
    method = method_of(made)
    assert isinstance(method, Method)
    batch = PatchSampler(
        prepared,
        made.sampling,
        made.runs["student"].augmentation,
        0,
        resolve_run(made, "student").channels,
    ).batch(0)
    terms = method.losses(batch)
    assert "segmentation" in terms
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    for network in method.trainable.values():
        assert all(parameter.grad is not None for parameter in network.parameters())
    for network in method.frozen:
        assert all(parameter.grad is None for parameter in network.parameters())


def test_who_learns_and_who_is_only_read(name):
    method = method_of(recipe(runs(name)))
    learning = {"single_stage": {"student", "teacher"}, "mutual": {"student", "peer"}}
    frozen = {"compression": 1, "any_subset": 1, "assistant_chain": 2}
    assert method.trainable.keys() == learning.get(name, {"student"})
    assert len(method.frozen) == frozen.get(name, 0)
    assert method.trainable["student"] is method.student


def test_the_student_starts_alike_under_every_method(name):
    alone, student = (
        method_of(recipe(runs("supervised"))).student.state_dict(),
        method_of(recipe(runs(name))).student.state_dict(),
    )
    for key, tensor in alone.items():
        assert torch.equal(tensor, student[key])


def test_a_teacher_of_some_sequences_is_shown_only_those(prepared):
    made = recipe(runs("compression", teacher="pair"))
    method = method_of(made)
    assert isinstance(method.teacher, Selecting)
    seen = []
    method.teacher.network.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    batch = PatchSampler(prepared, made.sampling, made.runs["student"].augmentation, 0).batch(0)
    method.losses(batch)
    assert torch.equal(seen[0], batch.complete[:, [1, 3]])
    assert not isinstance(method_of(recipe(runs("compression"))).teacher, Selecting)


def test_which_earlier_runs_are_needed():
    assert resolve_run(recipe(runs("assistant_chain")), "student").needs == ("teacher", "pair")
    assert resolve_run(recipe(runs("mutual")), "student").needs == ()
    made = runs("compression")
    made["student"]["init_from"] = "teacher"
    assert resolve_run(recipe(made), "student").needs == ("teacher",)


@pytest.mark.parametrize("given", ["compression", "assistant_chain", "any_subset", "single_stage"])
def test_who_reads_features_cannot_be_compiled(given):
    assert method_of(recipe(runs(given, losses=LATENT))).reads_features
    assert not method_of(recipe(runs(given, losses={"soft_target": {}}))).reads_features
    made = runs(given, losses=LATENT)
    made["student"]["training"] = {"compile": True}
    with pytest.raises(RecipeError, match="hooks"):
        recipe(made)


def test_unknown_methods_and_options_are_told_the_valid_ones(name):
    assert set(OPTIONS) <= set(METHODS)
    with pytest.raises(RecipeError, match="unknown option") as caught:
        recipe(runs(name, temprature=2))
    assert caught.value.field == "runs.student.method.options.temprature"
    made = runs(name)
    made["student"]["method"]["name"] = name + "s"
    with pytest.raises(RecipeError, match=f"did you mean {name}") as caught:
        recipe(made)
    assert caught.value.field == "runs.student.method.name"


@pytest.mark.parametrize("given", ["compression", "assistant_chain", "any_subset", "single_stage"])
def test_a_loss_that_compares_channels_is_refused_unequal_widths_at_load(given):
    latent = {"barlow_twins": {"taps": [["bottleneck", "encoder0"]]}}
    with pytest.raises(RecipeError, match="channel by channel") as caught:
        recipe(runs(given, losses=latent))
    assert caught.value.field == "runs.student.method.taps"
    recipe(runs(given, losses={"barlow_twins": {"taps": [["decoder0", "encoder0"]]}}))
