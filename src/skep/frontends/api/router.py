"""From a request to its operation and back: routing, authentication, checks, errors.

Starlette's router finds the path; the rest is here, once for all operations.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import structlog
from starlette.routing import Route, Router

from skep.base.errors import ClientGone, MalformedRequest, SkepError, TimedOut
from skep.frontends.api.call import Call
from skep.frontends.api.errors import method_not_allowed, no_such_route, problem_of, problem_of_bug
from skep.frontends.api.operation import Answer, Operation, signature_of
from skep.frontends.api.services import Services
from skep.frontends.common.answers import AnswerBroken, send_problem
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers, check_head, declared_length
from skep.frontends.common.problems import Problem
from skep.frontends.common.request import client_of

log = structlog.get_logger("skep.api")
QUERY_FIELDS_MAX = 64
DRAIN_BYTES = 1 << 20
DRAIN_S = 2.0
_YES = frozenset({"", "1", "true", "yes", "on"})


class ApiApp:
    """The ASGI application of the JSON API."""

    def __init__(self, operations: Sequence[Operation], services: Services) -> None:
        by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
        for operation in operations:
            assert operation.method not in by_path[operation.path], f"{operation.method} {operation.path} twice"
            by_path[operation.path][operation.method] = operation
        self._fixed: dict[str, App] = {}
        routes = []
        for path, methods in by_path.items():
            resource = _Resource(methods, services)
            if "{" in path:
                routes.append(Route(path, resource))
            else:
                self._fixed[path] = resource
        self._router = Router(routes, redirect_slashes=False, default=_nothing_here)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            path = path.rstrip("/") or "/"
            scope = {**scope, "path": path}
        fixed = self._fixed.get(path)
        if fixed is not None:
            await fixed(scope, receive, send)
        else:
            await self._router(scope, receive, send)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(send, no_such_route(scope["path"]), request_id(scope), head_only=scope["method"] == "HEAD")


def request_id(scope: Scope) -> str:
    """The id that the server gave this request."""
    value: str = scope.get("state", {}).get("request_id", "")
    return value


class _Resource:
    """All methods of one path."""

    def __init__(self, methods: Mapping[str, Operation], services: Services) -> None:
        self._endpoints = {method: _Endpoint(operation, services) for method, operation in methods.items()}
        if "GET" in self._endpoints:
            self._endpoints.setdefault("HEAD", self._endpoints["GET"])
        self._allowed = sorted({*self._endpoints, "OPTIONS"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            allow = (b"allow", ", ".join(self._allowed).encode())
            await send({"type": "http.response.start", "status": 204, "headers": [allow]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send_problem(send, method_not_allowed(scope["method"], self._allowed), request_id(scope))


class _Endpoint:
    """One operation: the only place where a call begins, is checked, and fails."""

    def __init__(self, operation: Operation, services: Services) -> None:
        signature = signature_of(operation)
        self._operation = operation
        self._services = services
        self._query = signature.query
        self._body = None if signature.body is None else msgspec.json.Decoder(signature.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call | None = None
        try:
            call = self._open_call(scope, receive, send)
            await self._run(call)
        except SkepError as error:
            await self._fail(call, scope, send, error, problem_of(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("bug", request_id=request_id(scope), operation=self._operation.name)
            await self._fail(call, scope, send, error, problem_of_bug())

    def _open_call(self, scope: Scope, receive: Receive, send: Send) -> Call:
        limits = self._services.limits
        state = scope.setdefault("state", {})
        state["route"] = self._operation.path
        headers = state.get("headers") or check_head(scope, limits.head_bytes)
        streams = self._operation.streams
        body = Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=limits.body_bytes if streams else limits.json_body_bytes,
            idle_timeout_s=limits.idle_timeout_s,
        )
        return Call(
            services=self._services,
            scope=scope,
            headers=headers,
            path=scope.get("path_params", {}),
            body=body,
            request_id=request_id(scope),
            client=client_of(scope),
            _send=send,
        )

    async def _run(self, call: Call) -> None:
        operation = self._operation
        call.body.check_declared()
        if operation.scope is not None:
            headers = _ticket_headers(call) if operation.ticketed else call.headers
            call.caller = await authenticate(call.services.auth, headers, call.client)
            if operation.scope:
                call.caller.require(operation.scope)
            if operation.admin:
                call.caller.require_admin()
        arguments: dict[str, Any] = {}
        if self._query is not None:
            arguments["query"] = decode_query(call.scope.get("query_string", b""), self._query)
        if operation.streams:
            await operation.handler(call, **arguments)
            return
        async with _time_limit(call.services.limits.request_timeout_s):
            if self._body is not None:
                arguments["body"] = await self._read_json(call)
            value = await operation.handler(call, **arguments)
        status = operation.status
        if isinstance(value, Answer):
            value, status = value.value, value.status
        await call.answer(value, status)

    async def _read_json(self, call: Call) -> Any:
        assert self._body is not None
        raw = await call.body.read(call.services.limits.json_body_bytes)
        kind = (call.headers.get("content-type") or "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise MalformedRequest(f"This call takes application/json and got {kind[:80]!r}.")
        try:
            return self._body.decode(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedRequest(f"The JSON body does not fit: {error}.") from None

    async def _fail(self, call: Call | None, scope: Scope, send: Send, error: Exception, problem: Problem) -> None:
        """Answer with the problem if that is still possible, or break the answer off if it has begun."""
        if isinstance(error, ClientGone):
            scope.setdefault("state", {})["gone"] = True
        if call is None:
            await send_problem(send, problem, request_id(scope), head_only=scope["method"] == "HEAD", close=True)
            return
        if call.started:
            log.warning("answer broken off", request_id=call.request_id, code=problem.code, detail=problem.detail)
            raise AnswerBroken(problem.code) from error
        if isinstance(error, ClientGone):  # its other half may still listen
            await send_problem(send, problem, call.request_id, head_only=call.head_only, close=True)
            return
        await call.body.drain(DRAIN_BYTES, DRAIN_S)
        await send_problem(send, problem, call.request_id, head_only=call.head_only, close=call.must_close)


class _time_limit:
    """``asyncio.timeout`` whose end is one of our errors."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise TimedOut(f"The call was not done after {self._seconds:g} s: try again, or ask for less.") from None


