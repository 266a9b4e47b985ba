"""Assistant chain: several frozen teachers of one student, and networks that grow out of smaller
ones.
"""

import pytest
import torch

from gliodistill.distillation import attention_transfer, soft_target
from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation import deeply_supervised
from gliodistill.networks import build
from gliodistill.training.checkpoint import read_tensors, weights_hash
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.loop import LAST
from gliodistill.training.resolve import resolve_run
from gliodistill.training.run import train
from tiny_cohort import recipe


def unet(*widths, **options):
    return {"name": "unet", "options": {"widths": list(widths), **options}}


LOSSES = {
    "soft_target": {"weight": 0.5, "temperature": 2},
    "attention_transfer": {"weight": 0.2, "taps": [["bottleneck", "bottleneck"]]},
}
TINY = {"steps": 2, "save_every": 1, "validate_every": 2}


def chain(teachers=("teacher", "assistant"), start="small", assistant=(8, 16), losses=LOSSES):
    return {
        "teacher": {"network": unet(12, 16), "seed": 5},
        "small": {"network": unet(4, 8), "seed": 1},
        "assistant": {
            "network": unet(*assistant),
            "init_from": start,
            "method": {"name": "compression", "options": {"teacher": "teacher", "losses": losses}},
        },
        "student": {
            "network": unet(4, 8),
            "seed": 1,
            "method": {
                "name": "assistant_chain",
                "options": {"teachers": list(teachers), "losses": losses},
            },
        },
    }


def teachers_of(made):
    networks = {}
    for seed, name in enumerate(("teacher", "assistant")):
        torch.manual_seed(40 + seed)
        networks[name] = resolve_run(made, name).build_network().train()
    return networks


def method_of(made, networks):
    torch.manual_seed(1)
    method = resolve_run(made, "student").build_method(networks.__getitem__)
    method.student.train()
    return method


@pytest.fixture
def batch(prepared):
    made = recipe(augmentation={"modality_dropout": {"p": 0.5}})
    return PatchSampler(prepared, made.sampling, made.runs["baseline"].augmentation, 0).batch(1)


def test_what_is_owed_is_the_mean_over_teachers(batch):
    made = recipe(chain())
    networks = teachers_of(made)
    method = method_of(made, networks)
    terms = method.losses(batch)
    latents = {}
    for name, network in {"student": method.student, **networks}.items():
        network.taps["bottleneck"].register_forward_hook(
            lambda _m, _i, out, name=name: latents.update({name: out})
        )
    heads, targets = (
        method.student(batch.image),
        [network(batch.complete)[0] for network in networks.values()],
    )
    expected = {
        "segmentation": deeply_supervised(heads, batch.regions, "regions"),
        "soft_target": 0.5
        * sum(soft_target(heads[0], each, temperature=2.0) for each in targets)
        / 2,
        "attention_transfer": (
            0.2
            * sum(attention_transfer([latents["student"]], [latents[name]]) for name in networks)
            / 2
        ),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_one_teacher_is_compression(batch):
    made = recipe(chain(teachers=["teacher"]))
    networks = teachers_of(made)
    one = method_of(made, networks).losses(batch)
    runs = chain()
    runs["student"]["method"] = runs["assistant"]["method"]
    other = method_of(recipe(runs), networks).losses(batch)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name])


def test_teachers_are_frozen_and_each_is_asked_once_on_all_sequences(batch):
    made = recipe(chain())
    networks, seen = teachers_of(made), []
    method = method_of(made, networks)
    for network in networks.values():
        network.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    sum(method.losses(batch).values()).backward()
    assert [image is batch.complete for image in seen] == [True, True]
    for network in networks.values():
        assert not network.training
        assert all(not p.requires_grad and p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in method.student.parameters())
    seen.clear()
    silent = method_of(recipe(chain(losses={"soft_target": {"weight": 0}})), networks)
    assert silent.losses(batch).keys() == {"segmentation"}
    assert seen == []


class Interrupted(Exception):
    """What a test throws to stop a run."""


