"""What routes share: errors as answers, and what a path names."""

from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse

from gliodistill.errors import GliodistillError, OutputError
from gliodistill.serve.jobs import Job, OtherRequest, QueueFull
from gliodistill.serve.state import Server
from gliodistill.serve.telling import told
from gliodistill.serve.uploads import TooLarge, TooSlow

STATUS: tuple[tuple[type[GliodistillError], int], ...] = (
    (QueueFull, 503),
    (OtherRequest, 409),
    (TooLarge, 413),
    (TooSlow, 408),
    (OutputError, 507),
    (GliodistillError, 422),
)
"""Errors → HTTP status, the first that fits."""


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    server: Server = request.app.state.server
    return server


def job_of(request: Request, id: str) -> Job:
    """The job that a path names."""
    if (job := server_of(request).jobs.find(id)) is None:
        raise HTTPException(404, "no such job")
    return job


async def explain(request: Request, error: GliodistillError) -> JSONResponse:
    """An error of ours as an answer."""
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    headers = {"retry-after": "10"} if status == 503 else {}
    facts: dict[str, Any] = {"error": told(error, server_of(request).places.root)}
    return JSONResponse(facts, status, headers)


async def refuse(_: Request, error: HTTPException) -> JSONResponse:
    """An error of HTTP in the same form."""
    return JSONResponse({"error": {"message": str(error.detail)}}, error.status_code)


async def misread(_: Request, error: Any) -> JSONResponse:
    """A request that does not fit its description."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": {"message": f"{first['msg']} ({where})", "field": where}}, 422)


async def unforeseen(_: Request, error: Exception) -> JSONResponse:
    """Any other error: its kind and no more."""
    return JSONResponse({"error": told(error)}, 500)
