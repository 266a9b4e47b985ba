"""Learning from pseudo-labels: from a folder of them to a trained run, and never from a patient who
validates.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny_cohort
import tiny_model
from gliodistill.errors import CacheError, CheckpointError, RecipeError, StudyError
from gliodistill.images import write_nifti
from gliodistill.inference import Predictor
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.pseudo_labels import write_pseudo_labels
from gliodistill.inference.tta import parse_tta
from gliodistill.methods.base import Batch
from gliodistill.methods.omni import Omni
from gliodistill.methods.segmentation import deeply_supervised
from gliodistill.networks import Network, build
from gliodistill.phantom import write_cohort as write_phantoms
from gliodistill.preparation import Cache, Preparation, build_cache
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.recipes.schema import AugmentationPart, PseudoPart, SamplingPart
from gliodistill.studies.cohort import find_cohort, open_cohort
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export
from gliodistill.training.run import train as train_recipe
from tiny_cohort import PLAIN, STUDENT, recipe

SHORT = {"steps": 3, "save_every": 1, "validate_every": 3}
OMNI = {"network": STUDENT, "method": {"name": "omni"}, "pseudo": {"share": 0.5}}
SAMPLING = {"patch": (12, 12, 12), "batch": 4}


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return Ensemble(
        [Predictor(tiny_model.export(tmp_path_factory.mktemp("model") / "model"), threads=1)],
        parse_tta("x"),
    )


def pseudo_labels(
    ensemble: Ensemble, root: Path, studies: dict[str, int], **options: object
) -> Path:
    """Pseudo-labels of unlabelled studies: id → seed."""
    for id, seed in studies.items():
        tiny_cohort.write_study(root / "unlabelled", id, seed, labelled=False)
    records = find_cohort(root / "unlabelled")[0].studies
    write_pseudo_labels(
        records, ensemble, root / "pseudo", labels=CONVENTIONS["brats2021"], **options
    )
    return root / "pseudo"


@pytest.fixture(scope="module")
def pseudo(ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pseudo_labels(
        ensemble, tmp_path_factory.mktemp("pool"), {"pool_a": 21, "pool_b": 22}, soft=True
    )


@pytest.fixture(scope="module")
def pool(pseudo: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    def soft(id: str) -> tuple[Path, ...]:
        return tuple(pseudo / id / f"{region}.nii.gz" for region in ("WT", "TC", "ET"))

    return build_cache(
        open_cohort(pseudo), Preparation(), tmp_path_factory.mktemp("pool") / "cache", 1, soft
    )


def train(
    cohort: Path,
    out: Path,
    pseudo: Path | None,
    runs: dict[str, object] | None = None,
    **options: object,
) -> Experiment:
    changes = {key: options.pop(key) for key in ("data", "sampling") if key in options}
    made = recipe(runs or {"student": OMNI}, **{"training": SHORT, **changes})
    return train_recipe(made, cohort, out, labels="brats2021", jobs=1, pseudo=pseudo, **options)


# Patches
# ---------------------------------------------------------------------------------------------------------


def sampler(
    prepared: Cache,
    pool: Cache | None,
    labels: str = "hard",
    augmentation: dict[str, object] | None = None,
) -> PatchSampler:
    part = None if pool is None else (pool, PseudoPart(share=0.5, labels=labels))
    return PatchSampler(
        prepared, SamplingPart(**SAMPLING), AugmentationPart(**(augmentation or {})), 5, pseudo=part
    )


def test_the_labelled_patches_are_the_baselines_and_batches_are_a_function_of_seed_and_step(
    prepared: Cache, pool: Cache
):
    baseline, omni, again = (
        sampler(prepared, None),
        sampler(prepared, pool),
        sampler(prepared, pool),
    )
    for step in (7, 0, 3):
        ours, theirs, same = omni.batch(step), baseline.batch(step), again.batch(step)
        assert ours.pseudo.tolist() == [False, False, True, True] and not theirs.pseudo.any()
        for name in ("image", "regions", "complete", "present"):
            assert torch.equal(getattr(ours, name)[:2], getattr(theirs, name)[:2])
            assert torch.equal(getattr(ours, name), getattr(same, name))


def test_every_pseudo_labelled_study_has_its_turn(prepared: Cache, pool: Cache):
    omni = sampler(prepared, pool)
    for step in range(4):  # two studies, two places in a batch: each once a step
        assert sorted(omni.studies[draw.study].id for draw in omni.draw(step)[2:]) == [
            "pool_a",
            "pool_b",
        ]
        assert all(omni.studies[draw.study].id.startswith("case") for draw in omni.draw(step)[:2])


def cut(array: NDArray[np.uint8], centre: tuple[int, int, int]) -> NDArray[np.uint8]:
    padded = np.pad(array, [(0, 0), *[(12, 12)] * 3])
    x, y, z = (c - 6 + 12 for c in centre)
    return padded[:, x : x + 12, y : y + 12, z : z + 12]


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_patches_hold_the_pseudo_labels(prepared: Cache, pool: Cache, labels: str):
    omni = sampler(prepared, pool, labels, PLAIN)
    batch = omni.batch(2)
    for index, draw in enumerate(omni.draw(2)):
        study = omni.studies[draw.study]
        hard = unpack_regions(np.asarray(study.truth())).astype(np.uint8)
        whole = (
            np.asarray(study.soft()) / np.float32(255) if labels == "soft" and index >= 2 else hard
        )
        np.testing.assert_allclose(batch.regions[index].numpy(), cut(whole, draw.centre), atol=1e-6)


def test_soft_labels_are_the_probabilities_and_move_with_the_image(
    prepared: Cache, pool: Cache, pseudo: Path
):
    """Mirrored and bent patches: shares stay within [0, 1] and nested, and their volume is that of
    the unbent ones.
    """
    bent = sampler(
        prepared,
        pool,
        "soft",
        {**PLAIN, "flip": 0.5, "spatial": 1.0, "elastic_voxels": 0.5, "scale": [1.0, 1.0]},
    )
    regions = torch.cat([bent.batch(step).regions[2:] for step in range(12)])
    whole, core, enhancing = regions.unbind(dim=1)
    assert regions.min() >= 0 and regions.max() <= 1
    assert (whole >= core).all() and (core >= enhancing).all()
    assert ((regions > 0.02) & (regions < 0.98)).any()
    plain = sampler(prepared, pool, "soft", PLAIN)
    straight = torch.cat([plain.batch(step).regions[2:] for step in range(12)])
    assert regions.mean() == pytest.approx(straight.mean().item(), rel=0.25)


def test_a_study_without_soft_labels_says_so(prepared: Cache):
    with pytest.raises(CacheError, match=r"soft\.npy"):
        prepared.studies[0].soft()


def test_soft_labels_on_another_grid_are_refused(pseudo: Path, tmp_path: Path):
    copy = shutil.copytree(pseudo.parent, tmp_path / "copy") / "pseudo"
    study = tiny_cohort.study(1, shape=(20, 20, 20))
    write_nifti(study.truth, copy / "pool_a" / "TC.nii.gz")
    cohort = open_cohort(copy)
    with pytest.raises(StudyError, match="another grid"):
        build_cache(
            cohort, Preparation(), tmp_path / "cache", 1, lambda id: (copy / id / "TC.nii.gz",)
        )


# The loss
# --------------------------------------------------------------------------------------------------------


class Fixed(Network):
    """Says the same whatever it is shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.logits,)


