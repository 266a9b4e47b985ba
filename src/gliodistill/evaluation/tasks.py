"""The regions that are scored of each task, as unions of tissues.

A task is named as the challenge names it (``gli``, ``met``, …), as it ships (``glioma-post``), or
by the path of a user's own file (:mod:`gliodistill.tasks`).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError, LabelError
from gliodistill.studies.labels import LabelConvention
from gliodistill.tasks.catalogue import find_task, is_shipped, shipped_tasks
from gliodistill.tasks.task import Task

Regions = Mapping[str, frozenset[str]]
"""Region → the tissues whose union it is."""


@cache
def challenges() -> dict[str, Task]:
    """Name of a challenge → its task; ``gli`` and ``ssa`` (sub-Saharan Africa) are one task."""
    tasks = [find_task(name) for name in shipped_tasks()]
    return {name: task for task in tasks for name in task.evaluation.challenges}


def scored_task(name: str) -> tuple[Task, str]:
    """A task, and the challenge whose rules apply; for one without a challenge, its own name.

    Raises:
        EvaluationError: an unknown task; the valid names are listed.
        LabelError: a user's own file that does not fit.
    """
    if name in challenges():
        return challenges()[name], name
    if name in _OWN:
        return _OWN[name], name
    try:
        task = find_task(name)
    except LabelError as error:
        if error.problem != "no such task":
            raise
        expected = (*challenges(), *shipped_tasks(), "the path of a YAML file")
        raise EvaluationError(
            "unknown task", field="task", got=repr(name), expected=", ".join(expected)
        ) from None
    own = task.evaluation.challenges
    return task, own[0] if own else task.name


_OWN: dict[str, Task] = {}
"""Tasks of users' own files, by name."""


def bring(task: Task) -> str:
    """The name of a task, by which :func:`scored_task` finds it from now on.

    Raises:
        EvaluationError: another task has that name.
    """
    taken = task.name in challenges() or task.name in shipped_tasks()
    if taken and not is_shipped(task):
        raise EvaluationError(
            "a task with the name of another",
            field="task",
            got=task.name,
            expected="a name of its own",
        )
    if not taken:
        _OWN[task.name] = task
    return task.name


def region_masks(
    labels: NDArray[Any], convention: LabelConvention, regions: Sequence[frozenset[str]]
) -> NDArray[np.bool_]:
    """Codes on X Y Z → one mask per region, bool on R X Y Z.

    Raises:
        LabelError: a code that ``convention`` does not know.
    """
    convention.check(labels)
    # A few comparisons are ten times faster than a lookup table.
    codes = np.ascontiguousarray(labels)
    masks = np.zeros((len(regions), *labels.shape), dtype=bool)
    for mask, tissues in zip(masks, regions, strict=True):
        for code, tissue in convention.codes.items():
            if tissue in tissues:
                mask |= codes == code
    return masks