def test_a_chain_by_one_recipe(prepared, tmp_path):
    """Teacher → assistant, grown out of the small one → student; interrupted while the assistant
    learns.
    """

    def watch(run, steps, progress):
        if (run, progress.step) == ("assistant", 1):
            raise Interrupted

    made = recipe(chain(), training=TINY)
    whole = train(made, prepared.folder, tmp_path / "whole", jobs=1)
    with pytest.raises(Interrupted):
        train(made, prepared.folder, tmp_path / "parts", jobs=1, watch=watch)
    parts = train(made, prepared.folder, tmp_path / "parts", jobs=1, resume=True)
    for run in made.runs:
        assert whole.summary(run)["weights_sha256"] == parts.summary(run)["weights_sha256"]
    assert [whole.summary(run)["parameters"] for run in ("small", "student")] == [
        whole.summary("student")["parameters"]
    ] * 2


def barely(start, network, **changes):
    """A first run, and one step too small to matter from there."""
    training = {"steps": 1, "save_every": 1, "validate_every": 1, "ema": 0, "warmup": 0}
    still = {"optimiser": {"name": "sgd", "rate": 1e-30, "weight_decay": 0}}
    return recipe(
        {
            "first": {"network": start},
            "second": {"network": network, "init_from": "first", "training": still, **changes},
        },
        training=training,
    )


def test_a_start_of_equal_widths_copies_the_weights(prepared, tmp_path):
    experiment = train(
        barely(unet(4, 8), unet(4, 8), seed=9), prepared.folder, tmp_path / "run", jobs=1
    )
    first, second = (experiment.load_network(run).state_dict() for run in ("first", "second"))
    assert weights_hash(first) == weights_hash(second)
    last, _ = read_tensors(tmp_path / "run" / "second" / LAST)
    assert torch.equal(last["network/student.head.weight"], first["head.weight"])


def test_a_wider_start_computes_the_same(prepared, tmp_path):
    experiment = train(barely(unet(4, 8), unet(8, 12)), prepared.folder, tmp_path / "run", jobs=1)
    x = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = (experiment.load_network(run) for run in ("first", "second"))
    with torch.no_grad():
        torch.testing.assert_close(second(x)[0], first(x)[0], rtol=1e-4, atol=1e-4)
    assert experiment.summary("second")["dice"] == pytest.approx(
        experiment.summary("first")["dice"], abs=1e-3
    )
    # Grown from the weights of the start, not from fresh ones.
    torch.manual_seed(0)
    assert not torch.equal(second.head.bias, build("unet", widths=[8, 12]).head.bias)


@pytest.mark.parametrize(
    ("runs", "field", "words"),
    [
        (
            chain(assistant=(3, 8)),
            "runs.assistant.init_from.encoders.0.0.0.weight",
            "the wide network is narrower",
        ),
        (
            chain(assistant=(8, 16, 16)),
            "runs.assistant.init_from.network",
            "differ in more than width",
        ),
        (chain(start="student"), "runs.assistant.init_from", "not an earlier run"),
        (
            chain(teachers=["assistent"]),
            "runs.student.method.options.teachers",
            "did you mean assistant?",
        ),
        (chain(teachers=[]), "runs.student.method.options.teachers", "earlier run"),
        (
            chain()
            | {
                "pair": {
                    "network": unet(4, 8),
                    "init_from": "small",
                    "sequences": ["T1CE", "FLAIR"],
                }
            },
            "runs.pair.init_from",
            "other sequences",
        ),
        (
            chain()
            | {"classes": {"network": unet(4, 8), "init_from": "small", "outputs": "classes"}},
            "runs.classes.outputs",
            "other outputs",
        ),
    ],
    ids=["narrower", "deeper", "later", "misspelt", "nobody", "sequences", "outputs"],
)
def test_chains_that_cannot_be_are_refused_at_load(runs, field, words):
    with pytest.raises(RecipeError) as caught:
        recipe(runs)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_a_norm_that_cannot_be_widened_is_refused_at_load():
    with pytest.raises(RecipeError, match="weight its channels differently") as caught:
        recipe(
            {
                "a": {"network": unet(8, 16, norm="group")},
                "b": {"network": unet(8, 24, norm="group"), "init_from": "a"},
            }
        )
    assert caught.value.field.startswith("runs.b.init_from.")
