"""The worker: a process on a machine of the cluster that works on items as they are sent."""

import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gliodistill import __version__
from gliodistill.cluster.packing import Files, Packed, below, results_in
from gliodistill.errors import GliodistillError
from gliodistill.pool.worker import Reply, Worker

VERSIONS = f"gliodistill {__version__}, Python {sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Order:
    """What a worker is started with.

    Attributes:
        work: packed, on an item.
        files: those of the work, for machines without.
        plugins: files to run first.
        output: folder of the results, absolute.
        probe: a file in it, and its content: who sees it shares the folder.
        versions: of the driver.
    """

    work: Packed
    files: Files
    plugins: tuple[Path, ...]
    output: Path | None
    probe: tuple[Path, str] | None
    versions: str = VERSIONS


@dataclass(frozen=True)
class Answer:
    """The answer of a worker for one item.

    Attributes:
        reply: of the work; None if files are missing.
        made: its results, where the output folder is not shared.
    """

    reply: Reply | None
    made: Files | None = None


class Remote:
    """A worker of the cluster."""

    def start(self, order: Order) -> tuple[str, bool]:
        """Get ready: the machine's name, and whether it shares the output folder.

        Raises:
            GliodistillError: another version, or the work cannot be made ready.
        """
        if order.versions != VERSIONS:
            raise GliodistillError(
                "other versions on a machine of the cluster",
                file=socket.gethostname(),
                got=VERSIONS,
                expected=order.versions,
            )
        self._output, self._shares = order.output, order.output is None
        if order.probe is not None:
            path, content = order.probe
            try:
                self._shares = path.read_text() == content
            except OSError:
                self._shares = False
        self._temporary = tempfile.TemporaryDirectory(
            prefix="gliodistill-", ignore_cleanup_errors=True
        )
        self._scratch = Path(self._temporary.name)
        self._sent: set[str] = set()
        if order.work.missing():
            self._keep(order.files)
        if self._output is not None and not self._shares:
            below(self._scratch, str(self._output)).mkdir(parents=True)
        self._worker = Worker(order.plugins, lambda: order.work.unpack(self._place))
        return socket.gethostname(), self._shares

    def call(self, items: Sequence[Packed], files: Sequence[Files | None]) -> list[Answer]:
        """Work on items, with those of their files that are sent."""
        return [self._call(item, sent) for item, sent in zip(items, files, strict=True)]

    def _call(self, item: Packed, sent: Files | None) -> Answer:
        if sent is None and item.missing():
            return Answer(None)
        self._keep(sent or {})
        try:
            reply = self._worker.call(item.unpack(self._place))
        finally:
            for path in sent or {}:
                below(self._scratch, path).unlink(missing_ok=True)
                self._sent.discard(path)
        if self._shares or self._output is None:
            return Answer(reply)
        return Answer(reply, results_in(below(self._scratch, str(self._output))))

    def close(self) -> None:
        """Remove what was sent."""
        self._temporary.cleanup()

    def _keep(self, files: Files) -> None:
        for path, content in files.items():
            target = below(self._scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self._sent.add(path)

    def _place(self, path: str) -> Path:
        """Where a path of the driver is here."""
        inside = self._output is not None and Path(path).is_relative_to(self._output)
        below_sent = path in self._sent or any(sent.startswith(f"{path}/") for sent in self._sent)
        if below_sent or (inside and not self._shares):
            return below(self._scratch, path)
        return Path(path)
