"""The S3 door as one ASGI application: from a request to its operation, from an error to S3's words.

Where the bucket stands: in the path (``/bucket/key``), below ``/s3`` on the hive's own port, or in the host name
(``bucket.s3.example.org``) where the setting ``s3.domain`` names one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from skep.base.errors import ClientGone, SkepError
from skep.base.logs import get_logger
from skep.frontends.common.answers import AnswerBroken, send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers, declared_length
from skep.frontends.s3 import sigv4
from skep.frontends.s3.call import Call, Services
from skep.frontends.s3.cors import allow_origin, preflight
from skep.frontends.s3.errors import Failure, Refusal, failure_of, failure_of_bug
from skep.frontends.s3.post_object import is_form, post_object
from skep.frontends.s3.routes import BUCKET, OBJECT, SERVICE, WORDS
from skep.frontends.s3.signing import authenticate, raw_path
from skep.frontends.s3.unconfigured import Handler
from skep.frontends.s3.xmltext import XML_TYPE

log = get_logger("skep.s3")
PREFIX = "/s3"
DRAIN_BYTES = 256 * 1024
DRAIN_S = 2.0


class Target(NamedTuple):
    """What a request is about."""

    bucket: str | None
    key: str | None


class S3App:
    """Answers every S3 request."""

    def __init__(self, services: Services, domain: str = "") -> None:
        """``domain``: the host name below which buckets have names of their own; empty: none."""
        self._services = services
        self._domain = domain.lower().strip(".")

    @property
    def has_domain(self) -> bool:
        """Whether there are hosts that are this door's."""
        return bool(self._domain)

    def owns_host(self, headers: Headers) -> bool:
        """Whether the request's host is the domain of this door, or a bucket's name below it."""
        host = _host(headers)
        return bool(self._domain) and (host == self._domain or host.endswith("." + self._domain))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["state"]["headers"]
        state = scope["state"]
        state["route"] = "s3"
        call = Call(
            services=self._services,
            scope=scope,
            headers=headers,
            body=Body(
                receive,
                declared=declared_length(headers),
                limit_bytes=self._services.body_limit_bytes,
                idle_timeout_s=self._services.idle_timeout_s,
            ),
            query={},
            bucket_name=None,
            key_text=None,
            request_id=state["request_id"],
            send_raw=send,
        )
        try:
            await self._answer(call)
        except SkepError as error:
            await self._fail(call, failure_of(error), error)
        except (asyncio.CancelledError, AnswerBroken):
            raise
        except Exception as error:
            log.exception("bug", path=scope["path"])
            await self._fail(call, failure_of_bug(), error)

    async def refuse(self, scope: Scope, send: Send, error: SkepError) -> None:
        """Tell what kept a request from this door."""
        failure, request_id = failure_of(error), scope["state"]["request_id"]
        headers = [("content-type", XML_TYPE), ("x-amz-request-id", request_id), ("connection", "close")]
        body = failure.xml(scope["path"], request_id)
        await send_bytes(send, failure.status, body, headers, head_only=scope["method"] == "HEAD")

    async def _answer(self, call: Call) -> None:
        pairs = sigv4.parse_query(call.scope.get("query_string", b""))
        call.query = dict(pairs)
        target = self._target(call)
        call.bucket_name, call.key_text = target
        if any("\udc80" <= letter <= "\udcff" for value in call.query.values() for letter in value):
            raise Refusal("InvalidArgument", "A value in the query is not valid UTF-8.")
        if call.method == "OPTIONS":
            await preflight(call)
            return
        await allow_origin(call)
        if is_form(call):
            call.scope["state"]["route"] = "s3:post_object"
            await post_object(call)
            return
        call.signer = await authenticate(self._services.auth, call.scope, pairs, self._services.clock.now_us())
        handler = _handler(call, target)
        call.scope["state"]["route"] = f"s3:{getattr(handler, '__name__', 'not_set')}"
        await handler(call)

    def _target(self, call: Call) -> Target:
        path = raw_path(call.scope)
        host = _host(call.headers)
        try:
            text = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise Refusal("XSkepKeyNotAPath", "The key is not valid UTF-8.") from None
        if self._domain and host.endswith("." + self._domain):
            return Target(host[: -len(self._domain) - 1], text[1:] or None)
        if call.scope.get("skep.door") != "s3" and host != self._domain:
            text = text.removeprefix(PREFIX)
        bucket, _, key = text.removeprefix("/").partition("/")
        return Target(bucket or None, key or None)

    async def _fail(self, call: Call, failure: Failure, error: Exception) -> None:
        if call.started:
            raise AnswerBroken from error
        gone = isinstance(error, ClientGone)
        if gone:
            call.scope["state"]["gone"] = True
        else:
            await call.body.drain(DRAIN_BYTES, DRAIN_S)
        headers = [
            ("content-type", XML_TYPE),
            ("x-amz-request-id", call.request_id),
            *failure.headers,
            *call.more_headers,
        ]
        if not call.body.finished and (call.body.declared or "transfer-encoding" in call.headers):
            headers.append(("connection", "close"))
        if failure.status == 503:
            headers.append(("retry-after", "1"))
        body = failure.xml(call.scope["path"], call.request_id)
        await send_bytes(call.send, failure.status, body, headers, head_only=call.method == "HEAD")


def _handler(call: Call, target: Target) -> Handler:
    table: Mapping[tuple[str, str], Handler]
    table = SERVICE if target.bucket is None else BUCKET if target.key is None else OBJECT
    word = next((name for name in call.query if name in WORDS), "")
    handler = table.get((call.method, word))
    if handler is None:
        if word:
            raise Refusal("NotImplemented", "This is not something that a hive does.")
        raise Refusal("MethodNotAllowed", "The specified method is not allowed against this resource.")
    return handler


def _host(headers: Headers) -> str:
    return (headers.get("host") or "").rpartition(":")[0].lower() or (headers.get("host") or "").lower()
