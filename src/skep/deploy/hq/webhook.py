"""The HTTP port of webhooks: ``POST /webhook/STACK``, and nothing else. Put TLS in front of it.

202  the push is being deployed      200  the delivery is fine and asks for nothing (a ping, another branch)
401  not signed with the secret      409  taken already        400, 413  not a delivery
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from skep.base.errors import BodyTooLarge, SkepError
from skep.base.logs import get_logger
from skep.deploy.hq.hooks import Hook, Hooks
from skep.deploy.hq.settings import WebhookSettings

log = get_logger("skep.hq")
BODY_TIMEOUT_S = 30.0
REQUESTS_MAX = 64
DEPLOYS_MAX = 20
_STATUS = {"invalid-token": 401, "conflict": 409, "body-too-large": 413, "bad-input": 400, "malformed-request": 400}

Deploy = Callable[[Hook], Awaitable[None]]


class Webhook:
    """The listening port. ``deploy`` is called for each good push, in a task of its own."""

    def __init__(self, hooks: Hooks, deploy: Deploy, settings: WebhookSettings) -> None:
        self._hooks = hooks
        self._deploy = deploy
        self._settings = settings
        self._deploying: set[asyncio.Task[None]] = set()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/webhook/{stack}", self._receive, methods=["POST"])])

    async def listen(self) -> int:
        """Begin to answer; the port. Raises OSError where it cannot listen."""
        family = socket.AF_INET6 if ":" in self._settings.listen else socket.AF_INET
        listener = socket.create_server(
            (self._settings.listen, self._settings.port), family=family, backlog=REQUESTS_MAX
        )
        config = uvicorn.Config(
            self.application(), log_config=None, access_log=False, lifespan="off", limit_concurrency=REQUESTS_MAX,
            timeout_keep_alive=5, server_header=False, ws="none", loop="none", h11_max_incomplete_event_size=16_384,
            http="h11", proxy_headers=False,
        )  # fmt: skip
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server = _Server(config)
        self._serving = asyncio.ensure_future(self._server.serve([listener]))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Answer no more; what is being deployed goes on."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def _receive(self, request: Request) -> Response:
        stack = str(request.path_params["stack"])[:64]
        try:
            body = await self._body(request)
            told = await self._hooks.take(stack, request.headers, body)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return JSONResponse({"error": "the body did not come in time"}, 408)
        except SkepError as error:
            log.info("webhook refused", stack=stack, code=error.code)
            return JSONResponse({"error": error.message}, _STATUS.get(error.code, 503 if error.retryable else 400))
        if not told.deploy:
            return JSONResponse({"status": "nothing to do", "event": told.event})
        if len(self._deploying) >= DEPLOYS_MAX:
            return JSONResponse({"error": "too many deploys wait: push again later"}, 503)
        task = asyncio.ensure_future(self._deploy(told.hook))
        self._deploying.add(task)
        task.add_done_callback(self._deploying.discard)
        return JSONResponse({"status": "deploying", "stack": stack}, 202)

    async def _body(self, request: Request) -> bytes:
        limit_bytes = self._settings.body_max_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise BodyTooLarge(f"a delivery has at most {limit_bytes} bytes")
        body = bytearray()
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > limit_bytes:
                    raise BodyTooLarge(f"a delivery has at most {limit_bytes} bytes")
        return bytes(body)


class _Server(uvicorn.Server):
    """Signals are the program's, not this port's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
