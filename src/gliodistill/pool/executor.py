"""What an executor is: items in, an outcome for each out; and what works with any executor."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gliodistill.errors import GliodistillError
from gliodistill.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


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