def losses64(logits: torch.Tensor, truth: torch.Tensor) -> float:
    """Soft Dice joint over the patches + binary cross-entropy, in float64 NumPy."""
    x, t = (value.detach().numpy().astype(np.float64) for value in (logits, truth))
    p, axes = 1 / (1 + np.exp(-x)), (0, 2, 3, 4)
    dice = (2 * (p * t).sum(axes) + 1e-5) / (p.sum(axes) + t.sum(axes) + 1e-5)
    return float(1 - dice.mean() - (t * np.log(p) + (1 - t) * np.log(1 - p)).mean())


@pytest.mark.parametrize("weight", [2.0, 0.25])
def test_omni_is_the_weighted_mean_over_patches(weight: float):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 3, 4, 4, 4, generator=generator)
    regions = torch.rand(3, 1, 4, 4, 4, generator=generator).expand(3, 3, 4, 4, 4).contiguous()
    pseudo = torch.tensor([False, False, True])
    image = torch.zeros(3, 4, 4, 4, 4)
    batch = Batch(image, image, regions, torch.ones(3, 4, dtype=torch.bool), pseudo)
    terms = Omni(Fixed(logits), "regions", pseudo_weight=weight).losses(batch)
    total = 2 + weight
    assert terms["segmentation"].item() == pytest.approx(
        2 / total * losses64(logits[:2], regions[:2]), rel=1e-5
    )
    assert terms["pseudo"].item() == pytest.approx(
        weight / total * losses64(logits[2:], regions[2:]), rel=1e-5
    )


