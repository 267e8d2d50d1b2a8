"""The ASGI application of the door: from a request to its verb, and from an error to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from skep.base.errors import ClientGone, SkepError
from skep.base.logs import get_logger
from skep.frontends.common.answers import AnswerBroken, send_problem
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.body import Body
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.links import LINK_HEADER, PASS_HEADER
from skep.frontends.common.problems import Problem
from skep.frontends.common.request import client_of
from skep.frontends.tus.append import append
from skep.frontends.tus.cancel import cancel
from skep.frontends.tus.create import create
from skep.frontends.tus.errors import UnsupportedVersion, method_not_allowed, problem_of, problem_of_bug
from skep.frontends.tus.exchange import ROOT, VERSION, Exchange
from skep.frontends.tus.options import options
from skep.frontends.tus.services import TusGround
from skep.frontends.tus.state import state

log = get_logger("skep.tus")
Verb = Callable[[Exchange], Awaitable[None]]
CREATING: Mapping[str, Verb] = {"POST": create, "PUT": create}
GOING_ON: Mapping[str, Verb] = {"HEAD": state, "PATCH": append, "DELETE": cancel}
DRAIN_BYTES = 1 << 20
DRAIN_S = 2.0


class TusApp:
    """Resumable uploads at ``/tus/``."""

    def __init__(self, ground: TusGround) -> None:
        self._ground = ground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["route"] = ROOT
        exchange = self._open(scope, receive, send)
        try:
            await self._answer(exchange)
        except SkepError as error:
            await self._fail(exchange, error, problem_of(error, is_tus=exchange.is_tus))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("bug", request_id=exchange.request_id)
            await self._fail(exchange, error, problem_of_bug())

    def _open(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        ground, known = self._ground, scope["state"]
        headers = known.get("headers") or check_head(scope, ground.head_bytes)
        method = scope["method"]
        if method == "POST":
            method = (headers.get("x-http-method-override") or method).upper()
        return Exchange(
            ground=ground,
            scope=scope,
            headers=headers,
            method=method,
            body=Body(
                receive,
                declared=declared_length(headers),
                limit_bytes=ground.body_bytes,
                idle_timeout_s=ground.idle_timeout_s,
            ),
            request_id=known.get("request_id", ""),
            client=client_of(scope),
            _send=send,
        )

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            await options(exchange)
            return
        verbs = CREATING if exchange.scope["path"] in (ROOT, ROOT.rstrip("/")) else GOING_ON
        verb = verbs.get(exchange.method)
        if verb is None:
            await exchange.body.drain(DRAIN_BYTES, DRAIN_S)
            await self._send(exchange, method_not_allowed(exchange.method, sorted(verbs)))
            return
        if exchange.is_tus and exchange.headers.get("tus-resumable") != VERSION:
            raise UnsupportedVersion(f"This hive speaks tus {VERSION}.")
        await _admit(exchange)
        exchange.body.check_declared()
        await verb(exchange)

    async def _fail(self, exchange: Exchange, error: Exception, problem: Problem) -> None:
        """Answer with the problem if that is still possible, or break the answer off if it has begun."""
        if isinstance(error, ClientGone):
            exchange.scope["state"]["gone"] = True
        if exchange.started:
            log.warning("answer broken off", request_id=exchange.request_id, code=problem.code)
            raise AnswerBroken(problem.code) from error
        if not isinstance(error, ClientGone):
            await exchange.body.drain(DRAIN_BYTES, DRAIN_S)
        await self._send(exchange, problem)

    @staticmethod
    async def _send(exchange: Exchange, problem: Problem) -> None:
        common = [pair for pair in exchange.common_headers() if pair[0] != "cache-control"]
        await send_problem(
            exchange.send,
            replace(problem, headers=(*problem.headers, *common)),
            exchange.request_id,
            head_only=exchange.head_only,
            close=exchange.must_close,
        )


async def _admit(exchange: Exchange) -> None:
    """Who asks: whoever holds a link whose address is shown, or somebody with an account."""
    ground, token = exchange.ground, exchange.headers.get(LINK_HEADER)
    if token is None:
        exchange.caller = await authenticate(ground.auth, exchange.headers, exchange.client)
        return
    exchange.opened = await ground.links.open(token, exchange.headers.get(PASS_HEADER), exchange.client)
    exchange.caller = exchange.opened.principal


def tus_app(ground: TusGround) -> TusApp:
    """The door."""
    return TusApp(ground)
