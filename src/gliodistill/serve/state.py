"""What the parts of a running server share."""

import time
from dataclasses import dataclass, field

from gliodistill.serve.jobs import ENDED, Job, Jobs
from gliodistill.serve.places import Places
from gliodistill.serve.security import Access
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.supervisor import Supervisor
from gliodistill.serve.uploads import Uploads


@dataclass
class Server:
    """A running server.

    Attributes:
        settings: of the workers.
        access: who may call.
        places: folders.
        jobs: the queue.
        uploads: what clients sent.
        supervisor: of the workers.
        keep_s: seconds after which uploads and results are removed; None = when a person says so.
        started: seconds since 1970.
    """

    settings: WorkSettings
    access: Access
    places: Places
    jobs: Jobs
    uploads: Uploads
    supervisor: Supervisor
    keep_s: float | None = None
    started: float = field(default_factory=time.time)

    def remove_job(self, job: Job) -> None:
        """Cancel a job, remove its results and those made from them, and its upload if no other job
        needs it.
        """
        self.supervisor.cancel(job.id)
        for other in self.jobs.listed():
            if other.id != job.id and other.asked.get("of") == job.id:
                self.remove_job(other)
        self.places.remove(self.places.job(job.id))
        self.jobs.remove(job.id)
        if job.upload is not None and not any(
            one.kind == "segment" or one.state not in ENDED
            for one in self.jobs.of_upload(job.upload)
        ):
            self.remove_upload(job.upload)

    def remove_upload(self, id: str) -> None:
        """Remove an upload, and the jobs that only looked into it."""
        for job in self.jobs.of_upload(id):
            if job.kind == "inspect":
                self.supervisor.cancel(job.id)
                self.jobs.remove(job.id)
        self.uploads.remove(id)

    def remove_old(self) -> None:
        """Remove what is older than it shall be kept."""
        if self.keep_s is None:
            return
        limit = time.time() - self.keep_s
        for job in self.jobs.listed():
            if job.ended is not None and job.ended < limit:
                self.remove_job(job)
        for id in self.uploads.older_than(self.keep_s):
            if not self.jobs.of_upload(id):
                self.uploads.remove(id)
