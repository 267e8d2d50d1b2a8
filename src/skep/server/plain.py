"""The plain answers beside the doors: ``/healthz``, ``/readyz``, ``/metrics``, and what WebDAV clients ask of ``/``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from skep.auth import Auth
from skep.base.errors import Forbidden
from skep.frontends.api.errors import method_not_allowed
from skep.frontends.common.answers import send_bytes, send_problem
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.common.authenticate import authenticate
from skep.frontends.webdav.options import HEADERS as DAV_HEADERS
from skep.server.addresses import is_local
from skep.server.metrics import CONTENT_TYPE

Readiness = Callable[[], Awaitable[list[str]]]
PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})
_TEXT = "text/plain; charset=utf-8"


def metrics_alone(app: App) -> App:
    """The hive's application for a port that answers with the metrics, whatever its path."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app({**scope, "path": "/metrics", "raw_path": b"/metrics"}, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket here"})
        else:
            await app(scope, receive, send)

    return answer


class PlainPages:
    """Answers its own paths and hands everything else on.

    ``readiness`` gives what is not well, one line each; empty is ready. ``metrics_access`` says who
    may read the metrics: this machine, administrators, everyone.
    """

    def __init__(
        self,
        rest: App,
        *,
        readiness: Readiness,
        metrics: Callable[[], Awaitable[bytes]],
        metrics_access: Literal["local", "admin", "everyone"],
        auth: Auth,
    ) -> None:
        self._rest = rest
        self._readiness = readiness
        self._metrics = metrics
        self._metrics_access = metrics_access
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/" and scope["method"] == "OPTIONS":  # Windows asks here before it asks at /dav/
            scope["state"]["route"] = path
            await send_bytes(send, 200, b"", DAV_HEADERS)
            return
        if path not in PATHS:
            await self._rest(scope, receive, send)
            return
        scope["state"]["route"] = path
        if scope["method"] not in ("GET", "HEAD"):
            await send_problem(send, method_not_allowed(scope["method"], ["GET", "HEAD"]), scope["state"]["request_id"])
            return
        status, kind, body = await self._page(path, scope)
        headers = [("content-type", kind), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
        await send_bytes(send, status, body, headers, head_only=scope["method"] == "HEAD")

    async def _page(self, path: str, scope: Scope) -> tuple[int, str, bytes]:
        match path:
            case "/healthz":
                return 200, _TEXT, b"ok\n"
            case "/readyz":
                trouble = await self._readiness()
                return (503, _TEXT, "".join(f"{line}\n" for line in trouble).encode()) if trouble else (
                    200, _TEXT, b"ready\n")  # fmt: skip
            case _:
                await self._check_reader(scope)
                return 200, CONTENT_TYPE, await self._metrics()

    async def _check_reader(self, scope: Scope) -> None:
        client, headers = scope["client"][0], scope["state"]["headers"]
        local = is_local(client) and not _FORWARDED.intersection(headers)  # a proxy here may ask for anybody
        if self._metrics_access == "everyone" or (self._metrics_access == "local" and local):
            return
        if self._metrics_access == "local" and "authorization" not in headers:
            raise Forbidden("The metrics are for this machine and for administrators: see server.metrics_access.")
        (await authenticate(self._auth, headers, client)).require_admin()
