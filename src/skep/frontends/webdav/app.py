"""From a request to its verb and back: the URL, the caller, conditions, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

from skep.base.errors import ClientGone, Locked, SkepError
from skep.frontends.common.answers import AnswerBroken
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.body import Body
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.request import client_of
from skep.frontends.webdav import (
    conditions,
    copy,
    delete,
    get,
    lock,
    mkcol,
    move,
    options,
    propfind,
    proppatch,
    put,
    report,
    unlock,
)
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.multistatus import MemberLocked
from skep.frontends.webdav.refusals import Refusal, refusal_of, refusal_of_bug
from skep.frontends.webdav.roots import Root, path_of, prefix_of, url_of_scope
from skep.frontends.webdav.services import DavServices

log = structlog.get_logger("skep.webdav")
DRAIN_BYTES = 1 << 20
DRAIN_S = 2.0

Verb: TypeAlias = Callable[[Exchange], Awaitable[None]]
VERBS: Mapping[str, Verb] = {
    "OPTIONS": options.handle,
    "GET": get.handle,
    "HEAD": get.handle,
    "PUT": put.handle,
    "DELETE": delete.handle,
    "MKCOL": mkcol.handle,
    "COPY": copy.handle,
    "MOVE": move.handle,
    "PROPFIND": propfind.handle,
    "PROPPATCH": proppatch.handle,
    "LOCK": lock.handle,
    "UNLOCK": unlock.handle,
    "REPORT": report.handle,
}


def webdav_app(services: DavServices) -> App:
    """The ASGI application of the door."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(services, scope, receive, send)

    return app


async def _answer(services: DavServices, scope: Scope, receive: Receive, send: Send) -> None:
    exchange: Exchange | None = None
    try:
        exchange = _open(services, scope, receive, send)
        await _run(exchange)
    except Locked as error:
        await _fail(exchange, scope, send, error, _locked(exchange, error))
    except (SkepError, Refusal) as error:
        await _fail(exchange, scope, send, error, error if isinstance(error, Refusal) else refusal_of(error))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        log.exception("bug", method=scope["method"])
        await _fail(exchange, scope, send, error, refusal_of_bug())


def _open(services: DavServices, scope: Scope, receive: Receive, send: Send) -> Exchange:
    state = scope.setdefault("state", {})
    state["route"] = "/dav"
    headers = state.get("headers") or check_head(scope, services.head_bytes)
    return Exchange(
        services=services,
        scope=scope,
        headers=headers,
        url=url_of_scope(scope),
        body=Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=services.body_bytes,
            idle_timeout_s=services.idle_timeout_s,
        ),
        request_id=state.get("request_id", ""),
        client=client_of(scope),
        _send=send,
    )


async def _run(exchange: Exchange) -> None:
    verb = VERBS.get(exchange.method)
    if verb is None:
        raise Refusal(405, f"{exchange.method} is not done here.", headers=(("allow", ", ".join(VERBS)),))
    if verb is not options.handle:
        exchange.caller = await authenticate(exchange.services.auth, exchange.headers, exchange.client)
        await conditions.submit(exchange)
    await verb(exchange)


def _locked(exchange: Exchange | None, error: Locked) -> Refusal:
    """Which lock is in the way (RFC 4918 section 16); one below what was asked for as section 9.6.1 shows it."""
    if exchange is None:
        return refusal_of(error)
    root, path = Root(None, prefix_of(exchange.url)), path_of(exchange.url)
    locked_path = str(error.details.get("path", path))
    href = root.href(locked_path, is_directory=False)
    is_member = locked_path != path and locked_path.startswith(path.rstrip("/") + "/")
    if is_member and exchange.method in ("DELETE", "MOVE"):
        return MemberLocked(href, error.message)
    return Refusal(423, error.message, condition="lock-token-submitted", hrefs=[href], code=error.code)


async def _fail(exchange: Exchange | None, scope: Scope, send: Send, error: Exception, refusal: Refusal) -> None:
    """Answer with the refusal if that is still possible, or break the answer off if it has begun."""
    if isinstance(error, ClientGone):
        scope.setdefault("state", {})["gone"] = True
    if exchange is None:
        await _send_early(send, refusal, head_only=scope["method"] == "HEAD")
        return
    if exchange.started:
        log.warning("answer broken off", code=refusal.code, detail=refusal.message)
        raise AnswerBroken(refusal.code) from error
    headers = list(refusal.headers)
    if not isinstance(error, ClientGone):
        await exchange.body.drain(DRAIN_BYTES, DRAIN_S)
    if exchange.must_close:
        headers.append(("connection", "close"))
    await exchange.answer(refusal.status, refusal.body(), headers)


async def _send_early(send: Send, refusal: Refusal, *, head_only: bool) -> None:
    body = refusal.body().encode()
    headers = [(b"content-type", b"application/xml; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": refusal.status, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": b"" if head_only else body})
