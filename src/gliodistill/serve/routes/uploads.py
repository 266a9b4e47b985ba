"""Uploads: begin one, send its files, look into it, remove it."""

from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import Response

from gliodistill.serve.jobs import INSPECT
from gliodistill.serve.routes.answers import server_of
from gliodistill.serve.security import API
from gliodistill.serve.state import Server


def add_to(app: FastAPI) -> None:
    """Add this module's routes."""
    one = f"{API}/uploads/{{upload}}"
    for path, handler, method, status in (
        (f"{API}/uploads", create, "POST", 201),
        (one, show, "GET", 200),
        (f"{one}/files", receive, "PUT", 201),
        (f"{one}/inspect", inspect, "POST", 202),
        (one, remove, "DELETE", 204),
    ):
        app.add_api_route(path, handler, methods=[method], status_code=status, tags=["uploads"])


def create(request: Request) -> dict[str, Any]:
    """Begin an upload."""
    server = server_of(request)
    bounds = server.uploads.bounds
    return {
        "id": server.uploads.create(),
        "limits": {
            "file_bytes": bounds.file_bytes,
            "upload_bytes": bounds.upload_bytes,
            "files": bounds.files,
        },
    }


def show(request: Request, upload: str) -> dict[str, Any]:
    """The files that have arrived."""
    server = _with(request, upload)
    files = server.uploads.files(upload)
    return {"id": upload, "files": [{"name": file.label, "bytes": file.size} for file in files]}


async def receive(
    request: Request, upload: str, name: str = Query(min_length=1, max_length=1000)
) -> dict[str, Any]:
    """Send one file as the body. Its name is a word about it, not a path; folders in it are kept
    apart for NIfTI.
    """
    server = _with(request, upload)
    file = await server.uploads.receive(upload, name, request.stream().__aiter__())
    return {"name": file.label, "bytes": file.size}


def inspect(request: Request, upload: str) -> dict[str, Any]:
    """Look into an upload: a job whose result lists the studies. The same job if asked again."""
    server = _with(request, upload)
    files = server.uploads.files(upload)
    if not files:
        raise HTTPException(422, "no file has arrived")
    key = f"inspect {upload} {len(files)}"
    job, _ = server.jobs.submit(INSPECT, {}, key=key, upload=upload)
    server.supervisor.wake()
    return job.as_dict()


def remove(request: Request, upload: str) -> Response:
    """Remove an upload that no result needs."""
    server = _with(request, upload)
    if any(job.kind != INSPECT for job in server.jobs.of_upload(upload)):
        raise HTTPException(409, "a result needs it; remove that")
    server.remove_upload(upload)
    return Response(status_code=204)


def _with(request: Request, upload: str) -> Server:
    server = server_of(request)
    if not server.uploads.is_there(upload):
        raise HTTPException(404, "no such upload")
    return server
