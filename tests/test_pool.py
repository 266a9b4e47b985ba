"""Work on many items: outcomes, order, and workers that die."""

import os
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from deadly import Deadly
from gliodistill.errors import GliodistillError, GliodistillWarning, note
from gliodistill.evaluation.pairs import ComparisonError
from gliodistill.pool import Executor, Processes, Threads, in_order


def work(item: int) -> int:
    """Odd numbers are errors, and 4 is worth a note."""
    if item % 2:
        raise GliodistillError("odd", field="item", got=item)
    if item == 4:
        note("four")
    return item * item


@pytest.mark.parametrize("executor", [Threads(1), Threads(3), Processes(2)], ids=repr)
def test_every_item_has_one_outcome_and_errors_arrive_as_they_were_raised(
    executor: Executor,
) -> None:
    with pytest.warns(GliodistillWarning, match="four"):
        outcomes = {o.item: o for o in executor.outcomes(work, range(6))}
    assert {item: outcomes[item].value for item in (0, 2, 4)} == {0: 0, 2: 4, 4: 16}
    for item in (1, 3, 5):
        error = outcomes[item].problem("x")
        assert str(error) == f"odd (field item, got {item})"
        assert error is not None and error.field == "item"


def test_a_worker_that_dies_is_replaced_and_an_item_that_kills_two_has_failed(
    tmp_path: Path,
) -> None:
    done = Processes(2, threads=1).outcomes(Deadly(tmp_path), [0, -1, 2, 4])
    outcomes = {outcome.item: outcome for outcome in done}
    assert len(outcomes) == 4
    assert all(outcomes[item].error is None for item in (0, 2, 4))
    assert outcomes[0].value != os.getpid()
    assert "died twice" in str(outcomes[-1].error)


def test_a_caller_that_imports_libraries_has_children_with_the_threads_asked_for(
    tmp_path: Path,
) -> None:
    script = tmp_path / "caller.py"
    script.write_text(
        "import os\n"
        "import numpy\n"
        "from gliodistill.pool import Processes\n"
        "AT_IMPORT = os.environ.get('OMP_NUM_THREADS')\n"
        "def work(item):\n"
        "    return AT_IMPORT\n"
        "if __name__ == '__main__':\n"
        "    (outcome,) = Processes(1, threads=3).outcomes(work, [0])\n"
        "    print(outcome.value, AT_IMPORT, os.environ.get('OMP_NUM_THREADS'))\n"
    )
    environment = {
        **os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "2", "2"]


def test_items_wait_for_those_they_need_and_fail_with_them() -> None:
    needs = {1: (), 2: (), 10: (2,), 11: (1,), 12: (11,), 20: (10, 2)}
    seen: list[int] = []

    def noted(item: int) -> int:
        seen.append(item)
        return work(item)

    outcomes = {o.item: o for o in in_order(Threads(2), noted, list(needs), needs.__getitem__)}
    assert set(outcomes) == set(needs)
    assert set(seen) == {1, 2, 10, 20}
    assert seen.index(2) < seen.index(10) < seen.index(20)
    assert "needs what failed (got 1)" in str(outcomes[11].error)
    assert "needs what failed (got 11)" in str(outcomes[12].error)


def test_a_queue_may_grow() -> None:
    todo = deque([2])
    found = []
    for outcome in Threads(2).outcomes(work, todo):
        found.append(outcome.item)
        if outcome.item < 8:
            todo.append(outcome.item + 2)
    assert found == [2, 4, 6, 8]


def test_errors_with_arguments_of_their_own_can_be_sent() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ComparisonError(Path("p"), ["one", "two"])))
    assert error.problems == ("one", "two")
    assert str(error) == "p: cannot compare with the reference, 2 problems: one | two"
