"""The worker process: takes jobs from the queue one by one, and ends when its server does.

Started by :mod:`~gliodistill.serve.supervisor` with a pipe as standard input. A line on it means
that there is work; its end means that the server has gone, however it ended.
"""

import os
import sys
import threading
import traceback

from gliodistill.allocator import reuse_memory
from gliodistill.errors import GliodistillError
from gliodistill.locks import lock
from gliodistill.progress import listening
from gliodistill.serve.jobs import Handler, Job, Jobs
from gliodistill.serve.places import Places
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.telling import told

LOOK_S = 2.0
"""Seconds between two looks at the queue, should a line be lost."""


def main() -> None:
    """``python -m gliodistill.serve.worker ROLE SETTINGS``."""
    reuse_memory()
    role, settings = sys.argv[1], WorkSettings.of_json(sys.argv[2])
    waking = threading.Event()
    threading.Thread(target=_listen, args=(waking,), daemon=True).start()
    places = Places(settings.root)
    os.environ["TMPDIR"] = str(places.temporary)
    # The worker before, if it still dies, must be gone.
    with lock(settings.root / f".{role}.lock", settings.root, wait=True):
        run(role, settings, places, waking)


def run(role: str, settings: WorkSettings, places: Places, waking: threading.Event) -> None:
    """Work until the process is ended."""
    from gliodistill.serve.work import handlers_of

    jobs = Jobs(settings.root)
    handlers = handlers_of(role, settings, places, jobs)
    jobs.recover(tuple(handlers))
    while True:
        waking.clear()
        while (job := jobs.claim(tuple(handlers))) is not None:
            work(jobs, job, handlers[job.kind], places)
        waking.wait(LOOK_S)


def work(jobs: Jobs, job: Job, handler: Handler, places: Places) -> None:
    """Do one job and say how it ended."""
    try:
        with listening(lambda stage: jobs.begin(job.id, stage)):
            result = handler(job)
    except GliodistillError as error:
        jobs.fail(job.id, told(error, places.root))
    except Exception as error:  # a fault of one job must not stop the others
        traceback.print_exc()
        jobs.fail(job.id, told(error, places.root))
    else:
        jobs.finish(job.id, result)


def _listen(waking: threading.Event) -> None:
    while sys.stdin.readline():
        waking.set()
    os._exit(0)


if __name__ == "__main__":
    main()
