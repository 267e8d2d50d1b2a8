"""The ASGI application of the MetaDisk door: from a request to its verb, and from an error to this door's words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from skep.base.errors import (
    BadInput,
    BodyTooLarge,
    ClientGone,
    CreditExhausted,
    DatabaseFull,
    Forbidden,
    Integrity,
    InvalidRange,
    LimitReached,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    SkepError,
    StoreFull,
    TrafficExceeded,
    Unauthenticated,
    Unavailable,
)
from skep.base.logs import get_logger
from skep.frontends.common.answers import AnswerBroken, send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.request import client_of
from skep.frontends.metadisk.call import CORS, MetadiskCall, query_of
from skep.frontends.metadisk.download import download
from skep.frontends.metadisk.find import find
from skep.frontends.metadisk.remove import remove
from skep.frontends.metadisk.services import MetadiskGround
from skep.frontends.metadisk.status import status
from skep.frontends.metadisk.upload import FORM_BYTES, upload

log = get_logger("skep.metadisk")
Verb = Callable[[MetadiskCall], Awaitable[None]]
PATHS = ("/api/upload", "/api/download/", "/api/find/", "/api/status")
"""What the paths of this door begin with."""
DRAIN_BYTES = 1 << 20
DRAIN_S = 2.0
_VERBS: Mapping[tuple[str, bool], Mapping[str, Verb]] = {
    ("upload", False): {"POST": upload},
    ("download", True): {"GET": download, "HEAD": download},
    ("find", True): {"GET": find, "HEAD": find, "DELETE": remove},
    ("status", False): {"GET": status, "HEAD": status},
}
"""By the word after ``/api/``, and whether a hash follows."""
_ERRORS: Mapping[type[SkepError], tuple[int, str]] = {
    CreditExhausted: (402, "balance-insufficient"),
    TrafficExceeded: (402, "traffic-exceeded"),
    QuotaExceeded: (507, "storage-full"),
    StoreFull: (507, "storage-full"),
    DatabaseFull: (507, "storage-full"),
    BodyTooLarge: (413, "file-too-large"),
    LimitReached: (429, "too-many-requests"),
    Unauthenticated: (401, "login-needed"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "file-not-found"),
    InvalidRange: (416, "range-outside"),
    PreconditionFailed: (412, "precondition-failed"),
    BadInput: (400, "bad-request"),
    Integrity: (500, "error-downloading-file"),
    Unavailable: (503, "unavailable"),
    SkepError: (409, "refused"),
}
"""The most specific class counts."""
RETRY_S = 5


class MetadiskApp:
    """Published content at ``/api/upload``, ``/api/download/``, ``/api/find/`` and ``/api/status``."""

    def __init__(self, ground: MetadiskGround) -> None:
        self._ground = ground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotFound("There is no WebSocket at this path.")
        _, _, word, *rest = scope["path"].split("/", 3)
        scope.setdefault("state", {})["route"] = f"/api/{word}"
        call = self._open(scope, receive, send, rest[0] if rest else "")
        try:
            call.query = query_of(scope.get("query_string", b""))
            await self._answer(call, word)
        except SkepError as error:
            await self._fail(call, error, word)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("bug", request_id=call.request_id)
            if call.started:
                raise AnswerBroken("bug") from error
            await call.answer({"error": "internal", "detail": "This is a mistake of the hive."}, 500)

    def _open(self, scope: Scope, receive: Receive, send: Send, path: str) -> MetadiskCall:
        ground, known = self._ground, scope["state"]
        headers = known.get("headers") or check_head(scope, ground.head_bytes)
        body = Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=ground.file_bytes + FORM_BYTES,
            idle_timeout_s=ground.idle_timeout_s,
        )
        return MetadiskCall(
            ground=ground, path=path, scope=scope, headers=headers, body=body, request_id=known.get("request_id", ""),
            client=client_of(scope), _send=send,
        )  # fmt: skip

    async def _answer(self, call: MetadiskCall, word: str) -> None:
        verbs = _VERBS.get((word, bool(call.path)))
        method = call.scope["method"]
        if verbs is None:
            await call.body.drain(DRAIN_BYTES, DRAIN_S)
            await call.answer({"error": "not-found", "detail": "There is nothing at this path."}, 404)
        elif method == "OPTIONS":
            await send_bytes(call.send, 204, b"", [*CORS, *_preflight(verbs)])
        elif method not in verbs:
            await call.body.drain(DRAIN_BYTES, DRAIN_S)
            allowed = ", ".join(sorted(verbs))
            detail = f"This takes {allowed}."
            await call.answer({"error": "method-not-allowed", "detail": detail}, 405, [("allow", allowed)])
        else:
            await verbs[method](call)

    async def _fail(self, call: MetadiskCall, error: SkepError, word: str) -> None:
        """Answer in this door's words if that is still possible, or break the answer off if it has begun."""
        if isinstance(error, ClientGone):
            call.scope["state"]["gone"] = True
        if call.started:
            log.warning("answer broken off", request_id=call.request_id, code=error.code)
            raise AnswerBroken(error.code) from error
        if not isinstance(error, ClientGone):
            await call.body.drain(DRAIN_BYTES, DRAIN_S)
        status_code, name = _word_of(error)
        headers = _headers_of(error, status_code)
        if call.must_close:
            headers.append(("connection", "close"))
        if word == "find" and status_code == 404:
            name = "File not found"
        await call.answer({"error": name, "detail": str(error)}, status_code, headers)


def _word_of(error: SkepError) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in _ERRORS:
            return _ERRORS[kind]
    raise AssertionError("SkepError is in the table")


def _headers_of(error: SkepError, status_code: int) -> list[tuple[str, str]]:
    if isinstance(error, InvalidRange):
        return [("content-range", f"bytes */{error.details.get('size_bytes', '*')}")]
    if status_code in (429, 503):
        return [("retry-after", str(error.details.get("retry_after_s", RETRY_S)))]
    return [("www-authenticate", 'Bearer realm="skep"')] if status_code == 401 else []


def _preflight(verbs: Mapping[str, Verb]) -> list[tuple[str, str]]:
    return [
        ("access-control-allow-methods", ", ".join(sorted(verbs))),
        ("access-control-allow-headers", "Authorization, Content-Type, Range, If-Match, If-None-Match, If-Range"),
        ("access-control-max-age", "600"),
    ]


def metadisk_app(ground: MetadiskGround) -> MetadiskApp:
    """The door."""
    return MetadiskApp(ground)
