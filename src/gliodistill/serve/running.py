"""Start the web app: folder, token, address, browser."""

import logging
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gliodistill.errors import GliodistillError
from gliodistill.extras import load
from gliodistill.locks import lock_folder
from gliodistill.models.shipped import find_model
from gliodistill.serve.places import private_folder

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_TOKEN = 24
"""Characters of a token in a file."""


@dataclass(frozen=True)
class Address:
    """Where the server listens, and how browsers reach it.

    Attributes:
        bind: address of this machine.
        port: 0 = any that is free.
        token_file: holds the token; None = a new one for every launch.
        certificate, key: files for TLS.
        proxy: the address of the reverse proxy in front, e.g. ``https://images.example.org``.
    """

    bind: str = "127.0.0.1"
    port: int = 8723
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    proxy: str | None = None

    def check(self) -> None:
        """Refuse to listen to a network unguarded.

        Raises:
            GliodistillError: what is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise GliodistillError(
                "TLS needs two files", field="--tls-cert, --tls-key", expected="both"
            )
        if self.proxy is not None and not _is_origin(self.proxy):
            raise GliodistillError(
                "no address of a proxy",
                field="--behind-proxy",
                got=self.proxy,
                expected="e.g. https://images.example.org",
            )
        if self.bind in LOOPBACK:
            return
        if self.token_file is None:
            raise GliodistillError(
                "a server for other machines needs a token of its own",
                field="--bind",
                got=self.bind,
                expected="--token-file FILE",
            )
        if self.certificate is None and self.proxy is None:
            raise GliodistillError(
                "a server for other machines must not be read on the way",
                field="--bind",
                got=self.bind,
                expected="--tls-cert FILE --tls-key FILE, or --behind-proxy https://…",
            )

    def token(self) -> str:
        """The token of this launch."""
        if self.token_file is None:
            return secrets.token_urlsafe(32)
        try:
            token = self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GliodistillError(
                "token cannot be read", file=self.token_file, got=str(error)
            ) from None
        if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable():
            raise GliodistillError(
                "unusable token",
                file=self.token_file,
                got=f"{len(token)} characters",
                expected=f"one line of {LEAST_TOKEN} or more letters, digits and signs",
            )
        return token

    def origins(self, port: int) -> frozenset[str]:
        """Addresses by which browsers may reach it."""
        scheme = "http" if self.certificate is None else "https"
        names = {"127.0.0.1", "localhost", "[::1]"}
        if self.bind not in (*LOOPBACK, "0.0.0.0", "::"):
            names.add(f"[{self.bind}]" if ":" in self.bind else self.bind)
        elif self.bind in ("0.0.0.0", "::"):
            names.add(socket.gethostname().lower())
        found = {f"{scheme}://{name}:{port}" for name in names}
        return frozenset(found | ({self.proxy.rstrip("/").lower()} if self.proxy else set()))


@dataclass(frozen=True)
class Options:
    """How the server behaves.

    Attributes:
        folder: of uploads and results.
        models: the default first.
        threads: processor threads of the network.
        keep_hours: after which uploads and results are removed; None = when a person says so.
        queue: jobs that may wait.
        upload_gb: size of one upload.
        deidentify: whether SEG and SR leave out who the patient is.
        browser: whether one is opened.
    """

    folder: Path
    models: Sequence[str] = ("glioma",)
    threads: int | None = None
    keep_hours: float | None = None
    queue: int = 200
    upload_gb: float = 16.0
    deidentify: bool = False
    browser: bool = True


def serve(address: Address, options: Options, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        address: where.
        options: how.
        say: told the address with its token, once it answers.

    Raises:
        GliodistillError: a package or model is missing, the port is taken, another server uses the
            folder, or the address would be unguarded.
    """
    os.environ["OTEL_SDK_DISABLED"] = "true"  # FastAPI brings OpenTelemetry; nothing is told
    for module in ("fastapi", "uvicorn"):
        load(module, "the web app", extra="serve")
    address.check()
    for model in options.models:
        find_model(model)
    token, listening = address.token(), _listen(address)
    port = listening.getsockname()[1]
    with listening, lock_folder(private_folder(options.folder)):
        _run(address, options, token, listening, port, say)


def _run(
    address: Address,
    options: Options,
    token: str,
    listening: socket.socket,
    port: int,
    say: Callable[[str], None],
) -> None:
    import uvicorn

    from gliodistill.serve.app import make_app
    from gliodistill.serve.jobs import Jobs
    from gliodistill.serve.places import Places
    from gliodistill.serve.roles import ROLES
    from gliodistill.serve.security import Access
    from gliodistill.serve.settings import WorkSettings
    from gliodistill.serve.state import Server
    from gliodistill.serve.supervisor import Supervisor
    from gliodistill.serve.uploads import Bounds, Uploads

    origins = address.origins(port)
    secure = address.certificate is not None or (address.proxy or "").startswith("https")
    access = Access(
        token, frozenset(urlsplit(one).netloc for one in origins), origins, port, secure
    )
    places = Places(options.folder.absolute())
    places.clear_temporary()
    settings = WorkSettings(
        str(places.root), tuple(options.models), options.threads, options.deidentify
    )
    jobs = Jobs(places.root, options.queue)
    upload_bytes = int(options.upload_gb * 1e9)
    bounds = Bounds(file_bytes=upload_bytes, upload_bytes=upload_bytes)
    keep = None if options.keep_hours is None else options.keep_hours * 3600
    server = Server(
        settings,
        access,
        places,
        jobs,
        Uploads(places, bounds),
        Supervisor(settings, jobs, ROLES),
        keep,
    )
    # Else a browser that leaves while results are sent to it is a line of the log.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    config = uvicorn.Config(
        make_app(server),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=200,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=32 * 1024,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        http="h11",
        ws="none",
        proxy_headers=False,
    )
    runner = uvicorn.Server(config)
    origin = address.proxy or _shown(address, port)
    url = f"{origin.rstrip('/')}/#token={token}" if address.token_file is None else f"{origin}/"

    def announce() -> None:
        while not runner.started and not runner.should_exit:
            threading.Event().wait(0.02)
        if runner.started:
            say(url)
            if options.browser:
                webbrowser.open(url)

    threading.Thread(target=announce, daemon=True).start()
    try:
        with suppress(KeyboardInterrupt):  # the way to end it
            runner.run(sockets=[listening])
    finally:
        jobs.close()
        server.uploads.close()


def _shown(address: Address, port: int) -> str:
    scheme = "http" if address.certificate is None else "https"
    host = "127.0.0.1" if address.bind in ("0.0.0.0", *LOOPBACK) else address.bind
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.bind else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((address.bind, address.port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise GliodistillError(
            "cannot listen there",
            field="--port",
            got=f"{address.bind}:{address.port}, {error.strerror}",
            hint="choose another port, or 0 for any",
        ) from None
    return found


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.path in ("", "/")
