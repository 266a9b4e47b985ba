"""Items in processes of this machine."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gliodistill.pool.executor import Item, Outcome, Outcomes, Result
from gliodistill.pool.threads import Threads
from gliodistill.pool.worker import DEATHS, Reply, Worker, killed, outcome_of
from gliodistill.registry import loaded_plugins

Content = tuple[tuple[Path, ...], bytes]
"""What a child is started with: plug-ins, and the pickled work."""
_INTERRUPTED = 130
"""Exit code of a child after Ctrl-C."""
_starting = threading.Lock()
"""Held while the environment is a child's."""


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
            target=_serve, args=(theirs, self._content), daemon=True
        )
        with _environment_of(self._threads):
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


def _serve(pipe: "connection.Connection[Any, Any]", content: Content) -> None:
    """The life of a child. Ctrl-C interrupts the item being worked on, and idle children ignore it,
    so that they print no traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
def _environment_of(threads: int | None) -> Iterator[None]:
    """The environment that processes started here get. A child cannot set it itself: by then it has
    imported its caller's main module, which may have imported the libraries.
    """
    if threads is None:
        yield
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with _starting:
        before = {name: os.environ.get(name) for name in names}
        os.environ |= dict.fromkeys(names, str(threads))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


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