def test_weight_1_is_the_loss_of_the_whole_batch(prepared: Cache, pool: Cache):
    torch.manual_seed(0)
    student = build("unet", widths=[4, 8]).eval()
    batch = sampler(prepared, pool).batch(0)
    terms = Omni(student, "regions").losses(batch)
    torch.testing.assert_close(
        terms, {"segmentation": deeply_supervised(student(batch.image), batch.regions, "regions")}
    )


def test_weight_nothing_is_the_labelled_loss_alone(prepared: Cache, pool: Cache):
    torch.manual_seed(0)
    student = build("unet", widths=[4, 8], deep_supervision=0).eval()
    batch = sampler(prepared, pool).batch(0)
    terms = Omni(student, "regions", pseudo_weight=0.0).losses(batch)
    assert terms.keys() == {"segmentation"}
    expected = deeply_supervised(
        [head[:2] for head in student(batch.image)], batch.regions[:2], "regions"
    )
    torch.testing.assert_close(terms["segmentation"], expected)


# The recipe
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "field", "told"),
    [
        ({**OMNI, "pseudo": {}}, "pseudo.share", "pseudo-labels"),
        ({**OMNI, "pseudo": {"share": 0.1}}, "pseudo.share", "batch cannot be shared"),
        ({**OMNI, "pseudo": {"share": 0.9}}, "pseudo.share", "batch cannot be shared"),
        ({**OMNI, "pseudo": {"share": 1.5}}, "pseudo.share", "less than 1"),
        ({**OMNI, "pseudo": {"share": 0.5, "labels": "weak"}}, "pseudo.labels", "hard"),
        (
            {**OMNI, "method": {"name": "omni", "options": {"pseudo_weight": -1}}},
            "options.pseudo_weight",
            "0 or more",
        ),
    ],
)
def test_recipes_that_do_not_hang_together(run, field, told):
    with pytest.raises(RecipeError, match=told) as caught:
        recipe({"student": run})
    assert caught.value.field.endswith(field)


# Whole
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_trains_end_to_end(cohort, pseudo, tmp_path, labels):
    runs = {
        "baseline": {"network": STUDENT},
        "student": {**OMNI, "pseudo": {"share": 0.5, "labels": labels}},
    }
    experiment = train(cohort, tmp_path / "run", None, runs, only=("baseline",))
    experiment = train(cohort, tmp_path / "run", pseudo, runs, resume=True)
    summary = experiment.summary("student")
    assert summary["pseudo"].keys() == {"studies", "transductive", "labels", "sha256"}
    assert (
        summary["pseudo"]["studies"],
        summary["pseudo"]["transductive"],
        summary["pseudo"]["labels"],
    ) == (2, 0, labels)
    assert "pseudo" not in experiment.summary("baseline")
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "student" / "log.jsonl").read_text().splitlines()
    ]
    assert all(line["loss"].keys() == {"segmentation"} for line in lines)
    assert Experiment.open(tmp_path / "run").pseudo["studies"] == ["pool_a", "pool_b"]
    package = export(tmp_path / "run" / "student", tmp_path / "model")
    assert package.spec.training.data.endswith("; 2 pseudo-labelled or synthetic studies")


