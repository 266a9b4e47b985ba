"""Starts the worker processes, wakes them, ends them, and starts them again."""

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gliodistill.serve.jobs import RUNNING, Job, Jobs
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.steady import steadily

LOOK_S = 0.2
BACK_OFF_S = (0.0, 1.0, 5.0, 30.0)
"""Seconds before a worker that ended by itself is started again, the first, second, … time."""
STEADY_S = 60.0
"""A worker that lived so long counts as healthy."""


@dataclass
class _Worker:
    role: str
    kinds: Sequence[str]
    process: subprocess.Popen[str] | None = None
    began: float = 0.0
    deaths: int = 0
    due: float = 0.0
    blame: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)


class Supervisor:
    """The worker processes of a server.

    Args:
        settings: of the workers.
        jobs: the queue.
        roles: name → kinds of jobs that this worker does.
        limit_s: seconds after which a running job is ended.
    """

    def __init__(
        self,
        settings: WorkSettings,
        jobs: Jobs,
        roles: Mapping[str, Sequence[str]],
        limit_s: float = 3600.0,
    ) -> None:
        self._settings, self._jobs, self._limit_s = settings, jobs, limit_s
        self._workers = [_Worker(role, kinds) for role, kinds in roles.items()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the workers and watch them."""
        for worker in self._workers:
            self._start(worker)
        self._thread.start()

    def stop(self) -> None:
        """End the workers; a running job will be found again."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
        for worker in self._workers:
            with worker.lock:
                self._kill(worker)

    def wake(self) -> None:
        """Say that there is work."""
        for worker in self._workers:
            with worker.lock, suppress(OSError, ValueError):
                if worker.process is not None and worker.process.stdin is not None:
                    worker.process.stdin.write("\n")
                    worker.process.stdin.flush()

    def cancel(self, id: str) -> bool:
        """Cancel a job, whatever it is doing; whether it had not ended yet."""
        job = self._jobs.find(id)
        if job is None:
            return False
        running = job.state == RUNNING
        if not self._jobs.cancel(id):
            return False
        # Between the two lines above, a waiting job may have been begun.
        if running or (self._jobs.get(id).began is not None):
            self._end_job(job)
        return True

    @property
    def alive(self) -> dict[str, bool]:
        """Role → whether its process runs."""
        return {
            worker.role: worker.process is not None and worker.process.poll() is None
            for worker in self._workers
        }

    def _end_job(self, job: Job) -> None:
        for worker in self._workers:
            if job.kind in worker.kinds:
                with worker.lock:
                    self._kill(worker)
                    # Another job that it has just begun is not to blame.
                    self._jobs.recover(worker.kinds, blame=False)
                    self._start(worker)

    def _start(self, worker: _Worker) -> None:
        command = [sys.executable, "-m", "gliodistill.serve.worker", worker.role]
        worker.process = subprocess.Popen(
            [*command, self._settings.as_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the server, which ends it
        )
        worker.began = time.monotonic()

    def _kill(self, worker: _Worker) -> None:
        if worker.process is not None:
            worker.process.kill()
            worker.process.wait()
            with suppress(OSError):
                if worker.process.stdin is not None:
                    worker.process.stdin.close()
            worker.process = None

    def _watch(self) -> None:
        def once() -> None:
            for worker in self._workers:
                with worker.lock:
                    self._look_after(worker)
            self._end_long_ones()

        steadily(once, LOOK_S, self._ended)

    def _look_after(self, worker: _Worker) -> None:
        now = time.monotonic()
        if worker.process is not None and worker.process.poll() is not None:
            steady = now - worker.began > STEADY_S
            worker.deaths = 1 if steady else worker.deaths + 1
            worker.due = now + BACK_OFF_S[min(worker.deaths, len(BACK_OFF_S)) - 1]
            self._kill(worker)
        if worker.process is None and now >= worker.due:
            self._jobs.recover(worker.kinds)
            self._start(worker)

    def _end_long_ones(self) -> None:
        for job in self._jobs.running():
            if time.time() - (job.began or 0) > self._limit_s:
                error = {"message": f"took more than {self._limit_s:.0f} s and was ended"}
                if self._jobs.fail(job.id, error):
                    self._end_job(job)
