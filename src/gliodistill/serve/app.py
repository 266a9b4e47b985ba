"""The web application: the API, the page, and the guard around both."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from gliodistill import __version__
from gliodistill.errors import GliodistillError
from gliodistill.serve.routes import answers, jobs, service, uploads
from gliodistill.serve.security import API, Guard
from gliodistill.serve.state import Server

WEB = Path(__file__).parent / "web"
TIDY_S = 600.0
"""Seconds between two looks for what is too old to be kept."""


def make_app(server: Server) -> Guard:
    """The application of a server, guarded."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ended = threading.Event()
        tidying = threading.Thread(target=_tidy, args=(server, ended), daemon=True)
        server.supervisor.start()
        tidying.start()
        try:
            yield
        finally:
            ended.set()
            server.supervisor.stop()

    app = FastAPI(
        title="gliodistill",
        version=__version__,
        description="Brain-tumour segmentation. Research use, not a medical device.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = server
    app.add_exception_handler(GliodistillError, answers.explain)
    app.add_exception_handler(HTTPException, answers.refuse)
    app.add_exception_handler(RequestValidationError, answers.misread)
    app.add_exception_handler(Exception, answers.unforeseen)
    for part in (service, uploads, jobs):
        part.add_to(app)
    app.add_api_route("/", _page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/api", _api_page, methods=["GET"], include_in_schema=False)
    app.mount("/web", StaticFiles(directory=WEB), name="web")
    return Guard(app, server.access)


def _page() -> FileResponse:
    return FileResponse(WEB / "index.html", media_type="text/html")


def _api_page() -> FileResponse:
    return FileResponse(WEB / "api.html", media_type="text/html")


def _tidy(server: Server, ended: threading.Event) -> None:
    while True:
        server.remove_old()
        if ended.wait(TIDY_S):
            return
