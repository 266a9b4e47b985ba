"""A recipe run whole: refused before anything is written, or resumable from wherever it ended."""

import json
import shutil

import pytest

from gliodistill.errors import (
    CacheError,
    CheckpointError,
    GliodistillError,
    GliodistillWarning,
    OutputError,
    RecipeError,
    StudyError,
)
from gliodistill.preparation import Preparation, build_cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.experiment import Experiment
from gliodistill.training.run import train as train_recipe
from tiny_cohort import STUDENT, distilled, recipe, values, write_cohort, write_study

SHORT = {"steps": 3, "save_every": 1, "validate_every": 3}


class Interrupted(Exception):
    """What a test throws to stop a run."""


def short(runs=None, **changes):
    return recipe(runs, **{"training": SHORT, **changes})


def train(made, data, out, **options):
    return train_recipe(made, data, out, labels="brats2021", jobs=1, **options)


def hashes(experiment):
    return {name: experiment.summary(name)["weights_sha256"] for name in experiment.recipe.runs}


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """Teacher, baseline and distilled student, trained without a stop."""
    return train(
        short(
            distilled(
                soft_target={},
                attention_transfer={"weight": 0.1, "taps": [["bottleneck", "bottleneck"]]},
            )
        ),
        cohort,
        tmp_path_factory.mktemp("e") / "run",
    )


def test_what_is_written(finished):
    files = {
        str(path.relative_to(finished.folder))
        for path in finished.folder.rglob("*")
        if "cache" not in path.parts
    }
    runs = {
        f"{run}/{name}"
        for run in ("teacher", "baseline", "distilled")
        for name in ("last.safetensors", "best.safetensors", "log.jsonl", "summary.json")
    }
    assert files == {"recipe.yaml", "data.json", "teacher", "baseline", "distilled"} | runs
    again = Experiment.open(finished.folder)
    assert (again.recipe, again.split, again.cache) == (
        finished.recipe,
        finished.split,
        finished.cache,
    )
    assert again.convention.name == "brats2021"
    assert sorted(map(len, again.split.values())) == [1, 2]
    summary = again.summary("distilled")
    assert summary.keys() == {
        "steps", "dice", "best_step", "seconds", "weights_sha256", "device", "precision", "parameters", "flops", "flops_shape",
    }  # fmt: skip
    assert summary["flops_shape"] == [1, 4, 16, 16, 16]
    assert not again.load_network("distilled").training


def test_baseline_and_distilled_student_share_the_first_step(finished):
    first = {
        run: json.loads((finished.folder / run / "log.jsonl").read_text().splitlines()[0])
        for run in ("baseline", "distilled")
    }
    assert first["baseline"]["loss"]["segmentation"] == first["distilled"]["loss"]["segmentation"]
    assert first["distilled"]["loss"].keys() == {
        "segmentation",
        "soft_target",
        "attention_transfer",
    }


def test_resuming_what_is_finished_does_nothing(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in copy.rglob("*")
        if path.is_file()
    }
    again = train(finished.recipe, tmp_path / "data is gone", copy, resume=True)
    assert hashes(again) == hashes(finished)
    assert {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in copy.rglob("*")
        if path.is_file()
    } == before


@pytest.mark.parametrize("stop", [("teacher", 2), ("baseline", 3), ("distilled", 1)])
def test_resumed_from_anywhere_is_never_stopped(finished, prepared, tmp_path, stop):
    def watch(run, steps, progress):
        assert steps == 3
        if (run, progress.step) == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(finished.recipe, prepared.folder, tmp_path / "run", watch=watch)
    with pytest.raises(CheckpointError, match="not finished"):
        Experiment.open(tmp_path / "run").summary("distilled")
    assert hashes(train(finished.recipe, prepared.folder, tmp_path / "run", resume=True)) == hashes(
        finished
    )


