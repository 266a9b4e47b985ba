"""Session, health, metrics, models."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from gliodistill import __version__
from gliodistill.serve.jobs import STATES
from gliodistill.serve.routes.answers import server_of
from gliodistill.serve.security import API


class SessionRequest(BaseModel):
    """Asks for the cookie of a browser."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token: str = Field(max_length=200)


def add_to(app: FastAPI) -> None:
    """Add this module's routes."""
    app.add_api_route(f"{API}/session", open_session, methods=["POST"], tags=["service"])
    app.add_api_route(f"{API}/health", health, methods=["GET"], tags=["service"])
    app.add_api_route(
        f"{API}/metrics",
        metrics,
        methods=["GET"],
        tags=["service"],
        response_class=PlainTextResponse,
    )
    app.add_api_route(f"{API}/models", models, methods=["GET"], tags=["service"])


def open_session(request: Request, asked: SessionRequest) -> JSONResponse:
    """Give a browser that knows the token its cookie."""
    access = server_of(request).access
    if not access.is_token(asked.token):
        raise HTTPException(401, "another token; open the address that the server printed last")
    return JSONResponse({"ok": True}, headers={"set-cookie": access.set_cookie()})


def health(request: Request) -> JSONResponse:
    """Whether the server and its workers run; needs no token."""
    workers = server_of(request).supervisor.alive
    ok = all(workers.values())
    facts: dict[str, Any] = {"ok": ok, "version": __version__, "workers": workers}
    return JSONResponse(facts, 200 if ok else 503)


def metrics(request: Request) -> str:
    """Counts for Prometheus."""
    server = server_of(request)
    counts = server.jobs.counts()
    lines = [
        "# TYPE gliodistill_jobs gauge",
        *(f'gliodistill_jobs{{state="{state}"}} {counts[state]}' for state in STATES),
        "# TYPE gliodistill_worker_up gauge",
        *(
            f'gliodistill_worker_up{{role="{role}"}} {int(up)}'
            for role, up in server.supervisor.alive.items()
        ),
        "# TYPE gliodistill_stored_bytes gauge",
        f"gliodistill_stored_bytes {server.places.size()}",
        "# TYPE gliodistill_started_seconds gauge",
        f"gliodistill_started_seconds {server.started:.0f}",
    ]
    return "\n".join(lines) + "\n"


def models(request: Request) -> dict[str, Any]:
    """Models that may be asked for; the first is the default."""
    return {"models": list(server_of(request).settings.models)}
