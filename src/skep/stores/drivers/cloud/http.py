"""HTTP as the cloud drivers use it: a bounded pool, one refresh of the token, the provider's pace, one table of errors.

What always holds:
- an answer is read up to a limit, and a shorter one than announced is a failure;
- a token goes to the host that it is for alone: nothing follows a redirect by itself;
- who asks to slow down is left alone until the time it named; calls until then fail at once and say how long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx
import msgspec

from skep.base.clock import Clock
from skep.base.errors import StoreRefused, StoreUnavailable

JSON_MAX_BYTES = 16 << 20
SLOW_MAX_S = 3_600.0
_SLOW_FIRST_S = 1.0
_JSON = {"content-type": "application/json"}
_encode = msgspec.json.encode


class Authorizer(Protocol):
    """Gives the Authorization header."""

    async def header(self, refused: str | None = None) -> str:
        """The header's value; ``refused`` is one that got a 401. Raises StoreRefused when there is no other."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """The body as JSON; an empty mapping when it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}


class Http:
    """The calls of one store. ``place`` stands in messages."""

    def __init__(
        self,
        place: str,
        authorizer: Authorizer,
        clock: Clock,
        *,
        connections: int = 8,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 10.0,
        proxy: str | None = None,
    ) -> None:
        self._proxy = proxy
        self.place = place
        self._authorizer = authorizer
        self._clock = clock
        self._connections = connections
        self._timeout = httpx.Timeout(timeout_s, connect=connect_timeout_s, pool=None)
        self._client: httpx.AsyncClient | None = None
        self._slots = asyncio.Semaphore(connections)
        self._not_before_s = float("-inf")
        self._slow_in_a_row = 0

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: object = None,
        authorized: bool = True,
        limit_bytes: int = JSON_MAX_BYTES,
    ) -> Reply:
        """One request and its answer, whatever its status but 401 and those that ask to slow down.

        Raises StoreUnavailable (not reached, cut, too slow, asked to wait) and StoreRefused (401 twice).
        """
        self._keep_pace()
        given = dict(headers or {})
        if json is not None:
            content, given = _encode(json), {**_JSON, **given}
        shown = await self._authorizer.header() if authorized else None
        reply = await self._once(method, url, given, params, content, shown, limit_bytes)
        if reply.status == 401 and shown is not None:
            shown = await self._authorizer.header(refused=shown)
            reply = await self._once(method, url, given, params, content, shown, limit_bytes)
        if reply.status == 401:
            raise StoreRefused(f"{self.place} does not take the login any more: log in to the account again")
        if reply.status == 429 or (reply.status == 503 and "retry-after" in reply.headers):
            raise self.slow_down(reply)
        if reply.status < 500:
            self._slow_in_a_row = 0
        return reply

    def _keep_pace(self) -> None:
        rest_s = self._not_before_s - self._clock.monotonic_s()
        if rest_s > 0:
            raise StoreUnavailable(f"{self.place} asked to wait another {rest_s:.0f} s", retry_after_s=rest_s)

    def slow_down(self, reply: Reply, asked_s: float | None = None) -> StoreUnavailable:
        """The error for an answer that asks to slow down; further calls wait for as long as it says."""
        asked = asked_s if asked_s is not None else self._retry_after_s(reply.headers.get("retry-after"))
        if asked is None:
            asked = _SLOW_FIRST_S * 2.0 ** min(6, self._slow_in_a_row)
        self._slow_in_a_row += 1
        wait_s = min(SLOW_MAX_S, max(0.0, asked))
        self._not_before_s = self._clock.monotonic_s() + wait_s
        return StoreUnavailable(
            f"{self.place} asks to slow down for {wait_s:.0f} s (status {reply.status})", retry_after_s=wait_s
        )

    def _retry_after_s(self, value: str | None) -> float | None:
        """RFC 9110 section 10.2.3: seconds or a date."""
        if not value:
            return None
        try:
            return float(int(value))
        except ValueError:
            pass
        try:
            return parsedate_to_datetime(value).timestamp() - self._clock.now_us() / 1e6
        except ValueError:
            return None

    async def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        content: bytes | None,
        authorization: str | None,
        limit_bytes: int,
    ) -> Reply:
        sent = dict(headers)
        if authorization is not None:
            sent["authorization"] = authorization
        try:
            async with self._slots:
                client = self._open()
                request = client.build_request(method, url, headers=sent, params=params, content=content)
                answer = await client.send(request, stream=True)
                try:
                    return Reply(answer.status_code, answer.headers, await self._body(answer, limit_bytes))
                finally:
                    await answer.aclose()
        except httpx.TimeoutException as error:
            raise StoreUnavailable(f"{self.place} did not answer in time ({type(error).__name__})") from None
        except httpx.InvalidURL:
            raise StoreUnavailable(f"{self.place} named an address that is none") from None
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{self.place} cannot be reached or broke off ({type(error).__name__})") from None

    async def _body(self, answer: httpx.Response, limit_bytes: int) -> bytes:
        parts, size_bytes = [], 0
        async for part in answer.aiter_bytes(1 << 18):
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > limit_bytes:
                raise StoreUnavailable(f"{self.place} answered with more than {limit_bytes} bytes")
        return b"".join(parts)

    def _open(self) -> httpx.AsyncClient:
        """Made at the first call: opening a store touches nothing."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._timeout,
                follow_redirects=False,
                proxy=self._proxy,
                limits=httpx.Limits(
                    max_connections=self._connections,
                    max_keepalive_connections=self._connections,
                    keepalive_expiry=30.0,
                ),
                headers={"user-agent": "skep", "accept-encoding": "identity"},
            )
        return self._client

    def unexpected(self, reply: Reply, doing: str, code: str = "") -> StoreUnavailable:
        """The error for an answer that no table knows. ``code``: the provider's own word, if it is one."""
        word = code if code.replace("_", "").replace("/", "").replace(".", "").isalnum() and len(code) < 80 else ""
        return StoreUnavailable(f"{self.place} failed while {doing} (status {reply.status} {word})".replace(" )", ")"))


def range_header(offset: int, length: int | None) -> dict[str, str]:
    """The Range header for a read, or none for the whole."""
    if offset == 0 and length is None:
        return {}
    return {"range": f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))}


def ranged_body(reply: Reply, offset: int, length: int | None, place: str) -> bytes:
    """The bytes that were asked for, from a 206 or from a whole 200. Raises StoreUnavailable for anything else."""
    if reply.status == 200:
        return reply.body if offset == 0 and length is None else reply.body[offset:][:length]
    start, _, rest = (reply.headers.get("content-range") or "").removeprefix("bytes ").partition("-")
    last = rest.partition("/")[0]
    if (
        reply.status != 206
        or start != str(offset)
        or not last.isdecimal()
        or int(last) - offset + 1 != len(reply.body)
        or (length is not None and len(reply.body) > length)
    ):
        raise StoreUnavailable(f"{place} sent another range than was asked for")
    return reply.body
