"""An executor whose workers are processes on the machines of a Ray cluster.

The driver keeps the queue: a worker gets an item when it is free, so fast machines do more. Workers
that die are replaced, machines that join are used. An item whose worker died is tried again, alone
in its worker; if that dies too, the item has failed. An item of a machine that is lost goes back
into the queue.
"""

import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from gliodistill import __version__
from gliodistill.cluster.packing import Files, Packed, deliver, pack
from gliodistill.cluster.worker import Answer, Order, Remote
from gliodistill.errors import GliodistillError, note
from gliodistill.extras import load
from gliodistill.files import make_folder
from gliodistill.locks import lock
from gliodistill.pool.executor import Item, Outcome, Outcomes, Result, queue_of
from gliodistill.pool.worker import DEATHS, Reply, killed, outcome_of
from gliodistill.registry import loaded_plugins

POLL_S = 1.0
"""Seconds between two requests for the list of machines."""
BATCH_S, BATCH = 0.2, 16
"""Items that are shorter are sent together: seconds of a batch, and most items in it."""
STARTS, START_S = 5, 300.0
"""Workers that may die at their start on a machine before it is left out, and seconds after which
one that has not started is given up.
"""


@dataclass
class NodeShare:
    """What a machine has done.

    Attributes:
        items: finished.
        seconds: of work, summed over its workers.
    """

    items: int = 0
    seconds: float = 0.0


@dataclass
class _Task:
    """An item of the queue.

    Attributes:
        item: as given.
        packed: what is sent.
        deaths: of workers while it was worked on.
    """

    item: Any
    packed: Packed
    deaths: int = 0


@dataclass(eq=False)
class _Slot:
    """A worker, or the place of one that starts.

    Attributes:
        node: id of its machine.
        actor: its handle.
        host: name of the machine; empty until it has started.
        shares: whether the machine shares the output folder.
        ships: whether items are sent with their files.
        calls: that it is working on.
        alone: whether it works on an item that a worker has died of.
        since: when it was asked to start (monotonic).
    """

    node: str
    actor: Any
    host: str = ""
    shares: bool = True
    ships: bool = False
    calls: int = 0
    alone: bool = False
    since: float = field(default_factory=time.monotonic)


@dataclass
class _State:
    """Workers and calls of one use of the executor."""

    order: Any
    slots: list[_Slot] = field(default_factory=list)
    starting: dict[Any, _Slot] = field(default_factory=dict)
    calls: dict[Any, tuple[_Slot, list[_Task]]] = field(default_factory=dict)
    suspects: deque[_Task] = field(default_factory=deque)
    again: deque[_Task] = field(default_factory=deque)
    failed_starts: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    looked: float = 0.0


