"""The loop: schedule, average, learning, and going on after an end of any kind."""

import json

import numpy as np
import pytest
import torch

from gliodistill.errors import CheckpointError, GliodistillError, OutputError
from gliodistill.methods import Method, Supervised
from gliodistill.networks import build
from gliodistill.preparation import dequantise
from gliodistill.recipes.schema import TrainingPart
from gliodistill.training.checkpoint import read_tensors, weights_hash
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.log import LOG
from gliodistill.training.loop import (
    BEST,
    LAST,
    Setup,
    backward,
    build_optimiser,
    learning_rate,
    train_run,
)
from gliodistill.training.resolve import resolve_run
from gliodistill.training.validation import mean_dice, validate, whole_volume_logits
from tiny_cohort import PLAIN, recipe


class Interrupted(Exception):
    """What a test throws to stop a run."""


def run(prepared, folder, made, stop_at=None, validating=True, method=None):
    """Train run ``baseline`` of a recipe from its first weights on, or from its last checkpoint."""
    part = made.runs["baseline"]
    torch.manual_seed(part.seed)
    method = method or resolve_run(made, "baseline").build_method({}.__getitem__)
    sampler = PatchSampler(
        prepared.select({"case_0", "case_1"}), made.sampling, part.augmentation, part.seed
    )
    steps = []

    def watch(progress):
        steps.append(progress.step)
        if progress.step == stop_at:
            raise Interrupted

    studies = list(prepared.select({"case_2"})) if validating else []
    return (
        train_run(
            Setup(
                method,
                sampler,
                studies,
                part.training,
                part.outputs,
                range(4),
                folder,
                watch=watch,
            )
        ),
        steps,
        method,
    )


