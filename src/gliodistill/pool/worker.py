"""The worker's side of an executor whose items are worked on in other processes."""

import pickle
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError, GliodistillWarning, note
from gliodistill.pool.executor import Item, Outcome
from gliodistill.registry import load_plugin, loaded_plugins

DEATHS = 2
"""Workers that an item may end before it counts as failed."""


@dataclass(frozen=True)
class Reply:
    """What a worker sends for an item.

    Attributes:
        value: the result, if there is no error.
        error: raised by the work.
        notes: issued by it.
        seconds: it took.
    """

    value: Any
    error: Exception | None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Worker:
    """Calls ``work`` in a process of its own, for a driver elsewhere.

    Args:
        plugins: files to run first (:func:`~gliodistill.registry.load_plugin`).
        unpack: gives the work, on an item.
    """

    def __init__(self, plugins: Iterable[Path], unpack: Callable[[], Callable[[Any], Any]]) -> None:
        self._notes: list[str] = []
        for file in set(plugins) - set(loaded_plugins()):
            load_plugin(file)
        self._work = unpack()
        warnings.simplefilter("always", GliodistillWarning)
        shown = warnings.showwarning

        def keep(message: Any, category: Any, *rest: Any, **named: Any) -> None:
            if issubclass(category, GliodistillWarning):
                self._notes.append(str(message))
            else:
                shown(message, category, *rest, **named)

        warnings.showwarning = keep

    def call(self, item: Any) -> Reply:
        """Work on an item."""
        began = time.perf_counter()
        value, error = None, None
        try:
            value = self._work(item)
            pickle.dumps(value)
        except Exception as raised:
            error = _sendable(raised)
            value = None
        notes = tuple(self._notes)
        del self._notes[: len(notes)]
        return Reply(value, error, notes, time.perf_counter() - began)


def _sendable(error: Exception) -> Exception:
    """The error, or its text if it does not pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def outcome_of(item: Item, reply: Reply) -> Outcome[Item, Any]:
    """The outcome that a worker has sent; its notes are issued here."""
    for text in reply.notes:
        note(text)
    return Outcome(item, reply.value, reply.error)


def killed() -> GliodistillError:
    """The error of an item whose workers died."""
    return GliodistillError(
        "its worker died twice",
        hint="it may need more memory than there is; the others were finished",
    )
