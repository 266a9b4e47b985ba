"""Any subset: the student sees what was not dropped, the teacher everything."""

import numpy as np
import pytest
import torch

from gliodistill.distillation import attention_transfer, channel_wise
from gliodistill.errors import RecipeError
from gliodistill.inference.predictor import Predictor
from gliodistill.methods.segmentation import deeply_supervised
from gliodistill.studies.sequence import MRSequence
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.packaging import export
from gliodistill.training.resolve import resolve_run
from gliodistill.training.run import train
from tiny_cohort import STUDENT, recipe, study

WILD = {"spatial": 0.5, "noise": 0.5, "gamma": 0.5, "blur": 0.5, "low_resolution": 0.5, "flip": 0.5}


def runs(drop=0.5, **options):
    drops = {"augmentation": {"modality_dropout": {"p": drop}}}
    method = {"name": "any_subset", "options": {"teacher": "teacher", **options}}
    return {
        "teacher": {"network": {"name": "unet", "options": {"widths": [6, 12]}}, "seed": 7},
        "baseline": {"network": STUDENT, **drops},
        "any": {"network": STUDENT, "method": method, **drops},
    }


def sampler(prepared, made, run):
    return PatchSampler(prepared, made.sampling, made.runs[run].augmentation, 0)


def test_the_student_sees_what_was_kept_and_the_teacher_everything(prepared):
    made = recipe(runs(), augmentation=WILD)
    torch.manual_seed(1)
    teacher = resolve_run(made, "teacher").build_network()
    method, seen = resolve_run(made, "any").build_method(lambda run: teacher), {}
    for role, network in (("student", method.student), ("teacher", teacher)):
        network.register_forward_hook(
            lambda _m, inputs, out, role=role: seen.update({role: (inputs[0], out[0])})
        )
    dropped = 0
    for step in range(4):
        batch = sampler(prepared, made, "any").batch(step)
        terms = method.losses(batch)
        assert torch.equal(
            seen["student"][0],
            torch.where(batch.present[:, :, None, None, None], batch.complete, 0.0),
        )
        assert seen["teacher"][0] is batch.complete
        assert batch.present.any(1).all()
        assert batch.complete.flatten(2).any(2).all()
        dropped += int((~batch.present).sum())
        torch.testing.assert_close(
            terms["channel_wise"],
            0.03 * channel_wise(seen["student"][1], seen["teacher"][1], temperature=4.0),
        )
    assert dropped > 0


def test_by_default_it_owes_logits_and_latents(prepared):
    made = recipe(runs())
    teacher = resolve_run(made, "teacher").build_network().eval()
    method, batch, latents = (
        resolve_run(made, "any").build_method(lambda run: teacher),
        sampler(prepared, made, "any").batch(0),
        [],
    )
    for network in (method.student, teacher):
        network.taps["bottleneck"].register_forward_hook(lambda _m, _i, out: latents.append(out))
    terms = method.losses(batch)
    assert terms.keys() == {"segmentation", "channel_wise", "attention_transfer"}
    torch.testing.assert_close(
        terms["attention_transfer"], 0.2 * attention_transfer(latents[:1], latents[1:])
    )
    torch.testing.assert_close(
        terms["segmentation"],
        deeply_supervised(method.student(batch.image), batch.regions, "regions"),
    )
    assert all(not parameter.requires_grad for parameter in teacher.parameters())


def test_runs_that_drop_and_runs_that_do_not_see_the_same_patches(prepared):
    """Same studies, centres, warps and intensities; only the student's view of them differs."""
    made = recipe(runs(), augmentation=WILD)
    whole, dropping, baseline = (
        sampler(prepared, made, run) for run in ("teacher", "any", "baseline")
    )
    views = 0
    for step in (0, 3, 8):
        for a, b in zip(whole.draw(step), dropping.draw(step), strict=True):
            assert (a.study, a.centre, a.spatial.flips) == (b.study, b.centre, b.spatial.flips)
            for one, other in (
                (a.spatial.matrix, b.spatial.matrix),
                (a.intensities.get("gamma"), b.intensities.get("gamma")),
            ):
                np.testing.assert_equal(one, other)
        a, b, c = (each.batch(step) for each in (whole, dropping, baseline))
        assert torch.equal(a.image, b.complete)
        assert torch.equal(a.regions, b.regions)
        assert torch.equal(b.image, c.image)
        views += int(not torch.equal(a.image, b.image))
    assert views > 0


def test_every_subset_is_as_likely_as_any_other(prepared):
    made = recipe(runs())
    sampled = sampler(prepared, made, "any")
    kept = [draw.kept for step in range(750) for draw in sampled.draw(step)]
    counts = np.array([kept.count(subset) for subset in set(kept)])
    assert len(counts) == 15
    assert (
        (counts - 100) ** 2 / 100
    ).sum() < 36.1  # chi-squared, 14 degrees of freedom: exceeded by chance once in a thousand


def test_the_package_does_without_any_sequence(prepared, tmp_path):
    made = recipe(runs(), training={"steps": 2, "save_every": 2, "validate_every": 2})
    experiment = train(made, prepared.folder, tmp_path / "run", jobs=1)
    package = export(experiment.folder, tmp_path / "model")
    assert package.spec.may_lack == package.spec.sequences == tuple(MRSequence)
    predictor = Predictor(package, "torch", threads=1)
    for left in MRSequence:
        case = study(5, lacking=tuple(sequence for sequence in MRSequence if sequence is not left))
        assert predictor.segment(case).labels.shape == case.grid.shape
    assert export(experiment.folder, tmp_path / "teacher", run="teacher").spec.may_lack == ()


def test_a_run_that_drops_nothing_is_refused_at_load():
    with pytest.raises(RecipeError, match="needs modality dropout") as caught:
        recipe(runs(drop=0))
    assert caught.value.field == "runs.any.augmentation.modality_dropout.p"