def test_resumed_between_runs_and_after_a_kill_while_preparing(finished, cohort, tmp_path):
    """States that a kill leaves, made by hand: no summary yet, no run yet, half a cache, half a
    plan, nothing but leftovers.
    """
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    (copy / "distilled" / "summary.json").unlink()
    assert hashes(train(finished.recipe, cohort, copy, resume=True)) == hashes(finished)
    shutil.rmtree(copy / "distilled")
    shutil.rmtree(copy / "baseline")
    (copy / "baseline").mkdir()
    assert hashes(train(finished.recipe, cohort, copy, resume=True)) == hashes(finished)
    shutil.rmtree(copy / "teacher")
    shutil.rmtree(copy / "baseline")
    shutil.rmtree(copy / "distilled")
    shutil.rmtree(copy / "cache" / "case_1")
    (copy / "cache" / "cache.json").unlink()
    (copy / "cache" / ".0badcafe.partial.case_1").mkdir()
    assert hashes(train(finished.recipe, cohort, copy, resume=True)) == hashes(finished)
    for left in ("data.json", ".0badcafe.partial.recipe.yaml"):
        half = tmp_path / left.strip(".")
        half.mkdir()
        (half / left).write_text("{")
        assert (
            hashes(train(short({"baseline": {"network": STUDENT}}), cohort, half, resume=True))[
                "baseline"
            ]
            == hashes(finished)["baseline"]
        )
        assert not list(half.glob(".*"))


def test_only_some_runs_and_the_others_later(finished, prepared, tmp_path):
    cohort = prepared.folder
    with pytest.raises(CheckpointError, match="teacher is not trained"):
        train(finished.recipe, cohort, tmp_path / "run", only=("distilled",))
    with pytest.raises(CheckpointError, match="no such run"):
        train(finished.recipe, cohort, tmp_path / "run", only=("student",))
    assert not (tmp_path / "run").exists()
    partly = train(finished.recipe, cohort, tmp_path / "run", only=("teacher",))
    assert [partly.is_finished(name) for name in ("teacher", "baseline", "distilled")] == [
        True,
        False,
        False,
    ]
    train(finished.recipe, cohort, tmp_path / "run", only=("distilled",), resume=True)
    assert hashes(train(finished.recipe, cohort, tmp_path / "run", resume=True)) == hashes(finished)


def test_an_unfinished_teacher_teaches_nobody(finished, cohort, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    (copy / "teacher" / "summary.json").unlink()  # best.safetensors is there all the same
    (copy / "distilled" / "summary.json").unlink()
    with pytest.raises(CheckpointError, match="teacher is not trained"):
        train(finished.recipe, cohort, copy, only=("distilled",), resume=True)


def test_a_cache_does_as_well_as_the_cohort(finished, cohort, prepared, tmp_path):
    made = short()
    out = tmp_path / "run"
    experiment = train_recipe(made, prepared.folder, out)
    assert hashes(experiment)["baseline"] == hashes(finished)["baseline"]
    assert Experiment.open(out).cache == prepared.folder.resolve()
    assert not (out / "cache").exists()


# What is refused before anything is written
# ---------------------------------------------------------------------


def refused(tmp_path, error, match, made, data, **options):
    out = tmp_path / "deep" / "run"
    with pytest.raises(error, match=match) as caught:
        train(made, data, out, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()


def unchecked(**changes):
    """A recipe made in Python, which no file has been checked for."""
    return Recipe.model_validate(values(**changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"runs": distilled(attention_transfer={"taps": [["bottleneck", "nowhere"]]})},
            "no such feature tap",
        ),
        ({"sampling": {"patch": [16, 16, 17]}}, r"sampling\.patch"),
        ({"runs": {"baseline": {"network": {"name": "vnet"}}}}, "unknown network"),
        (
            {"runs": {"baseline": {"network": STUDENT, "method": {"name": "magic"}}}},
            "unknown method",
        ),
        (
            {
                "runs": {
                    "baseline": {
                        "network": STUDENT,
                        "method": {"name": "compression", "options": {"teacher": "nobody"}},
                    }
                }
            },
            "earlier run",
        ),
    ],
)
def test_recipes_that_do_not_hold_together(cohort, tmp_path, changes, match):
    refused(tmp_path, RecipeError, match, unchecked(**changes), cohort)


