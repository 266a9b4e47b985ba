"""What guards a server on a person's own machine: host, origin, token, and headers on every answer.

A page of another site can make a browser send requests to this address, and by DNS rebinding even
read the answers. So the ``Host`` must be ours, the ``Origin`` too, and every call of the API needs
the token of this launch: in a cookie that other sites cannot send, or in a header.
"""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

API = "/api/v1"
PUBLIC = (f"{API}/health", f"{API}/session")
MOST_JSON = 64 * 1024
"""Bytes of a request that is no file."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:;"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Of a page that a study's result holds: no script, and nothing from elsewhere."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Access:
    """Who may call.

    Attributes:
        token: of this launch.
        hosts: values of ``Host`` that are ours.
        origins: values of ``Origin`` that are ours.
        port: tells the cookies of two servers apart.
        secure: whether browsers reach it by TLS.
    """

    token: str
    hosts: frozenset[str]
    origins: frozenset[str]
    port: int
    secure: bool = False

    @property
    def cookie(self) -> str:
        """Name of the cookie."""
        return f"gliodistill_{self.port}"

    @property
    def session(self) -> str:
        """Value of the cookie: it proves the token and does not tell it."""
        return hmac.new(self.token.encode(), b"session", hashlib.sha256).hexdigest()

    def set_cookie(self) -> str:
        """The header that gives a browser the cookie."""
        flags = "; Secure" if self.secure else ""
        return f"{self.cookie}={self.session}; Path=/; HttpOnly; SameSite=Strict{flags}"

    def is_token(self, given: str) -> bool:
        """Whether it is the token, compared in constant time."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Why a request is refused: status and reason; None if it is not."""
        if headers.get("host", "").lower() not in self.hosts:
            return 421, "this server does not go by that name"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self.origins:
            return 403, "requests from other sites are refused"
        if not path.startswith(f"{API}/") or path in PUBLIC:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return None
        if not self._has_cookie(headers.get("cookie", "")):
            return 401, "open the address that gliodistill serve printed, or send its token"
        if method not in ("GET", "HEAD") and origin is None:
            return 403, "a change from a browser says its origin"
        return None

    def _has_cookie(self, text: str) -> bool:
        try:
            found = SimpleCookie(text).get(self.cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value, self.session)


class Guard:
    """An ASGI application around another, which only sees requests that may pass."""

    def __init__(self, app: App, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        path, method = scope["path"], scope["method"]
        refused = self._access.refusal(method, path, headers)
        if refused is None and not path.endswith("/files") and method in ("POST", "PUT"):
            refused = _too_long(headers)
        if refused is not None:
            await _refuse(*refused, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {name.decode().lower() for name, _ in message["headers"]}
                missing = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n not in told]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, guarded)


def _too_long(headers: dict[str, str]) -> tuple[int, str] | None:
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > MOST_JSON:
        return 413, f"a request of at most {MOST_JSON} bytes that says its length"
    return None


async def _refuse(status: int, reason: str, send: Send) -> None:
    body = json.dumps({"error": {"message": reason}}).encode()
    headers = HEADERS | {"content-type": "application/json", "connection": "close"}
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