def test_any_method_may_learn_from_them(cohort, pseudo, tmp_path):
    runs = {
        "teacher": {"network": STUDENT},
        "student": {
            "network": STUDENT,
            "method": {"name": "compression", "options": {"teacher": "teacher"}},
            "pseudo": {"share": 0.5},
        },
    }
    assert (
        train(cohort, tmp_path / "run", pseudo, runs).summary("student")["pseudo"]["studies"] == 2
    )


def test_synthetic_studies_take_their_share_with_the_labels_they_were_made_with(cohort, tmp_path):
    write_phantoms(tmp_path / "phantoms", 2, seed=3, spacing=5.0, jobs=1)
    experiment = train(cohort, tmp_path / "run", tmp_path / "phantoms")
    assert experiment.pseudo["studies"] == ["Phantom_003_00000", "Phantom_003_00001"]
    assert experiment.summary("student")["pseudo"]["labels"] == "hard"


def test_a_cache_of_them_does_as_well(cohort, ensemble, pseudo, tmp_path):
    first = train(cohort, tmp_path / "first", pseudo)
    second = train(cohort, tmp_path / "second", tmp_path / "first" / "cache-pseudo")
    assert not (tmp_path / "second" / "cache-pseudo").exists()
    assert second.summary("student")["weights_sha256"] == first.summary("student")["weights_sha256"]
    assert second.pseudo["studies"] == ["pool_a", "pool_b"]
    hard = build_cache(open_cohort(pseudo), Preparation(), tmp_path / "hard", 1)
    soft = {"student": {**OMNI, "pseudo": {"share": 0.5, "labels": "soft"}}}
    with pytest.raises(StudyError, match="are hard"):
        train(cohort, tmp_path / "third", hard.folder, soft)
    known = pseudo_labels(ensemble, tmp_path, {first.split["training"][0]: 30})
    twice = build_cache(open_cohort(known), Preparation(), tmp_path / "twice", 1)
    with pytest.raises(StudyError, match="labelled twice"):
        train(cohort, tmp_path / "third", twice.folder)
    assert not (tmp_path / "third").exists()


def test_a_cache_of_synthetic_studies_is_known_as_one(cohort, tmp_path):
    write_phantoms(tmp_path / "phantoms", 2, seed=3, spacing=5.0, jobs=1)
    cache = build_cache(open_cohort(tmp_path / "phantoms"), Preparation(), tmp_path / "cache", 1)
    assert (Cache.open(cache.folder).labels_by, cache.select(set()).labels_by) == ("phantom",) * 2
    experiment = train(cohort, tmp_path / "run", cache.folder)
    assert experiment.pseudo["studies"] == ["Phantom_003_00000", "Phantom_003_00001"]


def test_labels_of_experts_are_not_pseudo_labels(cohort, prepared, pseudo, tmp_path):
    """In whatever form; nor are synthetic studies among which an expert's lies."""
    mixed = write_phantoms(tmp_path / "mixed", 1, seed=3, spacing=5.0, jobs=1)[0].parent
    tiny_cohort.write_study(mixed, "pool_a", 21)
    tiny_cohort.write_study(tmp_path / "plain", "pool_a", 21)
    plain = build_cache(
        open_cohort(tmp_path / "plain", labels="brats2021"), Preparation(), tmp_path / "cache", 1
    )
    old = shutil.copytree(
        build_cache(open_cohort(pseudo), Preparation(), tmp_path / "new", 1).folder,
        tmp_path / "old",
    )
    index = json.loads((old / "cache.json").read_text())
    index.pop("labels_by")  # as versions wrote it that did not say whose the labels are
    (old / "cache.json").write_text(json.dumps(index))
    for given in (tmp_path / "plain", mixed, plain.folder, old):
        with pytest.raises(StudyError, match=r"not (of )?pseudo-labels") as caught:
            train(cohort, tmp_path / "run", given)
        assert "--data" in str(caught.value) and not (tmp_path / "run").exists()
    before = (old / "pool_a" / "image.npy").stat().st_mtime_ns
    build_cache(open_cohort(pseudo), Preparation(), old, 1)
    assert (old / "pool_a" / "image.npy").stat().st_mtime_ns == before  # only told apart
    train(cohort, tmp_path / "run", old)


