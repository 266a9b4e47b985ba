"""A task all the way: phantoms, training, export, segmentation and evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import tiny_model
from gliodistill.distillation import Distiller
from gliodistill.errors import CacheError, LabelError, PackageError, RecipeError
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.scores import Scores
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.postprocessing import Known, clean, parse_steps
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.pseudo_labels import write_pseudo_labels
from gliodistill.models import ModelPackage, OutputChannels
from gliodistill.networks import Network, register
from gliodistill.phantom.cohort import make_phantom, write_cohort
from gliodistill.preparation import Cache, Preparation, build_cache
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import BRATS2021
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks import find_task, shipped_tasks
from gliodistill.teachers import parse_teacher
from gliodistill.training.foreign import Given, StoredOutputs
from gliodistill.training.packaging import export
from gliodistill.training.resolve import resolve
from gliodistill.training.run import train

OTHERS = [name for name in shipped_tasks() if name not in ("glioma", "goat")]


def recipe(task: str, **run: object) -> Recipe:
    sequences = ["T1CE"] if task == "meningioma-rt" else ["T1CE", "FLAIR"]
    return Recipe.model_validate(
        {
            "name": "smoke",
            "task": task,
            "data": {"sequences": sequences, "validation": 1},
            "sampling": {"patch": [8, 8, 8], "batch": 2, "foreground": 1.0},
            "augmentation": {"spatial": 0.0, "brain_mask": {"p": 0.5}, "transplant": {"p": 0.5}},
            "training": {"steps": 2, "precision": "float32", "device": "cpu", "prefetch": 0},
            "runs": {"net": {"network": {"name": "unet", "options": {"widths": [4, 8]}}, **run}},
        }
    )


@pytest.mark.parametrize("name", OTHERS)
def test_phantoms_of_a_task_train_its_network(name, tmp_path):
    task = find_task(name)
    convention = task.conventions[0]
    write_cohort(tmp_path / "data", 2, seed=2, spacing=6.0, jobs=1, task=name)
    cohort = open_cohort(tmp_path / "data", labels=convention.name)
    assert {len(record.images) for record in cohort.studies} == {
        1 if name == "meningioma-rt" else 4
    }
    done = train(recipe(name), tmp_path / "data", tmp_path / "run", labels=convention.name, jobs=1)
    summary = done.summary("net")
    assert set(summary["dice"]) == {*task.names, "mean"}
    cache = Cache.open(done.cache, task=task)
    regions = [unpack_regions(study.truth(), len(task.regions)) for study in cache]
    assert all(drawn[task.roots[0]].any() for drawn in regions)
    for drawn in regions:
        np.testing.assert_array_equal(task.nest(drawn), drawn)


def test_what_makes_the_tumours_of_a_task():
    post, task = make_phantom(5, 1, 4.0, task="glioma-post"), find_task("glioma-post")
    whole, _, _, cavity = task.regions_of(post.truth.data, post.convention)
    assert cavity.any() and not (cavity & whole).any()
    t1, flair = (post.images[s].data for s in (MRSequence.T1, MRSequence.FLAIR))
    assert np.median(t1[cavity]) < 0.7 * np.median(t1[t1 > 0])  # fluid
    assert np.median(flair[whole]) > np.median(flair[cavity])
    many = [make_phantom(5, i, 4.0, task="metastases") for i in range(2)]
    import cc3d

    lesions = [
        int(cc3d.connected_components(s.truth.data == 3, connectivity=26).max()) for s in many
    ]
    assert max(lesions) > 2
    child = make_phantom(5, 0, 6.0, task="paediatric")
    adult = make_phantom(5, 0, 6.0)
    brains = [np.count_nonzero(s.images[MRSequence.T1].data) for s in (child, adult)]
    assert brains[0] < 0.8 * brains[1]
    again = make_phantom(5, 0, 6.0, task="paediatric")
    np.testing.assert_array_equal(child.truth.data, again.truth.data)


@register("test_with_cavity")
class WithCavity(Network):
    """WT where FLAIR is bright, TC where T2 is, ET where T1CE is, RC where T1 is."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.fill_(-1.5)
            for channel, sequence in enumerate((3, 2, 1, 0)):
                self.conv.weight[channel, sequence] = 1.0

    def forward(self, x):
        return (self.conv(x),)


