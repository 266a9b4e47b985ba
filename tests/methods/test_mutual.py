"""Mutual learning: two networks that learn from the labels and from each other."""

import pytest
import torch

from gliodistill.distillation import soft_target
from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation import deeply_supervised
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.resolve import resolve_run
from gliodistill.training.run import train as train_recipe
from tiny_cohort import STUDENT, recipe

PEER = {"name": "unet", "options": {"widths": [3, 6]}}


def pair(peer=PEER, network=STUDENT, **options):
    method = {"name": "mutual", "options": {"peer": peer, **options}}
    return {"baseline": {"network": network}, "pair": {"network": network, "method": method}}


def method_of(made, name="pair"):
    torch.manual_seed(0)
    return resolve_run(made, name).build_method({}.__getitem__)


@pytest.fixture
def batch(prepared):
    made = recipe(augmentation={"modality_dropout": {"p": 0.5}})
    return PatchSampler(prepared, made.sampling, made.runs["baseline"].augmentation, 0).batch(1)


def test_the_loss_is_its_formula_and_symmetric(batch):
    method = method_of(recipe(pair(weight=0.3, temperature=2.0)))
    ours, theirs = method.student(batch.image), method.peer(batch.image)
    expected = {
        "segmentation": deeply_supervised(ours, batch.regions, "regions"),
        "peer": deeply_supervised(theirs, batch.regions, "regions"),
        "mutual": (
            0.3
            * (
                soft_target(ours[0], theirs[0], temperature=2.0)
                + soft_target(theirs[0], ours[0], temperature=2.0)
            )
        ),
    }
    terms = method.losses(batch)
    method.student, method.peer = method.peer, method.student
    swapped = method.losses(batch)
    assert terms.keys() == swapped.keys() == expected.keys()
    for name, other in {"segmentation": "peer", "peer": "segmentation", "mutual": "mutual"}.items():
        torch.testing.assert_close(terms[name], expected[name])
        torch.testing.assert_close(swapped[other], expected[name])


def test_each_takes_the_other_as_given(batch):
    """What moves the student is only its divergence from the peer's output."""
    method = method_of(recipe(pair(weight=0.3)))
    method.losses(batch)["mutual"].backward()
    for one, other in ((method.student, method.peer), (method.peer, method.student)):
        with torch.no_grad():
            told = other(batch.image)[0]
        expected = torch.autograd.grad(
            0.3 * soft_target(one(batch.image)[0], told, temperature=1.0), list(one.parameters())
        )
        for parameter, gradient in zip(one.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
        assert any(gradient.any() for gradient in expected)


def train(made, prepared, out):
    return train_recipe(made, prepared.folder, out, labels="brats2021", jobs=1)


def test_with_weight_0_the_student_equals_the_baseline_exactly_and_the_peer_still_trains(
    prepared, tmp_path
):
    """Where nothing is clipped: the clip is of the gradient of both."""
    made = recipe(
        pair(weight=0.0), training={"steps": 3, "save_every": 3, "validate_every": 3, "clip": 1e6}
    )
    experiment = train(made, prepared, tmp_path / "run")
    baseline, student = (experiment.load_network(run).state_dict() for run in ("baseline", "pair"))
    for name, tensor in baseline.items():
        assert torch.equal(tensor, student[name])
    peer, fresh = (
        experiment.load_network("pair", "peer").state_dict(),
        method_of(made).peer.state_dict(),
    )
    assert peer.keys() == fresh.keys()
    assert any(not torch.equal(peer[name], fresh[name]) for name in peer)


def test_the_peer_sees_what_the_student_sees(prepared, tmp_path):
    runs = pair()
    runs["pair"]["sequences"] = ["T1CE", "FLAIR"]
    method = method_of(recipe(runs))
    assert (
        method.peer.encoders[0][0][0].in_channels
        == method.student.encoders[0][0][0].in_channels
        == 2
    )


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"weight": -1.0}, "options.weight", "0 or more"),
        ({"temperature": 0.0}, "options.temperature", "above 0"),
        ({"temprature": 2.0}, "options.temprature", "did you mean temperature?"),
        ({"weight": "much"}, "options.weight", "number"),
        ({"peer": "baseline"}, "options.peer", "trained together"),
        ({"peer": {"name": "unet", "options": {"widths": [4] * 7}}}, None, "multiples of 64"),
    ],
)
def test_mistakes_are_named(options, field, words):
    with pytest.raises(RecipeError) as caught:
        recipe(pair(**options))
    assert caught.value.field == (f"runs.pair.method.{field}" if field else "sampling.patch")
    assert words in str(caught.value)