class Cluster:
    """A connection to a Ray cluster.

    Args:
        address: ``auto`` for the cluster that this machine belongs to, or ``ray://HOST:PORT``.
        output: folder of the results. On machines that do not share it, workers write into a folder
            of their own, and the driver writes what they send.
        cpus: cores of each worker; None = a worker for each machine, with all its cores.
        gpus: of each worker.
        at_once: items at once in each worker.
        shared: leave out machines that do not share the output folder.

    Attributes:
        shares: machine → what it has done.

    Raises:
        GliodistillError: Ray is not installed, or no cluster is there.
    """

    def __init__(
        self,
        address: str,
        output: str | os.PathLike[str] | None = None,
        *,
        cpus: int | None = 1,
        gpus: int = 0,
        at_once: int = 1,
        shared: bool = False,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        self._ray = load("ray", "--cluster", extra="cluster")
        if address != "auto" and not address.startswith("ray://"):
            raise GliodistillError(
                "no address of a cluster",
                field="--cluster",
                got=address,
                expected="auto, or ray://HOST:PORT",
            )
        self._output = None if output is None else Path(os.path.abspath(output))  # noqa: PTH100
        self._cpus, self._gpus, self._at_once, self._shared = cpus, gpus, at_once, shared
        self.shares: dict[str, NodeShare] = {}
        self._mean_s: float | None = None
        _connect(self._ray, address)
        self._seconds = 0.0

    def summary(self) -> list[str]:
        """A line for each machine: what it has done, and how fast."""
        return [
            f"{host}: {share.items} done, {60 * share.items / max(self._seconds, 1e-9):.1f} a"
            f" minute, {share.seconds / max(share.items, 1):.2f} s each"
            for host, share in sorted(self.shares.items())
        ]

    def outcomes(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Outcomes[Item, Result]:
        """As :meth:`gliodistill.pool.Executor.outcomes`.

        Raises:
            GliodistillError: something cannot be sent, or no machine can work.
        """
        todo, began = queue_of(items), time.perf_counter()
        with self._probe() as probe:
            packed = pack(work, self._output, folders=True)
            order = Order(packed, packed.files(), loaded_plugins(), self._output, probe)
            try:
                state = _State(self._ray.put(order))
            except ImportError as error:  # with ray://, the cluster unpacks it
                raise GliodistillError(
                    "the cluster has no gliodistill, or another version", field="--cluster",
                    got=error, expected=f"gliodistill {__version__} on every machine",
                    hint="install it there, and start Ray from that environment",
                ) from error  # fmt: skip
            try:
                while todo or state.again or state.suspects or state.calls:
                    self._staff(state, len(todo) + len(state.again) + len(state.suspects))
                    self._give_up(state)
                    self._assign(state, todo)
                    waited = [*state.calls, *state.starting]
                    if not waited:
                        time.sleep(POLL_S)
                        continue
                    done, _ = self._ray.wait(waited, num_returns=1, timeout=POLL_S)
                    for call in done:
                        if call in state.starting:
                            self._started(state, call)
                        else:
                            yield from self._ended(state, call)
            finally:
                self._seconds += time.perf_counter() - began
                for slot in [*state.slots, *state.starting.values()]:
                    with suppress(Exception):
                        self._ray.kill(slot.actor)

    @contextmanager
    def _probe(self) -> Iterator[tuple[Path, str] | None]:
        """A file in the output folder, by which machines see whether they share it."""
        if self._output is None:
            yield None
            return
        path = make_folder(self._output) / f".{secrets.token_hex(4)}.partial"
        with lock(path, self._output):
            yield path, path.read_text()

    def _staff(self, state: _State, waiting: int) -> None:
        """Start workers on machines that have room, if there is more work than workers."""
        if time.monotonic() - state.looked < POLL_S and state.slots:
            return
        state.looked = time.monotonic()
        there = [*state.slots, *state.starting.values()]
        free = waiting - sum(self._at_once - slot.calls for slot in there)
        usable = False
        for node in self._ray.nodes():
            id, cores = node["NodeID"], int(node["Resources"].get("CPU", 0))
            if not node["Alive"] or cores < 1 or id in state.refused:
                continue
            usable = True
            cpus = min(self._cpus or cores, cores)
            room = cores // cpus
            if self._gpus:
                room = min(room, int(node["Resources"].get("GPU", 0)) // self._gpus)
            for _ in range(room - sum(slot.node == id for slot in there)):
                if free <= 0:
                    break
                free -= self._at_once
                actor = self._actor(id, cpus)
                call = actor.start.remote(state.order)
                state.starting[call] = _Slot(id, actor)
        if not usable and not there:
            why = next(iter(state.refused.values()), "no machine with processors")
            raise GliodistillError(
                "no machine of the cluster can work", field="--cluster", got=why,
                hint="every machine needs the same version and, for --folds, the folder",
            )  # fmt: skip

    def _actor(self, node: str, cpus: int) -> Any:
        strategies = load("ray.util.scheduling_strategies", "--cluster", extra="cluster")
        made = self._ray.remote(Remote).options(
            num_cpus=cpus,
            num_gpus=self._gpus,
            max_concurrency=self._at_once,
            max_restarts=0,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node, soft=False),
        )
        return made.remote()

    def _give_up(self, state: _State) -> None:
        """End workers that do not start, and leave out their machines."""
        late = time.monotonic() - START_S
        for call, slot in list(state.starting.items()):
            if slot.since < late:
                del state.starting[call]
                state.refused[slot.node] = f"no worker has started within {START_S:g} s"
                with suppress(Exception):
                    self._ray.kill(slot.actor)

    def _started(self, state: _State, call: Any) -> None:
        slot = state.starting.pop(call)
        try:
            slot.host, slot.shares = self._ray.get(call)
            if self._shared and not slot.shares:
                raise GliodistillError("folder is not shared", file=slot.host, got=self._output)
        except (self._ray.exceptions.RayTaskError, GliodistillError) as error:
            why = getattr(error, "cause", error)
            state.refused[slot.node] = str(why)
            note(f"a machine of the cluster cannot work: {why}")
        except self._ray.exceptions.RayError as error:
            state.failed_starts[slot.node] = state.failed_starts.get(slot.node, 0) + 1
            if state.failed_starts[slot.node] >= STARTS:
                state.refused[slot.node] = _last_line(error)
        else:
            slot.ships = not slot.shares
            state.slots.append(slot)
            self.shares.setdefault(slot.host, NodeShare())

    def _assign(self, state: _State, todo: deque[Any]) -> None:
        """Give free workers items: those that a worker has died of alone, then the others."""
        for slot in state.slots:
            if state.suspects and not slot.calls:
                slot.alone = True
                self._send(state, slot, [state.suspects.popleft()])
            room = 1 if slot.ships else self._at_once
            while not slot.alone and slot.calls < room and (todo or state.again):
                batch = []
                for _ in range(self._batch(slot, len(todo), len(state.slots))):
                    if state.again:
                        batch.append(state.again.popleft())
                    elif todo:
                        batch.append(_Task(item := todo.popleft(), pack(item, self._output)))
                self._send(state, slot, batch)

    def _batch(self, slot: _Slot, waiting: int, workers: int) -> int:
        """Items to send at once: several if they are short and many."""
        if self._mean_s is None or slot.ships:
            return 1
        fair = waiting // (4 * workers * self._at_once)
        return max(1, min(BATCH, int(BATCH_S / max(self._mean_s, 1e-3)), fair))

    def _send(self, state: _State, slot: _Slot, tasks: list[_Task]) -> None:
        slot.calls += 1
        files: list[Files | None] = [task.packed.files() if slot.ships else None for task in tasks]
        call = slot.actor.call.remote([task.packed for task in tasks], files)
        state.calls[call] = slot, tasks

    def _ended(self, state: _State, call: Any) -> Iterator[Outcome[Any, Any]]:
        slot, tasks = state.calls.pop(call)
        slot.calls -= 1
        slot.alone = False
        try:
            answers: list[Answer] = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            for task in tasks:
                yield Outcome(task.item, None, _told(error))
        except self._ray.exceptions.RayError:
            yield from self._lost(state, slot, tasks)
        else:
            for task, answer in zip(tasks, answers, strict=True):
                if answer.reply is None:  # the machine lacks its files
                    slot.ships = True
                    state.again.append(task)
                else:
                    yield self._received(slot, task, answer.reply, answer.made)

    def _received(
        self, slot: _Slot, task: _Task, reply: Reply, made: Files | None
    ) -> Outcome[Any, Any]:
        if made and self._output is not None:
            try:
                deliver(made, self._output)
            except GliodistillError as error:
                return Outcome(task.item, None, error)
        share = self.shares[slot.host]
        share.items += 1
        share.seconds += reply.seconds
        before = self._mean_s if self._mean_s is not None else reply.seconds
        self._mean_s = 0.8 * before + 0.2 * reply.seconds
        return outcome_of(task.item, reply)

    def _lost(self, state: _State, slot: _Slot, tasks: list[_Task]) -> Iterator[Outcome[Any, Any]]:
        """A worker has died: its items are tried again, or have failed."""
        if slot in state.slots:
            state.slots.remove(slot)
        state.looked = 0.0
        with suppress(Exception):  # it may only be out of reach
            self._ray.kill(slot.actor)
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        for task in tasks:
            if slot.node not in alive:
                state.again.append(task)
                continue
            task.deaths += 1
            if task.deaths >= DEATHS:
                yield Outcome(task.item, None, killed())
            else:
                state.suspects.append(task)


def _connect(ray: ModuleType, address: str) -> None:
    if ray.is_initialized():
        return
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise GliodistillError(
            "no Ray cluster",
            field="--cluster",
            got=address,
            expected="a cluster that runs",
            hint="start one with: ray start --head --disable-usage-stats",
        ) from error


def _last_line(error: Exception) -> str:
    """What happened, without Ray's frames and colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)


def _told(error: Any) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, Exception) else RuntimeError(str(error))
