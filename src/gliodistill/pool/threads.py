"""Items in threads of this process."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass

from gliodistill.pool.executor import Item, Outcome, Outcomes, Result, queue_of


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
