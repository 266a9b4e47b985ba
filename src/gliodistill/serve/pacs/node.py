"""The node: complete studies become jobs, finished jobs become parcels, parcels are sent."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gliodistill.errors import GliodistillError, OutputError
from gliodistill.extras import load
from gliodistill.files import make_folder
from gliodistill.locks import lock_folder
from gliodistill.models.shipped import find_model
from gliodistill.serve.jobs import CANCELLED, ENDED, SEGMENT, Jobs
from gliodistill.serve.jobs import DONE as JOB_DONE
from gliodistill.serve.pacs.intake import Intake
from gliodistill.serve.pacs.ledger import (
    DONE,
    FAILED,
    PASSED,
    SEGMENTING,
    Ledger,
    Parcel,
    Study,
)
from gliodistill.serve.pacs.receiver import Receiver
from gliodistill.serve.pacs.sender import NotSent, send
from gliodistill.serve.pacs.settings import FIELDS, NodeSettings, Peer
from gliodistill.serve.places import Places, private_folder
from gliodistill.serve.roles import NETWORK, ROLES
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.steady import steadily
from gliodistill.serve.supervisor import Supervisor
from gliodistill.serve.uploads import DICOM

LOOK_S = 0.5
TIDY_S = 600.0
SENT_KINDS = ("_seg.dcm", "_report.dcm")
NO_ROOM = "OutputError"
"""Kind of a failure that may pass: no room on the disk."""


def run_node(settings: NodeSettings, say: Callable[[str], None], ended: threading.Event) -> None:
    """Receive, segment and send until ``ended`` is set.

    Args:
        settings: of the node.
        say: told what is worth a line of the log; nothing of a patient.
        ended: set to end it.

    Raises:
        GliodistillError: a package or model is missing, the port is taken, or another node uses the
            folder.
    """
    load("pynetdicom", "the PACS node", extra="serve")
    settings.check()
    find_model(settings.model)
    with lock_folder(private_folder(settings.folder)):
        node = Node(settings, say)
        try:
            node.run(ended)
        finally:
            node.close()


class Node:
    """A node, its ledger, its queue and its worker."""

    def __init__(self, settings: NodeSettings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._places = Places(settings.folder.absolute())
        self._places.clear_temporary()
        self._ledger = Ledger(self._places.root)
        self._jobs = Jobs(self._places.root, most=1_000_000)
        work = WorkSettings(str(self._places.root), (settings.model,), settings.threads)
        self._supervisor = Supervisor(work, self._jobs, {NETWORK: ROLES[NETWORK]})
        self._intake = Intake(settings, self._ledger)
        self._receiver = Receiver(settings, self._intake, say)
        self._peers = {str(peer): peer for peer in settings.peers}
        self._tidy_at = 0.0

    def close(self) -> None:
        """Close the databases."""
        self._ledger.close()
        self._jobs.close()

    def run(self, ended: threading.Event) -> None:
        """Work until ``ended`` is set."""
        self._receiver.start()
        self._supervisor.start()
        threads = [threading.Thread(target=self._send_all, args=(ended,), daemon=True)]
        if self._settings.dicomweb is not None:
            from gliodistill.serve.pacs.dicomweb import poll

            threads.append(
                threading.Thread(
                    target=poll,
                    args=(self._settings, self._intake, self._say, ended),
                    daemon=True,
                )
            )
        for thread in threads:
            thread.start()
        where = f"{self._settings.aet} at {self._settings.bind}:{self._settings.port}"
        self._say(f"{where}, accepts {', '.join(self._settings.callers) or 'nobody'}")
        try:
            steadily(self.look, LOOK_S, ended, self._say)
        finally:
            ended.set()
            self._receiver.stop()
            self._supervisor.stop()
            for thread in threads:
                thread.join(5)

    def look(self) -> None:
        """Move every study on that can be."""
        for study in self._ledger.complete():
            self._begin(study)
        for study in self._ledger.in_state(SEGMENTING):
            self._follow(study)
        if time.monotonic() > self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_S
            self._tidy()

    def _begin(self, study: Study) -> None:
        """Have a complete study segmented; once for the same images."""
        files, content = self._ledger.files(study.uid), self._ledger.content(study.uid)
        if content == study.content:
            self._ledger.end(study, DONE)
            return
        gone = [file for file in files if not file.is_file()]
        if gone:
            reason = "images came after those of the study were removed; send all of it again"
            self._ledger.end(study, PASSED, reason)
            self._say(f"study {study.key}: passed over: {reason}")
            return
        if (unfit := self._refused_by(files)) is not None:
            self._ledger.end(study, PASSED, unfit)
            self._say(f"study {study.key}: passed over: {unfit}")
            return
        try:
            upload = self._snapshot(content, files)
        except OutputError as error:
            self._ledger.put_off(study, str(error.got))
            return
        asked = {"study": study.key, "series": {}, "model": self._settings.model}
        key = f"pacs {content} {study.attempts}"
        job, _ = self._jobs.submit(SEGMENT, asked, key=key, upload=upload)
        self._ledger.take(study, content, job.id)
        self._supervisor.wake()
        self._say(f"study {study.key}: complete, {len(files)} images")

    def _refused_by(self, files: list[Path]) -> str | None:
        for rule in self._settings.rules:
            values = self._intake.values(files, FIELDS[rule.field])
            if not rule.fits(values):
                return f"{rule.field} is not {rule.pattern}"
        return None

    def _snapshot(self, content: str, files: list[Path]) -> str:
        """The images as they are now, as an upload: what comes later does not disturb the work."""
        id = hashlib.sha256(content.encode()).hexdigest()[:16]
        folder = self._places.make(self._places.upload(id))
        inside = make_folder(folder / DICOM)
        for file in files:
            target = inside / file.name
            if not target.exists():
                try:
                    target.hardlink_to(file)
                except OSError as error:
                    raise OutputError("cannot keep the images", got=error.strerror) from None
        return id

    def _follow(self, study: Study) -> None:
        """See how the job of a study goes."""
        job = None if study.job is None else self._jobs.find(study.job)
        if job is None:
            self._ledger.put_off(study, "its job is lost")
        elif job.state == JOB_DONE and job.result is not None:
            folder = self._places.job(job.id)
            files = [
                folder / place
                for name, place in job.result["files"].items()
                if name.endswith(SENT_KINDS)
            ]
            self._ledger.post(study, files, [*self._peers, *self._web()])
            took = (job.ended or 0) - (job.began or 0)
            self._say(f"study {study.key}: segmented in {took:.0f} s")
        elif job.state in ENDED:
            error = job.error or {}
            reason = str(error.get("message") or job.state)
            if error.get("kind") == NO_ROOM or job.state == CANCELLED:
                self._ledger.put_off(study, reason)
            else:
                self._ledger.end(study, FAILED, reason)
            self._say(f"study {study.key}: {reason}")

    def _web(self) -> list[str]:
        return [] if self._settings.dicomweb is None else [self._settings.dicomweb]

    def _send_all(self, ended: threading.Event) -> None:
        """Send what is due; a peer that does not answer holds up no other."""

        def once() -> None:
            for parcel in self._ledger.parcels():
                if ended.is_set():
                    return
                self._send(parcel)

        steadily(once, LOOK_S, ended)

    def _send(self, parcel: Parcel) -> None:
        study = self._ledger.study(parcel.study)
        try:
            if not parcel.file.is_file():
                raise NotSent("the file was removed", file=parcel.file.name)
            if (peer := self._peer(parcel.peer)) is not None:
                send(self._settings, peer, [parcel.file])
            else:
                from gliodistill.serve.pacs.dicomweb import store

                store(parcel.peer, [parcel.file])
        except GliodistillError as error:
            wait = self._ledger.returned(parcel, str(error))
            self._say(f"study {study.key}: not sent: {error}; again in {wait:.0f} s")
            return
        if self._ledger.sent(parcel):
            self._ledger.end(study, DONE)
            self._say(f"study {study.key}: results sent")

    def _peer(self, name: str) -> Peer | None:
        """A peer by name, also one of an earlier start; None of a DICOMweb address."""
        return None if "://" in name else self._peers.get(name) or Peer.of(name)

    def _tidy(self) -> None:
        """Remove images and results of studies that ended long enough ago."""
        if self._settings.keep_s is None:
            return
        for study in self._ledger.ended_before(time.time() - self._settings.keep_s):
            for file in self._ledger.files(study.uid):
                file.unlink(missing_ok=True)
            self._ledger.forget_files(study)
            if (job := self._jobs.find(study.job or "")) is not None:
                self._places.remove(self._places.job(job.id))
                if job.upload is not None:
                    self._places.remove(self._places.upload(job.upload))
