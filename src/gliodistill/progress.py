"""Progress of long work on standard error: bars on a terminal, occasional lines elsewhere.

Elsewhere (``nohup``, Slurm, a pipe) work of less than :data:`EVERY` seconds prints nothing. Longer
work prints a line every so many seconds, and a last line at the end::

    segmenting studies: 12 of 40 in 6:02, 14:04 left
    training teacher: 120 of 1200 in 2:30, 22:30 left; loss 0.412, best Dice 0.713

Within one piece of work, :func:`stage` says what begins, to whoever listens (:func:`listening`).
"""

import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
EVERY = 30.0
"""Seconds between two lines."""
SOONEST = 0.01
"""Least number of seconds between two lines."""


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def stage(name: str) -> None:
    """Say that a stage begins, e.g. ``"align"``; nobody listens unless asked to."""
    if (listener := _listener.get()) is not None:
        listener(name)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call ``listener`` with the name of every stage that begins within the block.

    Threads hear it where they run in a copy of the context (``contextvars.copy_context``).
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Update(Protocol):
    """Reports the progress of a task."""

    def __call__(self, task: str, done: int, note: str = "") -> None:
        """``done`` items of ``task`` are finished; ``note`` is shown with it, e.g. the loss."""
        ...


def track(
    items: Iterable[Item], what: str, total: int | None = None, every: float = EVERY
) -> Generator[Item, None, None]:
    """Yield ``items`` and show how many are done.

    Args:
        items: to iterate over.
        what: a verb and noun, e.g. ``"preparing studies"``.
        total: number of items, if ``items`` has no length.
        every: seconds between two lines if standard error is no terminal.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if total == 0:
        yield from items
        return
    with showing({what: total}, every) as update:
        update(what, 0)
        for done, item in enumerate(items, 1):
            yield item
            update(what, done)


@contextmanager
def showing(
    tasks: Mapping[str, int | None], every: float = EVERY, keep: bool = False
) -> Iterator[Update]:
    """Show tasks within the block; each begins with its first update.

    Args:
        tasks: what is done (a verb and noun) → its number of items, or None if unknown.
        every: seconds between two lines if standard error is no terminal.
        keep: keep the bars on the terminal at the end.
    """
    display = _Bars(tasks, keep) if _on_terminal() else _Lines(tasks, every)
    try:
        yield display.update
    finally:
        display.close()


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # standard error is closed
        return False


class _Bars:
    """One bar per task, shown from its first update; nested bars are shown below."""

    _outermost: ClassVar["Progress | None"] = None

    def __init__(self, tasks: Mapping[str, int | None], keep: bool) -> None:
        self._owner = _Bars._outermost is None
        self._progress = _Bars._outermost = _Bars._outermost or _new_bars(keep)
        self._ids = {
            task: self._progress.add_task(task, total=total, note="", start=False)
            for task, total in tasks.items()
        }
        self._started: set[str] = set()

    def update(self, task: str, done: int, note: str = "") -> None:
        self._progress.start()
        if task not in self._started:
            self._started.add(task)
            self._progress.start_task(self._ids[task])
        self._progress.update(self._ids[task], completed=done, note=note)

    def close(self) -> None:
        if self._owner:
            _Bars._outermost = None
            self._progress.stop()
        else:
            for id in self._ids.values():
                self._progress.remove_task(id)


def _new_bars(keep: bool) -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=not keep,
    )


class _Lines:
    """A thread that prints the progress of the current task."""

    def __init__(self, tasks: Mapping[str, int | None], every: float) -> None:
        self._totals, self._every = dict(tasks), max(every, SOONEST)
        self._lock = threading.Lock()
        self._task: str | None = None
        self._first = self._done = 0
        self._note = ""
        self._began = self._due = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def update(self, task: str, done: int, note: str = "") -> None:
        with self._lock:
            if task != self._task:
                self._end_task()
                self._task, self._first, self._began = task, done, time.monotonic()
                self._due = self._began + self._every
            elif (
                done > self._done == self._first
            ):  # the first step: a resumed task was further than 0
                self._first = done - 1
            self._done, self._note = done, note
            if done == self._totals[task]:
                self._end_task()
        if not self._thread.ident:
            self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
        self._end_task()

    def _watch(self) -> None:
        wait = self._every
        while not self._ended.wait(wait):
            with self._lock:
                now = time.monotonic()
                if self._task is not None and now >= self._due:
                    self._say()
                    self._due = now + self._every
                wait = max(self._due - now, SOONEST) if self._task is not None else self._every

    def _end_task(self) -> None:
        """Print the last line of a long task."""
        if self._task is not None and time.monotonic() - self._began >= self._every:
            self._say()
        self._task = None

    def _say(self) -> None:
        assert self._task is not None
        total, seconds = self._totals[self._task], time.monotonic() - self._began
        line = f"{self._task}: {self._done}{'' if total is None else f' of {total}'}"
        line += f" in {_clock(seconds)}"
        fresh = self._done - self._first
        if total is not None and fresh > 0 and self._done < total:
            line += f", {_clock(seconds / fresh * (total - self._done))} left"
        if self._note:
            line += f"; {self._note}"
        with suppress(
            OSError, ValueError, AttributeError
        ):  # standard error is closed: the work continues
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    """``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
