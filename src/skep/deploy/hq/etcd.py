"""etcd v3 through its JSON gateway (etcd 3.4 and later): range, put, delete, transactions, leases, watches.

Bytes travel as base64, 64-bit numbers as texts (proto3's JSON mapping). A call goes to one member after the other until
one answers; what asks for nothing to be repeated (``once``) is not sent again when its first answer was lost.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from skep.base.errors import BadInput, Unavailable

TIMEOUT_S = 5.0
OPERATIONS_MAX = 100
"""In one transaction; etcd takes 128 unless it is told otherwise."""
PAGE = 500
_LINE_MAX_BYTES = 16 << 20


class KeyValue(msgspec.Struct, frozen=True):
    """A key as etcd has it. ``revision`` is that of its last change, ``created`` that of its first."""

    key: bytes
    value: bytes
    revision: int
    created: int


class Change(msgspec.Struct, frozen=True):
    """Something that happened to a key; ``value`` None: it was deleted."""

    key: bytes
    value: bytes | None
    revision: int


def b64(content: bytes) -> str:
    """Bytes as the gateway takes them."""
    return base64.b64encode(content).decode()


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``: etcd's end of a range."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


def put_of(key: bytes, value: bytes, lease: int = 0) -> dict[str, Any]:
    """A write, as part of a transaction."""
    return {"request_put": {"key": b64(key), "value": b64(value), **({"lease": str(lease)} if lease else {})}}


def delete_of(key: bytes) -> dict[str, Any]:
    """A deletion, as part of a transaction."""
    return {"request_delete_range": {"key": b64(key)}}


def revision_is(key: bytes, revision: int) -> dict[str, Any]:
    """A condition: the last change of a key was this one; 0: it is not there."""
    return {"key": b64(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def created_is(key: bytes, revision: int) -> dict[str, Any]:
    """A condition: a key was made by this change, and has been there since; 0: it is not there."""
    return {"key": b64(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


class Etcd:
    """One cluster. ``endpoints``: ``http://10.0.0.1:2379``, …"""

    def __init__(self, endpoints: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        if not endpoints or not all(one.startswith(("http://", "https://")) for one in endpoints):
            raise BadInput("etcd is named by addresses like http://10.0.0.1:2379")
        self._endpoints = [one.rstrip("/") for one in endpoints]
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(timeout_s, connect=2.0))
        self._first = 0

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def call(self, path: str, request: Mapping[str, Any], *, once: bool = False) -> dict[str, Any]:
        """One call. Raises Unavailable when no member answers, or with ``once`` when it is not known what was done."""
        said = "nobody answers"
        for attempt in range(len(self._endpoints)):
            index = (self._first + attempt) % len(self._endpoints)
            try:
                answer = await self._client.post(f"{self._endpoints[index]}/v3/{path}", json=request)
            except httpx.ConnectError as error:  # nothing was sent
                said = str(error)
                continue
            except httpx.HTTPError as error:
                said = f"{type(error).__name__} {error}"
                if once:
                    raise Unavailable(f"etcd did not answer {path}: it is not known what it did ({said})") from None
                continue
            if answer.status_code == 200:
                self._first = index
                return dict(answer.json())
            said = answer.text[:300]
            if answer.status_code in (400, 404):
                raise BadInput(f"etcd refuses {path}: {said}")
            if once and "no leader" not in said:
                raise Unavailable(f"etcd failed at {path}: it is not known what it did ({said})")
        raise Unavailable(f"etcd cannot be used now ({path}): {said}")

    async def range(self, key: bytes, end: bytes | None = None, *, limit: int = 0) -> tuple[KeyValue, ...]:
        """A key, or all from it to before ``end``, in order."""
        found: list[KeyValue] = []
        while True:
            asked = min(PAGE, limit - len(found)) if limit else PAGE
            request: dict[str, Any] = {"key": b64(key), "limit": str(asked)}
            if end is not None:
                request["range_end"] = b64(end)
            answer = await self.call("kv/range", request)
            page = [_key_value(raw) for raw in answer.get("kvs", ())]
            found += page
            if not answer.get("more") or not page or (limit and len(found) >= limit):
                return tuple(found)
            key = page[-1].key + b"\0"

    async def transaction(
        self, conditions: Sequence[Mapping[str, Any]], operations: Sequence[Mapping[str, Any]], *, once: bool
    ) -> tuple[bool, int]:
        """Do all operations if all conditions hold; whether they did, and the revision of the cluster now."""
        request = {"compare": list(conditions), "success": list(operations)}
        answer = await self.call("kv/txn", request, once=once)
        return bool(answer.get("succeeded")), int(answer["header"]["revision"])

    async def grant(self, ttl_s: int) -> int:
        """A lease of so many seconds; its id."""
        answer = await self.call("lease/grant", {"TTL": str(ttl_s)})
        return int(answer["ID"])

    async def keep_alive(self, lease: int) -> int:
        """The seconds that a lease has from now on; 0: it is gone."""
        answer = await self.call("lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0))

    async def revoke(self, lease: int) -> None:
        """End a lease, and delete what hangs on it."""
        with contextlib.suppress(BadInput):  # it is gone
            await self.call("lease/revoke", {"ID": str(lease)})

    async def watch(self, key: bytes, end: bytes | None = None, *, since: int = 0) -> AsyncIterator[Change]:
        """What happens to a key, or a range, from revision ``since`` on (0: from now). Ends when the member goes.

        Raises Unavailable when no member can be reached.
        """
        create: dict[str, Any] = {"key": b64(key)}
        if end is not None:
            create["range_end"] = b64(end)
        if since:
            create["start_revision"] = str(since)
        body = {"create_request": create}
        for attempt in range(len(self._endpoints)):
            url = f"{self._endpoints[(self._first + attempt) % len(self._endpoints)]}/v3/watch"
            timeout = httpx.Timeout(TIMEOUT_S, read=None)
            try:
                async with self._client.stream("POST", url, json=body, timeout=timeout) as answer:
                    async for line in answer.aiter_lines():
                        if len(line) > _LINE_MAX_BYTES:
                            return
                        for change in _changes(line):
                            yield change
                return
            except httpx.ConnectError:
                continue
            except httpx.HTTPError:
                return
        raise Unavailable("etcd cannot be watched now: no member answers")


def _key_value(raw: Mapping[str, Any]) -> KeyValue:
    return KeyValue(
        base64.b64decode(raw["key"]),
        base64.b64decode(raw.get("value", "")),
        int(raw["mod_revision"]),
        int(raw["create_revision"]),
    )


def _changes(line: str) -> list[Change]:
    if not line.strip():
        return []
    result = msgspec.json.decode(line).get("result", {})
    return [
        Change(
            base64.b64decode(event["kv"]["key"]),
            None if event.get("type") == "DELETE" else base64.b64decode(event["kv"].get("value", "")),
            int(event["kv"].get("mod_revision", 0)),
        )
        for event in result.get("events", ())
    ]


class Leadership:
    """Which of several HQs leads: the one whose lease holds the key. What it writes is bound to that (``guard``).

    ``lost`` is set when the lease cannot be known to hold any more, which is before anybody else can have it.
    """

    def __init__(self, etcd: Etcd, prefix: str, name: str, lease_s: float) -> None:
        self._etcd = etcd
        self._key = f"{prefix}leader".encode()
        self._name = name
        self._lease_s = max(2, round(lease_s))
        self._lease = 0
        self._created = 0
        self._keeping: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    @property
    def guard(self) -> dict[str, Any]:
        """The condition under which everything is written: this HQ leads."""
        return created_is(self._key, self._created or -1)

    async def leader(self) -> str:
        """Who leads now; empty: nobody."""
        found = await self._etcd.range(self._key)
        return found[0].value.decode(errors="replace") if found else ""

    async def campaign(self) -> None:
        """Wait until this HQ leads. Members that do not answer are waited for."""
        while True:
            try:
                if await self._try():
                    return
                await self._until_free()
            except Unavailable:
                await asyncio.sleep(1.0)

    async def _try(self) -> bool:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        lease = await self._etcd.grant(self._lease_s)
        won, revision = await self._etcd.transaction(
            [created_is(self._key, 0)], [put_of(self._key, self._name.encode(), lease)], once=True
        )
        if not won:
            await self._etcd.revoke(lease)
            return False
        self._lease, self._created = lease, revision
        self.lost.clear()
        self._keeping = asyncio.ensure_future(self._keep(began_s))
        return True

    async def _until_free(self) -> None:
        """Until the leader's key changes, or for one lease: a watch may die with its member."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease_s):
                if not await self.leader():
                    return
                async for change in self._etcd.watch(self._key):
                    if change.value is None:
                        return

    async def _keep(self, renewed_s: float) -> None:
        """Renew the lease; when that has failed for three quarters of its time, it counts as lost."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._lease_s / 5)
            began_s = loop.time()
            left_s = renewed_s + 0.75 * self._lease_s - began_s
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    if await self._etcd.keep_alive(self._lease) <= 0:
                        break
                renewed_s = began_s
            except (Unavailable, BadInput):
                if loop.time() - renewed_s >= 0.75 * self._lease_s:
                    break
            except TimeoutError:
                break
        self.lost.set()

    async def resign(self) -> None:
        """Lead no more, so that another may at once."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        self.lost.set()
        with contextlib.suppress(Unavailable):
            await self._etcd.revoke(self._lease)
