"""Cross-validation: the graph of runs, a worker that dies, and scores of unseen patients."""

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gliodistill.cross_validation import CrossValidation, FoldRun, cross_validate, train_folds
from gliodistill.errors import CheckpointError, OutputError, StudyError
from gliodistill.pool import Outcome, Processes, Threads
from gliodistill.training.experiment import Experiment
from tiny_cohort import distilled, recipe

RUNS = {name: run for name, run in distilled().items() if name != "baseline"}


@pytest.fixture(scope="module")
def plan(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """Two folds, of one and two patients, of a teacher and a distilled student."""
    folder = tmp_path_factory.mktemp("cross") / "runs"
    short = recipe(RUNS, training={"steps": 2, "save_every": 1})
    return CrossValidation(folder, short, 2, (0,), cohort, labels="brats2021")


class Killed:
    """One process, which is killed after the first checkpoint of a run."""

    def __init__(self, work: Callable[[Any], Any], mark: Path) -> None:
        self.work, self.mark = work, mark

    def __call__(self, unit: FoldRun) -> Any:
        if not self.mark.exists():
            import gliodistill.training.loop as loop

            written = loop.write_checkpoint

            def killed(*arguments: Any) -> None:
                written(*arguments)
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

            loop.write_checkpoint = killed
        return self.work(unit)


class KilledOnce:
    """An executor whose worker dies in its first run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def outcomes(
        self, work: Callable[[Any], Any], items: Iterable[Any]
    ) -> Iterator[Outcome[Any, Any]]:
        return Processes(1, threads=1).outcomes(Killed(work, self.mark), items)


@pytest.fixture(scope="module")
def trained(plan: CrossValidation) -> CrossValidation:
    mark = plan.folder.parent / "killed"
    report = train_folds(plan, executor=KilledOnce(mark))
    assert mark.exists()
    assert not report.failed
    assert set(report.done) == set(plan.units)
    return plan


def test_teachers_come_before_students(plan: CrossValidation) -> None:
    assert len(plan.units) == 4
    needs = {str(unit): [str(need) for need in plan.needs(unit)] for unit in plan.units}
    assert needs["fold2-seed0/distilled"] == ["fold2-seed0/teacher"]
    assert needs["fold2-seed0/teacher"] == []
    chain = plan.needs(FoldRun(2, 0, "distilled"), one_by_one=True)
    assert list(map(str, chain)) == ["fold2-seed0/teacher"]


def test_seeds_are_added_and_folds_are_left_out(plan: CrossValidation) -> None:
    shifted = plan.recipe_of(FoldRun(2, 5, "teacher"))
    assert shifted.data.validation == "2/2"
    assert {name: run.seed for name, run in shifted.runs.items()} == {"teacher": 12, "distilled": 5}


def test_a_killed_worker_resumes_to_the_same_weights(
    trained: CrossValidation, tmp_path: Path
) -> None:
    again = CrossValidation(
        tmp_path / "runs", trained.recipe, 2, (0,), trained.data, labels="brats2021"
    )
    train_folds(again, executor=Threads(1))
    for unit in again.units:
        ours, theirs = (
            Experiment.open(each.folder / unit.experiment).summary(unit.run)["weights_sha256"]
            for each in (again, trained)
        )
        assert ours == theirs
    report = train_folds(again, resume=True)
    assert (report.done, len(report.skipped)) == ([], 4)


def test_every_patient_is_scored_by_the_fold_that_left_it_out(
    trained: CrossValidation, tmp_path: Path
) -> None:
    facts = cross_validate(trained.folder, tmp_path / "scores", executor=Threads(1))
    assert facts == json.loads((tmp_path / "scores" / "cross_validation.json").read_text())
    assert list(facts["runs"]) == ["teacher", "distilled"]
    assert facts["studies"] == 3
    for unit in trained.units:
        experiment = Experiment.open(trained.folder / unit.experiment)
        model = tmp_path / "scores" / "models" / unit.experiment / unit.run / "model.json"
        for unseen in experiment.split["validation"]:
            summary = tmp_path / "scores" / "segmentations" / f"{unit.run}-seed0" / f"{unseen}.json"
            assert json.loads(summary.read_text())["model"]["sha256"] in model.read_text()
    assert "distilled" in (tmp_path / "scores" / "comparison.html").read_text()
    assert len((tmp_path / "scores" / "cross_validation.csv").read_text().splitlines()) == 7


def test_what_cannot_be_is_refused(trained: CrossValidation, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(OutputError, match="output exists"):
        train_folds(trained)
    with pytest.raises(CheckpointError, match="field folds, got 3, expected 2"):
        train_folds(replace(trained, folds=3), resume=True)
    with pytest.raises(StudyError):
        train_folds(replace(trained, folds=4, folder=tmp_path / "four"))
    assert not (tmp_path / "four").exists()
    with pytest.raises(CheckpointError, match="not a cross-validation"):
        cross_validate(tmp_path, tmp_path / "out")
