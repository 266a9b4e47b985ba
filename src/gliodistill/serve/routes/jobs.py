"""Jobs: ask for one, follow it, cancel it, fetch its files, remove it."""

import asyncio
import json
import mimetypes
import zipfile
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from gliodistill.serve.jobs import DONE, SCORE, Job
from gliodistill.serve.routes.answers import job_of, server_of
from gliodistill.serve.security import API, REPORT_POLICY
from gliodistill.studies.naming import parse_sequence

LOOK_S = 0.15
BEAT_S = 15.0
"""Seconds between two looks for changes, and between two signs of life to a listener."""

_ID = r"^[0-9a-f]{16}$"
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SegmentRequest(_Asked):
    """Segment one study of an upload.

    ``series``: sequence → key of the series or file to take; empty, as they were recognised.
    """

    kind: Literal["segment"] = "segment"
    upload: str = Field(pattern=_ID)
    study: str = Field(max_length=300)
    series: dict[str, str] = Field(default={}, max_length=4)
    model: str | None = Field(default=None, max_length=300)


class CorrectRequest(_Asked):
    """Keep a corrected label map, the one file of an upload, as a new version of a result."""

    kind: Literal["correct"]
    of: str = Field(pattern=_ID)
    upload: str = Field(pattern=_ID)


class ScoreRequest(_Asked):
    """Dice of a result against a reference, the one file of an upload, or another result."""

    kind: Literal["score"]
    of: str = Field(pattern=_ID)
    upload: str | None = Field(default=None, pattern=_ID)
    other: str | None = Field(default=None, pattern=_ID)
    labels: str | None = Field(default=None, max_length=40)


JobRequest = Annotated[SegmentRequest | CorrectRequest | ScoreRequest, Field(discriminator="kind")]


def add_to(app: FastAPI) -> None:
    """Add this module's routes."""
    one = f"{API}/jobs/{{job}}"
    for path, handler, method, status in (
        (f"{API}/jobs", submit, "POST", 202),
        (f"{API}/jobs", listed, "GET", 200),
        (f"{API}/events", events, "GET", 200),
        (one, show, "GET", 200),
        (f"{one}/cancel", cancel, "POST", 200),
        (one, remove, "DELETE", 204),
        (f"{one}/files/{{name}}", fetch, "GET", 200),
        (f"{one}/images/{{name}}", image, "GET", 200),
        (f"{one}/archive", archive, "GET", 200),
    ):
        app.add_api_route(path, handler, methods=[method], status_code=status, tags=["jobs"])


def submit(request: Request, asked: JobRequest, key: Key = None) -> dict[str, Any]:
    """Ask for a job. With the same ``Idempotency-Key``, the same job is answered."""
    server = server_of(request)
    if asked.upload is not None and not server.uploads.is_there(asked.upload):
        raise HTTPException(404, "no such upload")
    values: dict[str, Any] = asked.model_dump(exclude={"kind", "upload"})
    if isinstance(asked, SegmentRequest):
        if (asked.model or server.settings.models[0]) not in server.settings.models:
            raise HTTPException(422, "no such model; GET /api/v1/models lists them")
        values["model"] = asked.model or server.settings.models[0]
        values["series"] = {str(parse_sequence(s)): k for s, k in asked.series.items()}
    else:
        for id in filter(None, (asked.of, values.get("other"))):
            if (result := job_of(request, id)).state != DONE or result.kind == SCORE:
                raise HTTPException(409, "that job has no label map")
    if isinstance(asked, ScoreRequest) and (asked.upload is None) == (asked.other is None):
        raise HTTPException(422, "either an upload or another job")
    job, _ = server.jobs.submit(asked.kind, values, key=key, upload=asked.upload)
    server.supervisor.wake()
    return job.as_dict()


def listed(request: Request, most: int = Query(default=200, ge=1, le=1000)) -> dict[str, Any]:
    """Jobs, the newest first."""
    return {"jobs": [job.as_dict() for job in server_of(request).jobs.listed(most)]}


def show(request: Request, job: str) -> dict[str, Any]:
    """One job."""
    return job_of(request, job).as_dict()


def cancel(request: Request, job: str) -> dict[str, Any]:
    """Cancel a job; one that has ended stays as it is."""
    found = job_of(request, job)
    server = server_of(request)
    if server.supervisor.cancel(found.id):
        server.places.remove(server.places.job(found.id))
    return job_of(request, job).as_dict()


def remove(request: Request, job: str) -> Response:
    """Remove a job, its results, and its upload if no other result needs it."""
    server_of(request).remove_job(job_of(request, job))
    return Response(status_code=204)


async def events(
    request: Request,
    since: int = Query(default=-1, ge=-1),
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> StreamingResponse:
    """Every change of any job, as server-sent events named ``job``; an id is a revision, from which
    a listener may go on.
    """
    server = server_of(request)
    revision = int(last) if last and last.isdigit() else since

    async def stream() -> AsyncIterator[str]:
        nonlocal revision
        quiet = BEAT_S
        while not await request.is_disconnected():
            changed = await run_in_threadpool(server.jobs.since, revision)
            for job in changed:
                revision = job.revision
                yield f"id: {revision}\nevent: job\ndata: {json.dumps(job.as_dict())}\n\n"
            quiet = 0.0 if changed else quiet + LOOK_S
            if quiet >= BEAT_S:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_S)

    return StreamingResponse(stream(), media_type="text/event-stream")


def fetch(request: Request, job: str, name: str) -> FileResponse:
    """One file of a result, by its name in ``result.files``."""
    found = job_of(request, job)
    if (place := (found.result or {}).get("files", {}).get(name)) is None:
        raise HTTPException(404, "no such file")
    if name.endswith(".html"):
        headers = {"content-security-policy": REPORT_POLICY}
        return _file(request, found, place, media_type="text/html", headers=headers)
    return _file(request, found, place, filename=name)


def image(request: Request, job: str, name: str) -> FileResponse:
    """An image for the viewer: a sequence in ``result.images``, ``labels`` or ``probabilities``."""
    found = job_of(request, job)
    told = found.result or {}
    key = name.removesuffix(".nii.gz")
    place = told.get(key) if key in ("labels", "probabilities") else told.get("images", {}).get(key)
    if place is None:
        raise HTTPException(404, "no such image")
    return _file(request, found, place, media_type="application/octet-stream")


def archive(request: Request, job: str) -> FileResponse:
    """All files of a result as one zip."""
    found = job_of(request, job)
    server, told = server_of(request), found.result or {}
    if "files" not in told:
        raise HTTPException(404, "no files")
    target = server.places.temporary / f"{found.id}-{id(request):x}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for name, place in told["files"].items():
            packed.write(server.places.job(found.id) / place, name)
    return FileResponse(
        target,
        filename=f"{told['study']}.zip",
        background=BackgroundTask(target.unlink, missing_ok=True),
    )


def _file(request: Request, job: Job, place: str, **options: Any) -> FileResponse:
    path = server_of(request).places.job(job.id) / place
    if not path.is_file():
        raise HTTPException(404, "no such file")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    options.setdefault("media_type", kind)
    return FileResponse(path, **options)
