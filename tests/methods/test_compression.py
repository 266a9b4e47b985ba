"""Compression: what the teacher does, and what the student owes to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gliodistill.distillation import attention_transfer, soft_target
from gliodistill.methods.segmentation import deeply_supervised
from gliodistill.training.checkpoint import weights_hash
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.resolve import resolve_run
from tiny_cohort import distilled, recipe

TAPS = [["bottleneck", "bottleneck"], ["decoder0", "encoder0"], ["decoder0", "decoder0"]]


def teacher_of(made):
    torch.manual_seed(42)
    return resolve_run(made, "teacher").build_network()


def method_of(made, name, teacher=None):
    torch.manual_seed(made.runs[name].seed)
    method = resolve_run(made, name).build_method(lambda run: teacher)
    method.student.train()
    return method


@pytest.fixture
def batch(prepared):
    made = recipe(augmentation={"modality_dropout": {"p": 0.5}})
    return PatchSampler(prepared, made.sampling, made.runs["baseline"].augmentation, 0).batch(1)


def test_losses_are_their_formulas(batch):
    made = recipe(
        distilled(
            soft_target={"weight": 0.7, "temperature": 3},
            attention_transfer={"weight": 0.2, "taps": TAPS},
        )
    )
    teacher = teacher_of(made)
    method = method_of(made, "distilled", teacher)
    terms = method.losses(batch)

    features = {}

    def keep(side, name):
        return lambda module, inputs, output: features.__setitem__((side, name), output)

    for side, network in (("student", method.student), ("teacher", teacher)):
        for name, module in network.taps.items():
            module.register_forward_hook(keep(side, name))
    heads = method.student(batch.image)
    with torch.no_grad():
        targets = teacher(batch.complete)[0]
    expected = {
        "segmentation": deeply_supervised(heads, batch.regions, "regions"),
        "soft_target": 0.7 * soft_target(heads[0], targets, temperature=3.0),
        "attention_transfer": (
            0.2
            * attention_transfer(
                [features["student", own] for own, _ in TAPS],
                [features["teacher", other] for _, other in TAPS],
            )
        ),
    }
    assert terms.keys() == expected.keys()
    for name in terms:
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=1e-5)


def test_the_teacher_is_frozen_unchanged_and_asked_once(batch):
    made = recipe(distilled(soft_target={}, attention_transfer={"weight": 0.1, "taps": TAPS}))
    teacher = teacher_of(made).train()
    method = method_of(made, "distilled", teacher)
    before, calls = weights_hash(teacher.state_dict()), []
    teacher.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    optimiser = torch.optim.SGD([*method.student.parameters(), *teacher.parameters()], 0.1)
    terms = method.losses(batch)
    sum(terms.values()).backward()
    optimiser.step()
    assert len(calls) == 1
    assert calls[0] is batch.complete
    assert not teacher.training
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters()
    )
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    assert weights_hash(teacher.state_dict()) == before


@pytest.mark.parametrize(
    "losses",
    [{}, {"soft_target": {"weight": 0}, "attention_transfer": {"weight": 0, "taps": TAPS}}],
)
def test_without_weights_it_is_supervised_exactly_and_the_teacher_sleeps(batch, losses):
    runs = distilled()
    runs["distilled"]["method"]["options"]["losses"] = losses
    made = recipe(runs)
    teacher = teacher_of(made)
    teacher.register_forward_hook(lambda *_: pytest.fail("the teacher was asked"))
    baseline, student = method_of(made, "baseline"), method_of(made, "distilled", teacher)
    a, b = baseline.losses(batch), student.losses(batch)
    assert a.keys() == b.keys() == {"segmentation"}
    assert torch.equal(a["segmentation"], b["segmentation"])


def test_the_distilled_student_and_the_baseline_have_the_same_initial_weights(prepared):
    made = recipe(distilled(), augmentation={"spatial": 0.5, "noise": 0.5})
    baseline, student = method_of(made, "baseline"), method_of(made, "distilled", teacher_of(made))
    assert weights_hash(baseline.student.state_dict()) == weights_hash(student.student.state_dict())
    runs = [made.runs[name] for name in ("baseline", "distilled")]
    samplers = [PatchSampler(prepared, made.sampling, run.augmentation, run.seed) for run in runs]
    for step in (0, 5):
        a, b = (sampler.batch(step) for sampler in samplers)
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.regions, b.regions)


def test_a_student_that_is_its_teacher_loses_nothing_to_it(batch):
    """Same weights, same mode, same input: every distillation term is 0."""
    made = recipe(
        distilled(
            soft_target={},
            attention_transfer={"taps": [["bottleneck", "bottleneck"], ["decoder0", "decoder0"]]},
        )
    )
    network = made.runs["distilled"].model_copy(update={"network": made.runs["teacher"].network})
    same = made.model_copy(update={"runs": {**made.runs, "distilled": network}})
    teacher = teacher_of(same)
    method = method_of(same, "distilled", teacher)
    method.student.load_state_dict(teacher.state_dict())
    method.student.eval()
    whole = replace(batch, image=batch.complete)
    terms = method.losses(whole)
    np.testing.assert_allclose(
        [terms["soft_target"].item(), terms["attention_transfer"].item()], 0, atol=1e-6
    )


def test_classes_distil_too(batch):
    made = recipe(distilled(), outputs="classes")
    terms = method_of(made, "distilled", teacher_of(made)).losses(batch)
    assert terms.keys() == {"segmentation", "soft_target"}
    assert all(torch.isfinite(term) for term in terms.values())