@pytest.mark.parametrize("validation", [3, 99, 0.0, 0.01, 0.99, ("case_0", "case_1", "case_2"), ()])
def test_a_split_with_an_empty_side(cohort, tmp_path, validation):
    refused(tmp_path, StudyError, "cannot split", short(data={"validation": validation}), cohort)


def test_everyone_learns_where_nobody_validates(cohort, tmp_path):
    experiment = train(short(data={"validation": 0}), cohort, tmp_path / "run", only=("baseline",))
    assert experiment.split == {"training": ["case_0", "case_1", "case_2"], "validation": []}
    summary = experiment.summary("baseline")
    assert summary["dice"] is None
    assert summary["best_step"] == summary["steps"]


def test_data_that_cannot_train(cohort, tmp_path):
    refused(tmp_path, StudyError, "no such study", short(data={"validation": ["case_9"]}), cohort)
    refused(tmp_path, GliodistillError, "nowhere", short(), tmp_path / "nowhere")
    refused(
        tmp_path,
        StudyError,
        "no labelled study",
        short(),
        write_cohort(tmp_path / "bare", 2, labelled=False),
    )
    two = write_cohort(tmp_path / "two", 3)
    shutil.copy(two / "case_1" / "case_1_t1.nii.gz", two / "case_1" / "case_1_t1n.nii.gz")
    refused(tmp_path, StudyError, "T1", short(), two)


def test_caches_that_cannot_train(cohort, prepared, tmp_path):
    refused(
        tmp_path, CacheError, "other settings", short(data={"spacing": [2, 2, 2]}), prepared.folder
    )
    bare = build_cache(
        open_cohort(write_cohort(tmp_path / "bare", 2, labelled=False)),
        Preparation(),
        tmp_path / "cache",
        1,
    )
    refused(tmp_path, StudyError, "no labelled study", short(), bare.folder)
    broken = shutil.copytree(prepared.folder, tmp_path / "broken")
    shutil.rmtree(broken / "case_1")
    refused(tmp_path, CacheError, "missing", short(), broken)


def test_unlabelled_studies_are_left_out(cohort, tmp_path):
    mixed = shutil.copytree(cohort, tmp_path / "mixed")
    write_study(mixed, "case_9", 9, labelled=False)
    with pytest.warns(GliodistillWarning, match="1 of 4 studies left out, no label map: case_9"):
        experiment = train(short(training={**SHORT, "steps": 1}), mixed, tmp_path / "run")
    assert sorted(experiment.split["training"] + experiment.split["validation"]) == [
        "case_0",
        "case_1",
        "case_2",
    ]
    assert not (experiment.cache / "case_9").exists()


def test_no_patient_is_on_two_sides(tmp_path):
    """Three patients, two of them seen twice; naming one study takes all of its patient's along."""
    ids = [
        "BraTS-GLI-00001-000",
        "BraTS-GLI-00001-001",
        "BraTS-GLI-00002-000",
        "BraTS-GLI-00002-001",
        "BraTS-GLI-00003-000",
    ]
    for seed, id in enumerate(ids):
        write_study(tmp_path / "cohort", id, seed)
    cache = build_cache(
        open_cohort(tmp_path / "cohort", labels="brats2021"), Preparation(), tmp_path / "cache", 1
    )
    for number, validation in enumerate([1, 2, 0.34, ["BraTS-GLI-00001-001"]]):
        made = short(
            data={"validation": validation, "split_seed": number}, training={**SHORT, "steps": 1}
        )
        split = train(made, cache.folder, tmp_path / str(number)).split
        sides = {side: {id[:15] for id in studies} for side, studies in split.items()}
        assert not sides["training"] & sides["validation"]
        assert sorted(split["training"] + split["validation"]) == ids
    assert split["validation"] == ids[:2]


# Folders that are somebody else's
# -------------------------------------------------------------------------------


