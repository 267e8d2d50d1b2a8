"""The ASGI application of the door: routes, who may, and this door's own words for what failed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

from skep.base.errors import BodyTooLarge, ClientGone, Denied, NotFound, SkepError
from skep.base.logs import get_logger
from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.callers import writable_by
from skep.frontends.blocks.delete_file import delete_file
from skep.frontends.blocks.errors import Refusal, refusal_of
from skep.frontends.blocks.get_file import get_file
from skep.frontends.blocks.internal import PATH as INTERNAL_PATH
from skep.frontends.blocks.post_file import post_file
from skep.frontends.blocks.prefixes import get_prefixes, post_prefix
from skep.frontends.blocks.quota import get_quota
from skep.frontends.blocks.services import BlocksGround
from skep.frontends.blocks.socket import serve_socket
from skep.frontends.common.answers import AnswerBroken, send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers, declared_length
from skep.frontends.common.request import client_of

log = get_logger("skep.blocks")
ROOT = "/api/v0"
SOCKETS = f"{ROOT}/websocket/"
DRAIN_BYTES, DRAIN_S = 256 * 1024, 2.0
_FILE = re.compile(r"/files/(?P<prefix>[\d\w-]{1,36})/(?P<path>[/\d\w-]{1,4000})")
_SOCKET = re.compile(r"/websocket/(?P<prefix>[\d\w-]{1,36})(?:/(?P<path>[/\d\w-]{1,4000})?)?")
_USER: Mapping[str, Mapping[str, Callable[[BlockCall], Awaitable[None]]]] = {
    "/prefix/": {"POST": post_prefix, "GET": get_prefixes},
    "/quota/": {"GET": get_quota},
}


class BlocksApp:
    """Raw files at ``/api/v0/``."""

    def __init__(self, ground: BlocksGround) -> None:
        self._ground = ground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        call = self._call(scope, receive, send)
        counts = self._ground.counts
        counts.in_progress += 1
        try:
            await self._exchange(call, scope)
        finally:
            counts.in_progress -= 1
            counts.received_bytes += call.body.received_bytes

    async def _exchange(self, call: BlockCall, scope: Scope) -> None:
        try:
            await self._answer(call, scope["path"].removeprefix(ROOT))
        except Refusal as refusal:
            await self._fail(call, refusal, refusal)
        except ClientGone as error:
            if call.started:
                raise AnswerBroken from error
            scope["state"]["gone"] = True
        except SkepError as error:
            self._ground.counts.too_large += isinstance(error, BodyTooLarge)
            await self._fail(call, refusal_of(error), error)
        except (asyncio.CancelledError, AnswerBroken):
            raise
        except Exception as error:
            log.exception("bug", path=scope["path"])
            await self._fail(call, Refusal(500, "Internal server error"), error)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = f"{ROOT}/websocket"
        found = _SOCKET.fullmatch(scope["path"].removeprefix(ROOT))
        if found is None:
            raise NotFound(f"There is no WebSocket at {scope['path'][:200]}.")
        await serve_socket(self._ground, scope, receive, send, found["prefix"], found["path"] or "")

    async def _answer(self, call: BlockCall, path: str) -> None:
        found = _FILE.fullmatch(path)
        if found is not None:
            call.prefix_name, call.path = found["prefix"], found["path"]
            call.scope["state"]["route"] = f"{ROOT}/files"
            await _file(call)
            return
        if _SOCKET.fullmatch(path):
            raise Refusal(426, "Upgrade Required", (("upgrade", "websocket"), ("connection", "upgrade")))
        if path == INTERNAL_PATH and self._ground.internal is not None:
            call.scope["state"]["route"] = ROOT + path
            if call.scope["method"] != "POST":
                raise _not_allowed("POST")
            await self._ground.internal.post_user(call)
            return
        verbs = _USER.get(path)
        if verbs is None:
            raise Refusal(404, "Not Found")
        call.scope["state"]["route"] = ROOT + path
        verb = verbs.get(call.scope["method"])
        if verb is None:
            await call.who()
            raise _not_allowed(*verbs)
        await verb(call)

    def _call(self, scope: Scope, receive: Receive, send: Send) -> BlockCall:
        state = scope["state"]
        state["route"] = ROOT
        headers: Headers = state["headers"]
        body = Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=self._ground.body_bytes,
            idle_timeout_s=self._ground.idle_timeout_s,
        )
        return BlockCall(
            scope=scope,
            headers=headers,
            body=body,
            request_id=state["request_id"],
            client=client_of(scope),
            _send=send,
            ground=self._ground,
        )

    async def _fail(self, call: BlockCall, refusal: Refusal, error: Exception) -> None:
        if call.started:
            raise AnswerBroken from error
        self._ground.counts.denied[refusal.reason] += 1
        await call.body.drain(DRAIN_BYTES, DRAIN_S)
        headers = [("content-type", "text/html; charset=UTF-8"), ("cache-control", "no-store"), *refusal.headers]
        if call.must_close:
            headers.append(("connection", "close"))
        await send_bytes(call.send, refusal.status, refusal.body, headers, head_only=call.head_only)


async def _file(call: BlockCall) -> None:
    """A file: reading is for everybody, all else for whoever has the prefix."""
    method = call.scope["method"]
    if method == "GET":
        await get_file(call)
        return
    try:
        caller = await call.who()
    except (Denied, Refusal) as error:
        if isinstance(error, Refusal) or refusal_of(error).reason == "User not found":
            raise Refusal(403, "User not found") from None
        raise
    prefix = await writable_by(caller, call.ground.filesystem, call.prefix_name)
    if prefix is None:
        raise Refusal(403, "Not authorized for this prefix")
    if method == "POST":
        await post_file(call, caller, prefix)
    elif method == "DELETE":
        await delete_file(call, caller, prefix)
    else:
        raise _not_allowed("GET", "POST", "DELETE")


def _not_allowed(*methods: str) -> Refusal:
    return Refusal(405, "Method Not Allowed", (("allow", ", ".join(methods)),))