@pytest.fixture(scope="module")
def treated(tmp_path_factory):
    """A model of gliomas after treatment, a study with a cavity, and its right label map."""
    task = find_task("glioma-post")
    package = tiny_model.export(
        tmp_path_factory.mktemp("model") / "post",
        "test_with_cavity",
        formats=("openvino",),
        outputs=OutputChannels("regions", task.names, task),
        convention=task.conventions[0],
    )
    study = tiny_model.study()
    away = sum(
        (axis - at) ** 2
        for axis, at in zip(np.indices(tiny_model.SHAPE), (28, 30, 19), strict=True)
    )
    cavity = away <= 5.0**2
    t1 = study.images[MRSequence.T1]
    images = {**study.images, MRSequence.T1: t1.with_data(t1.data + 80 * cavity.astype(np.float32))}
    right = task.labels_of(np.stack([*tiny_model.regions(), cavity]), task.conventions[0])
    return package, replace(study, images=images), right


def test_a_cavity_is_painted_over_the_tumour_and_measured(treated, tmp_path):
    package, study, right = treated
    assert json.loads((package.folder / "model.json").read_text())["task"]["name"] == "glioma-post"
    answer = Predictor(ModelPackage.open(package.folder)).segment(study, probability=True)
    labels = np.asarray(answer.labels.data)
    assert (labels != right).mean() < 0.002 and set(np.unique(labels)) == {0, 1, 2, 3, 4}
    for index, region in enumerate(("WT", "TC", "ET", "RC")):
        drawn = answer.regions[index]
        assert answer.volumes_ml[region] == pytest.approx(drawn.sum() * answer.labels.voxel_ml)
    assert answer.summary()["task"] == "glioma-post" and answer.probabilities.shape[0] == 4
    assert (answer.probabilities[1] <= answer.probabilities[0]).all()
    truth = answer.labels.with_data(right)
    scores = evaluate(
        answer.labels, truth, labels="brats2024", task="glioma-post", rules="brats2023"
    )
    assert scores.mean("RC") > 0.95 and list(scores.rules.regions)[-1] == "RC"
    assert Scores.from_json(scores.to_json()).to_json() == scores.to_json()


def test_clean_up_keeps_the_cavity_apart_from_the_tumour():
    task = find_task("glioma-post")
    painting = np.zeros((9, 5, 5), np.uint8)
    painting[0:3, :3, :3], painting[5:9, :2, :2] = 1, 4
    painting[8, 4, 4] = 4
    cleaned = clean(painting.copy(), parse_steps(["keep_largest=1"]), Known(1.0, {}, task))
    assert (
        cleaned[8, 4, 4] == 0 and (cleaned[5:9, :2, :2] == 4).all() and (cleaned[0:3, :3, :3]).all()
    )
    painting[0, 0, 0] = 3
    cleaned = clean(painting.copy(), parse_steps(["drop_small_et=9"]), Known(1.0, {}, task))
    assert cleaned[0, 0, 0] == 2


def test_what_a_task_cannot_do_is_said(treated, tmp_path):
    package, study, _ = treated
    with pytest.raises(LabelError, match="none of these tissues"):
        Predictor(package).segment(study, labels="brats2023")
    with pytest.raises(RecipeError, match="outputs: regions, and other losses"):
        resolve(recipe("glioma-post", outputs="classes"))
    with pytest.raises(RecipeError, match="a task that shares a region"):
        resolve(recipe("meningioma-rt", pseudo={"share": 0.5}))
    with pytest.raises(PackageError, match=r"clean-up rule for a region .*task meningioma-rt"):
        from gliodistill.inference.postprocessing import check_steps

        check_steps(parse_steps(["drop_small_et=33"]), find_task("meningioma-rt"))