def _ticket_headers(call: Call) -> Headers:
    """The headers of a request; where a ticket in the query stands for the Authorization header, with that header.

    Raises InvalidToken, TokenExpired.
    """
    query = call.scope.get("query_string", b"")
    if call.headers.get("authorization") is not None or b"ticket=" not in query:
        return call.headers
    try:
        fields = dict(_pairs(query.decode("ascii")))
    except ValueError:
        raise MalformedRequest("The query of the URL does not parse: percent-encode it as UTF-8.") from None
    subject = call.path.get("node_id") or fields.get("nodes", "")
    header = call.services.tickets.open(fields.get("ticket", ""), subject)
    return Headers([(b"authorization", header.encode("latin-1"))])


def _pairs(text: str) -> list[tuple[str, str]]:
    """The fields of a query, as the standard library reads them. Raises ValueError: too many, or not UTF-8."""
    parts = text.split("&")
    if len(parts) > QUERY_FIELDS_MAX:
        raise ValueError("too many fields")
    split = [part.partition("=") for part in parts if part]
    return [(_decoded(name), _decoded(value)) for name, _, value in split]


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


@lru_cache(256)
def _flags(kind: type[msgspec.Struct]) -> frozenset[str]:
    """The fields that are true when they are given without a value, as in ``?download``."""
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.type is bool)


def decode_query(raw: bytes, kind: type[msgspec.Struct]) -> Any:
    """The query of a URL as a struct. Raises MalformedRequest for unknown, repeated or ill-typed fields."""
    try:
        pairs = _pairs(raw.decode("ascii"))
    except ValueError:  # UnicodeDecodeError is one
        raise MalformedRequest("The query of the URL does not parse: percent-encode it as UTF-8.") from None
    fields: dict[str, str | bool] = {}
    for name, text in pairs:
        if name in fields:
            raise MalformedRequest(f"The query has {name[:40]!r} twice.")
        fields[name] = text
    for name in _flags(kind).intersection(fields):
        fields[name] = str(fields[name]).lower() in _YES
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"The query does not fit: {error}.") from None