def test_a_stopped_run_goes_on_as_if_it_never_had(cohort, pseudo, tmp_path):
    whole = train(cohort, tmp_path / "whole", pseudo).summary("student")["weights_sha256"]

    def watch(run, steps, progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cohort, tmp_path / "run", pseudo, watch=watch)
    assert (
        train(cohort, tmp_path / "run", pseudo, resume=True).summary("student")["weights_sha256"]
        == whole
    )


def test_pseudo_labels_that_are_missing_or_hard_are_told_before_anything_is_written(
    cohort, ensemble, tmp_path
):
    hard = pseudo_labels(ensemble, tmp_path, {"pool_a": 21})
    soft = {"student": {**OMNI, "pseudo": {"share": 0.5, "labels": "soft"}}}
    for given, runs, told in (
        (None, None, "--pseudo"),
        (tmp_path / "unlabelled", None, "not a folder"),
        (hard, soft, "--soft"),
    ):
        with pytest.raises(StudyError, match=told):
            train(cohort, tmp_path / "run", given, runs)
        assert not (tmp_path / "run").exists()


def test_other_pseudo_labels_in_one_folder_are_refused(cohort, ensemble, pseudo, tmp_path):
    runs = {"first": OMNI, "second": OMNI}
    train(cohort, tmp_path / "run", pseudo, runs, only=("first",))
    other = pseudo_labels(ensemble, tmp_path, {"pool_c": 23})
    with pytest.raises(CheckpointError, match="other pseudo-labels"):
        train(cohort, tmp_path / "run", other, runs, resume=True)


def sides(cohort: Path, tmp_path: Path) -> tuple[str, str]:
    """A study that trains and one that validates."""
    split = train(cohort, tmp_path / "split", None, {"baseline": {"network": STUDENT}}).split
    return split["training"][0], split["validation"][0]


@pytest.mark.parametrize("disguised", [False, True])
def test_a_patient_on_two_sides_is_refused(cohort, ensemble, tmp_path, disguised):
    """By id before anything is written; under another id by the images, before anything is trained."""
    trains, validates = sides(cohort, tmp_path)
    for number, (known, told) in enumerate(
        ((validates, "a patient on two sides"), (trains, "a patient labelled twice"))
    ):
        name = "stranger" if disguised else known
        made = pseudo_labels(ensemble, tmp_path / str(number), {name: int(known[-1])})
        with pytest.raises(StudyError, match=told) as caught:
            train(cohort, tmp_path / f"run{number}", made)
        assert f"{name}, which is {known}" in str(caught.value) and "--exclude" in str(caught.value)
        assert not (tmp_path / f"run{number}" / "student").exists()
        assert disguised or not (tmp_path / f"run{number}").exists()


@pytest.mark.parametrize("disguised", [False, True])
def test_transductive_learning_is_allowed_where_the_recipe_says_so_and_told(
    cohort, ensemble, tmp_path, disguised
):
    trains, validates = sides(cohort, tmp_path)
    made = pseudo_labels(
        ensemble,
        tmp_path,
        {"stranger" if disguised else validates: int(validates[-1]), "pool_a": 21},
    )
    experiment = train(cohort, tmp_path / "run", made, data={"validation": 1, "transductive": True})
    assert experiment.summary("student")["pseudo"]["transductive"] == 1
    assert "transductive" in export(tmp_path / "run", tmp_path / "model").spec.training.data
    again = pseudo_labels(ensemble, tmp_path / "2", {trains: int(trains[-1])})
    with pytest.raises(StudyError, match="labelled twice"):
        train(cohort, tmp_path / "run2", again, data={"validation": 1, "transductive": True})