def test_a_teacher_of_gliomas_teaches_treated_ones_what_both_have(tmp_path):
    model = str(tiny_model.export(tmp_path / "glioma", formats=("openvino",)).folder)
    write_cohort(tmp_path / "treated", 1, seed=6, spacing=6.0, jobs=1, task="glioma-post")
    write_cohort(tmp_path / "others", 1, seed=7, spacing=6.0, jobs=1, labelled=False)
    others = open_cohort(tmp_path / "others").studies
    ensemble = Ensemble([Predictor(model)])
    write_pseudo_labels(
        others, ensemble, tmp_path / "pseudo", labels=BRATS2021, soft=True, exclude={}
    )
    given = recipe("glioma-post").model_dump(mode="json", exclude_unset=True)
    given["data"]["validation"] = 0
    net = given["runs"].pop("net")
    net["augmentation"]["transplant"] = {"p": 0.0}
    method = {"name": "compression", "options": {"teacher": {"model": model}}}
    given["runs"]["distilled"] = {**net, "method": method}
    pseudo = {"share": 0.5, "labels": "soft"}
    given["runs"]["omni"] = {**net, "method": {"name": "omni"}, "pseudo": pseudo}
    done = train(
        Recipe.model_validate(given), tmp_path / "treated", tmp_path / "run",
        labels="brats2024", jobs=1, pseudo=tmp_path / "pseudo",
    )  # fmt: skip
    assert all(done.is_finished(name) for name in ("distilled", "omni"))
    (pool,) = Cache.open(tmp_path / "run" / "cache-pseudo", task=find_task("glioma-post"))
    assert pool.known_regions == ("WT", "TC", "ET")
    soft = pool.soft()
    assert soft[0].any() and not soft[3].any()


def test_a_teacher_says_nothing_of_a_region_that_it_lacks():
    files = parse_teacher({"files": "predicted"}, "teacher")
    student = torch.zeros(1, 4, 2, 2, 2, requires_grad=True)
    teacher = StoredOutputs(0, "regions", find_task("glioma-post"), files)
    assert teacher.teaches == (0, 1, 2)
    distiller = Distiller(WithCavity(), teacher, "regions", {"soft_target": {}})
    targets = teacher(Given(torch.ones(1, 3, 2, 2, 2)))[0]
    sum(distiller.terms(student, targets, torch.zeros(1, 4, 2, 2, 2)).values()).backward()
    assert (student.grad[:, :3] != 0).all() and not student.grad[:, 3].any()
    assert StoredOutputs(0, "regions", find_task("metastases"), files).teaches is None


def test_partial_labels_of_another_convention_teach_what_they_tell(tmp_path):
    task = find_task("glioma-post")
    write_cohort(tmp_path / "before", 1, seed=4, spacing=6.0, jobs=1)
    cohort = open_cohort(tmp_path / "before")
    cache = build_cache(cohort, Preparation(), tmp_path / "cache", jobs=1, task=task)
    (study,) = cache.studies
    assert study.known_regions == ("WT", "TC", "ET")  # nothing is known of a cavity
    with pytest.raises(CacheError, match="other regions"):
        Cache.open(tmp_path / "cache", task=find_task("glioma"))
    with pytest.raises(LabelError, match="no region of the task meningioma-rt"):
        build_cache(cohort, Preparation(), tmp_path / "rt", task=find_task("meningioma-rt"))
    done = train(recipe("glioma-post").model_copy(update={"data": recipe(
        "glioma-post").data.model_copy(update={"validation": 0})}), tmp_path / "before",
        tmp_path / "run", jobs=1)  # fmt: skip
    package = export(tmp_path / "run", tmp_path / "model", formats=("openvino",))
    assert done.is_finished("net") and package.convention.name == "brats2024"
    assert package.spec.task == task
