"""The tasks that ship, and a user's own by the path of its file."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gliodistill.documents.yaml_text import read_yaml
from gliodistill.errors import LabelError
from gliodistill.registry import nearest
from gliodistill.tasks.conventions import LabelConvention
from gliodistill.tasks.description import NOT_A_TASK, task_of
from gliodistill.tasks.task import Task

FOLDER = Path(__file__).parent / "shipped"
DEFAULT = "glioma"
"""The task of recipes and models that name none."""


def shipped_tasks() -> dict[str, Path]:
    """The files of the shipped tasks by name; the default is first."""
    files = sorted(FOLDER.glob("*.yaml"), key=lambda file: (file.stem != DEFAULT, file.stem))
    return {file.stem: file for file in files}


def find_task(task: "Task | str | os.PathLike[str] | Mapping[str, Any]") -> Task:
    """A task by name, by the path of its YAML file, or by its description.

    Raises:
        LabelError: no such task (the shipped names are listed), or a description that does not fit.
    """
    if isinstance(task, Task):
        return task
    if isinstance(task, Mapping):
        return _seen(task_of(dict(task)))
    if str(task) in shipped_tasks():
        return shipped_task(str(task))
    path = Path(task)
    if path.is_file():
        return read_task(path)
    raise LabelError(
        "no such task",
        field="task",
        got=str(task),
        expected=f"{', '.join(shipped_tasks())}, or the path of a YAML file",
        hint=nearest(str(task), shipped_tasks()),
    )


@cache
def shipped_task(name: str) -> Task:
    """A shipped task, read once."""
    return read_task(shipped_tasks()[name])


def read_task(path: Path) -> Task:
    """The task that a YAML file describes.

    Raises:
        LabelError: it cannot be read or does not fit; file and key are named.
    """
    return _seen(task_of(read_yaml(path, NOT_A_TASK), NOT_A_TASK.of(path)))


_OWN: dict[str, Task] = {}
"""Tasks that are read so far, by name: a user's own among them."""


def _seen(task: Task) -> Task:
    _OWN[task.name] = task
    return task


def known_regions() -> tuple[str, ...]:
    """The regions of all shipped tasks, and of a user's own that a recipe has named so far."""
    every = [*(shipped_task(name) for name in shipped_tasks()), *_OWN.values()]
    return tuple(dict.fromkeys(name for task in every for name in task.names))


def glioma() -> Task:
    """The default task."""
    return shipped_task(DEFAULT)


def is_shipped(task: Task) -> bool:
    """Whether a task is a shipped one as it ships, so that its name says all."""
    return task.name in shipped_tasks() and shipped_task(task.name) == task


def fitting(convention: LabelConvention, kinds: set[str] | frozenset[str]) -> list[str]:
    """The shipped tasks whose references are coded so.

    Args:
        convention: of the label maps.
        kinds: of their case ids, as GLI in BraTS-GLI-00001-000; empty if they have none.
    """
    tasks = [shipped_task(name) for name in shipped_tasks()]
    coded = [task for task in tasks if convention in task.conventions]
    named = [task for task in coded if kinds and kinds <= set(task.ids)]
    return [task.name for task in named or coded]


__all__ = [
    "DEFAULT",
    "find_task",
    "fitting",
    "glioma",
    "is_shipped",
    "known_regions",
    "read_task",
    "shipped_tasks",
]
