"""Work on many items: in threads, in processes, or where another executor runs it.

An executor takes items from a queue and yields an outcome for each, as they end. The queue may
grow while outcomes are consumed, so that items can wait for others. An error of one item is its
outcome and stops no other.
"""

import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from gliodistill.errors import GliodistillError, GliodistillWarning, note
from gliodistill.progress import track
from gliodistill.registry import load_plugin, loaded_plugins

Content = tuple[tuple[Path, ...], bytes]
"""What a child is started with: plug-ins, and the pickled work."""
Item = TypeVar("Item")
Result = TypeVar("Result")
DEATHS = 2
"""Workers that an item may end before it counts as failed."""
_INTERRUPTED = 130
"""Exit code of a child after Ctrl-C."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """The end of one item.

    Attributes:
        item: worked on.
        value: returned for it; None after an error.
        error: raised by it.
    """

    item: Item
    value: Result | None = None
    error: Exception | None = None

    def get(self) -> Result:
        """The value, or its error raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]

    def problem(self, name: str) -> GliodistillError | None:
        """The error in one line, also an unexpected one; None without."""
        if self.error is None or isinstance(self.error, GliodistillError):
            return self.error
        text = f"{type(self.error).__name__}: {self.error}"
        return GliodistillError("unforeseen failure", file=name, got=text)


Outcomes = Generator[Outcome[Item, Result], None, None]


class Executor(Protocol):
    """Where items are worked on."""

    def outcomes(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Outcomes[Item, Result]:
        """Work on all ``items``, in their order, several at once.

        Args:
            work: called once per item; for other processes it must pickle, as must the items.
            items: a deque is emptied, and may grow until the last outcome was consumed.
        """
        ...


def queue_of(items: Iterable[Item]) -> deque[Item]:
    """``items`` itself if it is a queue."""
    return items if isinstance(items, deque) else deque(items)


@contextmanager
def tracked(
    outcomes: Outcomes[Item, Result], what: str, total: int
) -> Iterator[Iterator[Outcome[Item, Result]]]:
    """Outcomes with a progress bar; at the end of the block, also by an error, what is running ends
    and nothing more begins.

    Args:
        outcomes: of an executor.
        what: a verb and noun, e.g. ``"preparing studies"``.
        total: number of items.
    """
    with closing(outcomes), closing(track(outcomes, what, total=total)) as shown:
        yield shown


@dataclass(frozen=True)
class Threads:
    """Threads of this process (one item at once: no thread): for work that releases the GIL;
    nothing is copied, and a kill leaves no process behind.

    Attributes:
        count: items at once; None = one per core.
    """

    count: int | None = None

    def outcomes(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Outcomes[Item, Result]:
        """As :meth:`Executor.outcomes`."""
        todo, count = queue_of(items), self.count or os.cpu_count() or 1
        if count == 1:
            while todo:
                yield _outcome(work, todo.popleft())
            return
        running: dict[Future[Result], Item] = {}
        with ThreadPoolExecutor(count) as pool:
            try:
                while todo or running:
                    while todo and len(running) < 2 * count:  # no thread waits for this one
                        item = todo.popleft()
                        running[pool.submit(copy_context().run, work, item)] = item
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        item, error = running.pop(future), future.exception()
                        if error is None:
                            yield Outcome(item, future.result())
                        elif isinstance(error, Exception):
                            yield Outcome(item, None, error)
                        else:
                            raise error
            finally:
                pool.shutdown(cancel_futures=True)


def _outcome(work: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, work(item))
    except Exception as error:
        return Outcome(item, None, error)


def in_order(
    executor: Executor,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    needs: Callable[[Item], Iterable[Item]],
) -> Outcomes[Item, Result]:
    """As :meth:`Executor.outcomes`, each item after those that it needs. An item that needs one
    that failed fails too.

    Args:
        executor: where.
        work: on an item.
        items: hashable; each after those that it needs.
        needs: items of ``items`` that an item needs.
    """
    waiting = {item: set(needs(item)) & set(items) for item in items}
    ready = deque(item for item, others in waiting.items() if not others)
    for item in ready:
        del waiting[item]
    with closing(executor.outcomes(work, ready)) as outcomes:
        for outcome in outcomes:
            yield outcome
            if outcome.error is not None:
                continue  # others wait for it for ever
            for item in [item for item, others in waiting.items() if outcome.item in others]:
                waiting[item].discard(outcome.item)
                if not waiting[item]:
                    del waiting[item]
                    ready.append(item)
    for item, others in waiting.items():
        missing = ", ".join(map(str, others))
        error = GliodistillError("needs what failed", file=str(item), got=missing)
        yield Outcome(item, None, error)


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


@dataclass(frozen=True)
class Processes:
    """Processes of this machine: for work that holds the GIL, or may end its process.

    A worker that dies is replaced, and its item worked on again; once more, and the item failed.

    Attributes:
        count: items at once; None = one per core.
        threads: of the numerical libraries in each; None = theirs.
    """

    count: int | None = None
    threads: int | None = None

    def outcomes(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Outcomes[Item, Result]:
        """As :meth:`Executor.outcomes`."""
        count = self.count or os.cpu_count() or 1
        content = (loaded_plugins(), pickle.dumps(work))
        idle = SimpleQueue["_Child"]()
        with _ignoring_interrupts():
            children = [_Child(content, self.threads) for _ in range(count)]
        for child in children:
            idle.put(child)

        def call(item: Item) -> Reply:
            child = idle.get()
            try:
                for _ in range(DEATHS):
                    if (reply := child.call(item)) is not None:
                        return reply
                    child.start()
                raise killed()
            finally:
                idle.put(child)

        try:
            with closing(Threads(count).outcomes(call, items)) as outcomes:
                for outcome in outcomes:
                    if outcome.error is not None:
                        yield Outcome(outcome.item, None, outcome.error)
                    else:
                        yield outcome_of(outcome.item, outcome.get())
        finally:
            for child in children:
                child.stop()


class _Child:
    """A process that works on one item after the other."""

    def __init__(self, content: Content, threads: int | None) -> None:
        self._content, self._threads = content, threads
        self.start()

    def start(self) -> None:
        """Start the process, instead of one that has died."""
        # Spawned, not forked: the caller may run threads (torch, BLAS), which do not survive a
        # fork.
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, self._content, self._threads), daemon=True
        )
        self._process.start()
        theirs.close()

    def call(self, item: Any) -> Reply | None:
        """The reply; None if the process has died."""
        try:
            self._pipe.send(item)
            reply: Reply = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            if self._process.exitcode == _INTERRUPTED:
                raise KeyboardInterrupt from None
            return None
        return reply

    def stop(self) -> None:
        """Let the process end."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: "connection.Connection[Any, Any]", content: Content, threads: int | None) -> None:
    """The life of a child. Ctrl-C interrupts the item being worked on, and idle children ignore it,
    so that they print no traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads is not None:  # before the work imports the libraries
        os.environ |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    threading.Thread(target=_end_with_parent, daemon=True).start()
    plugins, work = content
    worker = Worker(plugins, partial(pickle.loads, work))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            reply = worker.call(item)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        pipe.send(reply)


def _end_with_parent() -> None:
    """A kill of the parent leaves no process behind."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started here ignore Ctrl-C until they handle it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled by the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