def log(folder):
    lines = [json.loads(text) for text in (folder / LOG).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state(folder):
    """Digests of everything a run leaves."""
    last, facts = read_tensors(folder / LAST)
    best, best_facts = read_tensors(folder / BEST)
    groups = {
        group: weights_hash(
            {name: tensor for name, tensor in last.items() if name.startswith(group)}
        )
        for group in ("network/", "average/", "optimiser/", "random/")
    }
    return groups, facts["step"], facts["best"], weights_hash(best), best_facts


WILD = {
    "spatial": 0.5,
    "noise": 0.5,
    "gamma": 0.5,
    "blur": 0.5,
    "low_resolution": 0.5,
    "modality_dropout": {"p": 0.2},
}


@pytest.mark.parametrize(
    ("optimiser", "norm", "steps", "save", "stops"),
    [
        ("adamw", "batch", 7, 2, [1, 3, 5]),
        ("sgd", "instance", 5, 3, [4, 5]),
        ("adamw", "group", 5, 4, [2]),
        ("adamw", "batch", 4, 1, [1, 2, 3, 4]),
    ],
)
def test_interrupted_and_resumed_is_never_stopped_bit_for_bit(
    prepared, tmp_path, optimiser, norm, steps, save, stops
):
    network = {
        "name": "unet",
        "options": {"widths": [4, 8, 8], "norm": norm, "deep_supervision": 1},
    }
    made = recipe(
        {"baseline": {"network": network, "seed": 11}},
        augmentation=WILD,
        training={
            "steps": steps,
            "save_every": save,
            "validate_every": 2,
            "optimiser": {"name": optimiser, "rate": 0.01},
        },
    )
    whole, _, _ = run(prepared, tmp_path / "whole", made)
    for stop in stops:
        with pytest.raises(Interrupted):
            run(prepared, tmp_path / "parts", made, stop_at=stop)
        torch.manual_seed(1234)  # what another process would have in its generator
        torch.randn(100)
    parts, seen, _ = run(prepared, tmp_path / "parts", made)
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    assert {**parts, "seconds": 0} == {**whole, "seconds": 0}
    saved = stops[-1] if stops[-1] == steps else stops[-1] // save * save
    assert seen == list(range(saved + 1, steps + 1))


def test_same_seed_same_weights_and_another_seed_others(prepared, tmp_path):
    hashes = []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = recipe(
            {"baseline": {"network": {"name": "unet", "options": {"widths": [4, 8]}}, "seed": seed}}
        )
        hashes.append(run(prepared, tmp_path / place, made)[0]["weights_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_prefetching_changes_nothing(prepared, tmp_path):
    results = [
        run(prepared, tmp_path / str(n), recipe(training={"prefetch": n}))[0]["weights_sha256"]
        for n in (0, 2)
    ]
    assert results[0] == results[1]


def test_a_finished_run_is_left_as_it_is(prepared, tmp_path):
    made = recipe()
    summary, _, _ = run(prepared, tmp_path, made)
    before = (tmp_path / LAST).read_bytes()
    again, seen, _ = run(prepared, tmp_path, made)
    assert seen == []
    assert again == summary
    assert (tmp_path / LAST).read_bytes() == before


def test_leftovers_of_a_kill_are_no_checkpoints_and_go(prepared, tmp_path):
    (tmp_path / ".0badcafe.partial.last.safetensors").write_bytes(b"half")
    (tmp_path / LOG).write_text('{"step": 1, "loss": {"segmen')
    run(prepared, tmp_path, recipe())
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST, LOG]
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_the_log_says_what_happened(prepared, tmp_path):
    made = recipe(training={"steps": 5, "validate_every": 2})
    summary, _, _ = run(prepared, tmp_path, made)
    lines = [json.loads(text) for text in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [("dice" in line) for line in lines] == [False, True, False, True, True]
    assert [line["rate"] for line in lines] == [
        learning_rate(made.runs["baseline"].training, step) for step in range(5)
    ]
    assert sorted(lines, key=lambda line: line["seconds"]) == lines
    scored = {line["step"]: line["dice"]["mean"] for line in lines if "dice" in line}
    assert summary["best_step"] == max(scored, key=lambda step: (scored[step], -step))
    assert summary["dice"]["mean"] == max(scored.values())


def test_without_validation_the_last_weights_are_the_best(prepared, tmp_path):
    summary, _, _ = run(prepared, tmp_path, recipe(), validating=False)
    best, facts = read_tensors(tmp_path / BEST)
    assert (facts, summary["dice"], summary["best_step"]) == ({"step": 6, "dice": None}, None, 6)
    assert weights_hash(best) == summary["weights_sha256"]


def test_the_best_is_the_average_that_was_validated(prepared, tmp_path):
    made = recipe(training={"steps": 6, "validate_every": 2, "ema": 0.5})
    summary, _, method = run(prepared, tmp_path, made)
    best, facts = read_tensors(tmp_path / BEST)
    method.student.load_state_dict(
        {name.removeprefix("student."): tensor for name, tensor in best.items()}
    )
    again = mean_dice(
        validate(method.student, list(prepared.select({"case_2"})), "regions", torch.float32)
    )
    assert again == facts["dice"] == summary["dice"]


def test_schedule():
    part = TrainingPart(steps=100, warmup=4, power=0.9, optimiser={"rate": 0.2})
    expected = [0.2 * min(1, (t + 1) / 4) * (1 - t / 100) ** 0.9 for t in range(100)]
    np.testing.assert_allclose([learning_rate(part, t) for t in range(100)], expected)
    assert learning_rate(part, 0) == pytest.approx(0.05)
    assert learning_rate(part, 3) == pytest.approx(0.2 * 0.97**0.9)
    assert learning_rate(part, 99) > 0
    assert learning_rate(TrainingPart(warmup=0, optimiser={"rate": 0.2}), 0) == pytest.approx(0.2)


def test_optimisers():
    network = build("unet", widths=(4, 8))
    sgd = build_optimiser(
        TrainingPart(optimiser={"name": "sgd", "rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        network,
    )
    assert isinstance(sgd, torch.optim.SGD)
    group = sgd.param_groups[0]
    assert (group["nesterov"], group["momentum"], group["weight_decay"]) == (True, 0.9, 0.01)
    assert not build_optimiser(
        TrainingPart(optimiser={"name": "sgd", "momentum": 0}), network
    ).param_groups[0]["nesterov"]
    assert isinstance(build_optimiser(TrainingPart(), network), torch.optim.AdamW)


class Recorded(Method):
    """A method that keeps the weights it saw at every step: an oracle for what the loop does
    between steps.
    """

    def __init__(self, inner):
        super().__init__(inner.student, inner.outputs)
        self.inner, self.seen = inner, []

    def losses(self, batch):
        state = self.student.state_dict().items()
        self.seen.append(
            {name: value.double() for name, value in state if value.is_floating_point()}
        )  # a copy, as .double() makes one
        return self.inner.losses(batch)


@pytest.mark.parametrize("ema", [0.0, 0.2, 0.9])
def test_the_moving_average_is_that_of_float64(prepared, tmp_path, ema):
    """Of the weights, and of a batch norm's running statistics: its own remember ten batches, and
    the average's weights are of more.
    """
    network = {"name": "unet", "options": {"widths": [4, 8], "norm": "batch"}}
    made = recipe(
        {"baseline": {"network": network}}, training={"steps": 6, "ema": ema, "save_every": 6}
    )
    torch.manual_seed(0)
    method = Recorded(resolve_run(made, "baseline").build_method({}.__getitem__))
    run(prepared, tmp_path, made, method=method)
    last, _ = read_tensors(tmp_path / LAST)
    assert any(name.endswith("running_var") for name in method.seen[0])
    weights = [
        *method.seen,
        {name: last[f"network/student.{name}"].double() for name in method.seen[0]},
    ]
    for name in weights[0]:
        average = weights[0][name]
        for step in range(1, 7):
            decay = min(ema, step / (step + 9))
            average = decay * average + (1 - decay) * weights[step][name]
        torch.testing.assert_close(
            last[f"average/student.{name}"].double(), average, rtol=1e-5, atol=1e-6
        )


def test_gradients_are_clipped(prepared, tmp_path):
    """SGD without momentum moves by at most rate · clip."""
    made = recipe(
        training={
            "steps": 1,
            "warmup": 0,
            "clip": 1e-3,
            "optimiser": {"name": "sgd", "rate": 1.0, "momentum": 0, "weight_decay": 0},
        }
    )
    torch.manual_seed(0)
    method = Recorded(resolve_run(made, "baseline").build_method({}.__getitem__))
    run(prepared, tmp_path, made, method=method)
    moved = sum(
        (value.double() - method.seen[0][name]).square().sum()
        for name, value in method.student.named_parameters()
    )
    assert moved.sqrt().item() == pytest.approx(1e-3, rel=1e-2)
    assert log(tmp_path)[0]["gradient_norm"] > 1e-3


def test_validation_leaves_the_run_as_it_was(prepared, tmp_path):
    often, never = recipe(training={"validate_every": 1}), recipe(training={"validate_every": 100})
    a, b = run(prepared, tmp_path / "a", often)[0], run(prepared, tmp_path / "b", never)[0]
    assert a["weights_sha256"] == b["weights_sha256"]


class Poisoned(Method):
    """A method whose loss, or whose gradient alone, is not finite from some step on."""

    def __init__(self, inner, at, what):
        super().__init__(inner.student, inner.outputs)
        self.inner, self.at, self.what, self.steps = inner, at, what, 0

    def losses(self, batch):
        terms = dict(self.inner.losses(batch))
        self.steps += 1
        if self.steps >= self.at:
            weight = next(self.student.parameters())
            # √0 has value 0 and gradient ∞.
            terms["bad"] = (
                (weight * 0).abs().sum().sqrt()
                if self.what == "gradient"
                else weight.sum() * float("nan")
            )
        return terms


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_spares_the_checkpoint(prepared, tmp_path, what):
    made = recipe(training={"save_every": 1})
    torch.manual_seed(0)
    with pytest.raises(GliodistillError, match=f"{what} is not finite") as caught:
        run(
            prepared,
            tmp_path,
            made,
            method=Poisoned(resolve_run(made, "baseline").build_method({}.__getitem__), 4, what),
        )
    assert caught.value.field == "step 4"
    tensors, facts = read_tensors(tmp_path / LAST)
    assert facts["step"] == 3
    assert all(
        torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point()
    )
    whole, _, _ = run(prepared, tmp_path / "whole", made)
    resumed, _, _ = run(prepared, tmp_path, made)
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_a_checkpoint_of_another_network_or_beyond_the_end_is_refused(prepared, tmp_path):
    run(prepared, tmp_path, recipe())
    with pytest.raises(CheckpointError, match="beyond the recipe"):
        run(prepared, tmp_path, recipe(training={"steps": 4}))
    with pytest.raises(CheckpointError, match="another network"):
        run(
            prepared,
            tmp_path,
            recipe({"baseline": {"network": {"name": "unet", "options": {"widths": [4, 12]}}}}),
        )


def test_a_damaged_checkpoint_is_named_and_not_overwritten(prepared, tmp_path):
    run(prepared, tmp_path, recipe())
    content = bytearray((tmp_path / LAST).read_bytes())
    content[-5] ^= 1
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(CheckpointError, match="bytes changed"):
        run(prepared, tmp_path, recipe())
    assert (tmp_path / LAST).read_bytes() == content


def test_a_folder_that_cannot_be_written(prepared, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run(prepared, tmp_path / "file" / "baseline", recipe())


def test_tensorboard_gets_the_losses(prepared, tmp_path):
    pytest.importorskip("tensorboard")
    run(prepared, tmp_path, recipe(training={"tensorboard": True, "steps": 2}))
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_one_study_is_learnt_by_heart(prepared, tmp_path):
    """The whole road learns: loss falls, and Dice on the very study goes above 0.9 in seconds."""
    made = recipe(
        {
            "baseline": {
                "network": {"name": "unet", "options": {"widths": [8, 16], "norm": "batch"}}
            }
        },
        augmentation=PLAIN,
        training={
            "steps": 60,
            "warmup": 5,
            "optimiser": {"rate": 0.02},
            "ema": 0.8,
            "validate_every": 60,
            "save_every": 60,
        },
    )
    part, one = made.runs["baseline"], prepared.select({"case_0"})
    torch.manual_seed(0)
    sampler = PatchSampler(one, made.sampling, part.augmentation, 0)
    summary = train_run(
        Setup(
            resolve_run(made, "baseline").build_method({}.__getitem__),
            sampler,
            list(one),
            part.training,
            "regions",
            range(4),
            tmp_path,
        )
    )
    losses = [line["loss"]["segmentation"] for line in log(tmp_path)]
    assert np.mean(losses[-10:]) < 0.35 * np.mean(losses[:5])
    assert min(summary["dice"].values()) > 0.9


def test_classes_learn_too(prepared, tmp_path):
    made = recipe(outputs="classes", training={"steps": 12, "optimiser": {"rate": 0.02}})
    run(prepared, tmp_path, made)
    losses = [line["loss"]["segmentation"] for line in log(tmp_path)]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_validation_pads_at_the_far_side_and_cuts_back(prepared):
    made = recipe({"baseline": {"network": {"name": "unet", "options": {"widths": [4, 8, 8]}}}})
    method = resolve_run(made, "baseline").build_method({}.__getitem__)
    network = method.student.eval()
    image = torch.from_numpy(dequantise(np.asarray(prepared.studies[0].image()))[:, :17, :18, :19])
    logits = whole_volume_logits(network, image, "regions")
    assert logits.shape == (3, 17, 18, 19)
    padded = torch.zeros(1, 4, 20, 20, 20)
    padded[0, :, :17, :18, :19] = image
    with torch.no_grad():
        torch.testing.assert_close(
            logits, network(padded)[0][0, :, :17, :18, :19], atol=1e-5, rtol=1e-4
        )
    network.train()
    validate(network, list(prepared.select({"case_2"})), "regions", torch.float32)
    assert network.training


def test_accumulated_gradients_are_those_of_one_batch(prepared):
    made = recipe(sampling={"batch": 4})
    torch.manual_seed(0)
    method = Supervised(resolve_run(made, "baseline").build_network(), "regions")
    # Cross-entropy alone is a mean over patches, unlike Dice, which is joint over a batch.
    method.segment_by(method.segmentation_loss.with_options(dice=False))
    batch = PatchSampler(prepared, made.sampling, made.runs["baseline"].augmentation, 0).batch(0)
    halves = [batch[:2], batch[2:]]
    gradients = []
    for parts in ([batch], halves):
        method.student.zero_grad()
        for part in parts:
            backward(method, part, torch.float32, 1 / len(parts))
        gradients.append(torch.cat([p.grad.flatten() for p in method.student.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_accumulation_takes_as_many_batches_a_step(prepared, tmp_path):
    """Batches are numbered through, so a resumed run goes on with the right one."""
    made = recipe(training={"steps": 3, "accumulate": 2, "save_every": 1})
    method = Recorded(resolve_run(made, "baseline").build_method({}.__getitem__))
    run(prepared, tmp_path, made, method=method)
    assert len(method.seen) == 6
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3]