def test_runs_may_be_added_to_an_experiment(finished, prepared, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    before = hashes(finished)
    runs = {**finished.recipe.runs, "again": finished.recipe.runs["baseline"]}
    more = finished.recipe.model_copy(update={"runs": runs, "about": "Said in other words."})
    added = train(more, prepared.folder, copy, resume=True)
    assert hashes(added) == {**before, "again": before["baseline"]}
    assert Experiment.open(copy).recipe == more
    with pytest.raises(CheckpointError, match="another recipe"):
        train(finished.recipe, prepared.folder, copy, resume=True)


def test_another_recipe_other_studies_or_no_resume(finished, cohort, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    before = (copy / "data.json").read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        train(finished.recipe, cohort, copy)
    other = short(
        distilled(
            soft_target={},
            attention_transfer={"weight": 0.2, "taps": [["bottleneck", "bottleneck"]]},
        )
    )
    with pytest.raises(
        CheckpointError,
        match=r"runs\.distilled\.method\.options\.losses\.attention_transfer\.weight",
    ):
        train(other, cohort, copy, resume=True)
    (copy / "distilled" / "summary.json").unlink()
    with pytest.raises(CheckpointError, match="other studies"):
        train(finished.recipe, write_cohort(tmp_path / "four", 4), copy, resume=True)
    assert (copy / "data.json").read_bytes() == before
    with pytest.raises(CheckpointError, match="not finished"):
        Experiment.open(copy).summary("distilled")


def test_two_trainings_do_not_begin_in_one_folder(finished, prepared, tmp_path):
    """While one is at work before its first checkpoint another may not begin anew there; nor may
    two train one run. When it has ended, and left nothing, the folder is free.
    """
    out, late = tmp_path / "run", short({"baseline": {"network": STUDENT}}, training={"steps": 5})
    seen = []

    def watch(run, steps, progress):
        for options in ({}, {"resume": True}):
            if progress.step == 0:
                with pytest.raises(OutputError, match="another process is working"):
                    train(late, prepared.folder, out, **options)
            seen.append((run, progress.step))
        if progress.step == 1:
            with pytest.raises(OutputError, match="another process is working"):
                train(finished.recipe, prepared.folder, out, resume=True)
            raise Interrupted

    with pytest.raises(Interrupted):
        train(
            finished.recipe.model_copy(
                update={"runs": {"teacher": finished.recipe.runs["teacher"]}}
            ),
            prepared.folder,
            out,
            watch=watch,
        )
    assert seen == [("teacher", 0)] * 2 + [("teacher", 1)] * 2
    shutil.rmtree(out / "teacher")
    assert train(late, prepared.folder, out).summary("baseline")["steps"] == 5


def test_a_folder_of_something_else(cohort, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    (tmp_path / "file").write_text("")
    for out in ("photos", "file"):
        for resume in (False, True):
            with pytest.raises((OutputError, CheckpointError)):
                train(short(), cohort, tmp_path / out, resume=resume)
    with pytest.raises(OutputError):
        train(short(), cohort, tmp_path / "file" / "below")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"split": {}, "convention": "latin", "cache": "cache"}']
)
def test_a_damaged_plan_is_named(finished, tmp_path, content):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    (copy / "data.json").write_text(content)
    with pytest.raises(CheckpointError, match="not a run folder"):
        Experiment.open(copy)


def test_networks_that_cannot_be_loaded(finished, tmp_path):
    with pytest.raises(CheckpointError, match="no such run"):
        finished.load_network("nobody")
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(copy / "teacher" / "best.safetensors", copy / "baseline" / "best.safetensors")
    with pytest.raises(CheckpointError, match="another network"):
        Experiment.open(copy).load_network("baseline")


def test_a_study_without_any_of_a_runs_sequences_is_told_before_anything_is_trained(tmp_path):
    cohort = write_cohort(tmp_path / "cohort", 3)
    (cohort / "case_1" / "case_1_t1ce.nii.gz").unlink()
    made = short(
        {"baseline": {"network": STUDENT}, "late": {"network": STUDENT, "sequences": ["T1CE"]}}
    )
    with pytest.raises(StudyError, match=r"case_1.*no sequence that the student takes"):
        train(made, cohort, tmp_path / "run")
    assert not (tmp_path / "run").exists()
