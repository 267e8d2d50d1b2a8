"""The fault table of S3: a real server that dies, fills up and comes back, and one that answers as it is told to.

| the server | the driver |
|---|---|
| is killed while puts run | unavailable; afterwards each value is whole or not there |
| is full | a clear error; what was there is readable |
| asks to slow down | unavailable, with a pause for the retry wrapper, which keeps it |
| fails after it has stored | unavailable; the retry stores the same again |
| does not answer | unavailable within the limit of time |
| sends less than announced, or cuts | unavailable |
| stores other bytes | unavailable |
| has ETags that are no MD5 | is found out once, by reading back, and used |
| breaks its listing's order | unavailable |
| knows no conditional put | the marker is written without |
| repeats keys in its errors | they are not in ours |
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from skep.base.errors import SkepError, StoreFull, StoreRefused, StoreUnavailable
from skep.base.ids import new_id
from skep.stores.drivers.s3.config import S3Config
from skep.stores.drivers.s3.store import S3Store
from skep.stores.protocol import Store
from skep.stores.registry import open_store
from skep.stores.stack import stacked
from skep.stores.url import parse_store_url
from skep.testing.clock import FakeClock
from skep.testing.seaweed import Seaweed, seaweed
from skep.testing.serving import served


@pytest.fixture
def own_server(program: Any, tmp_path: Path) -> Iterator[Seaweed]:
    with seaweed(program("weed", "make parts"), tmp_path) as server:
        server.bucket("hive")
        yield server


async def test_killed_in_the_middle(own_server: Seaweed) -> None:
    store = open_store(own_server.url("hive/p"), secret=own_server.secret)
    values = {f"k{n}": os.urandom(3 << 20) for n in range(12)}
    await store.put("first", [b"kept"])
    puts = [asyncio.ensure_future(store.put(key, [value])) for key, value in values.items()]
    await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
    own_server.kill()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert all(result is None or isinstance(result, StoreUnavailable) for result in results), results
    assert any(isinstance(result, StoreUnavailable) for result in results)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.get("first")
    own_server.start()
    assert await _when_ready(store, "first") == b"kept"
    for (key, value), _ in zip(values.items(), results, strict=True):
        try:
            found = await store.get(key)
        except SkepError:
            continue
        assert found == value
    await store.put("k0", [values["k0"]])
    assert await store.get("k0") == values["k0"]


async def test_full(program: Any, tmp_path: Path) -> None:
    with seaweed(program("weed", "make parts"), tmp_path, volumes=2, volume_mb=8) as server:
        server.bucket("hive")
        store = open_store(server.url("hive/p"), secret=server.secret)
        await store.put("first", [b"kept"])
        with pytest.raises((StoreFull, StoreUnavailable)) as caught:
            await _fill(store)
        assert "s3://hive/p" in str(caught.value)
        assert await store.get("first") == b"kept"


async def _when_ready(store: Store, key: str) -> bytes:
    """The value, once the volumes of a server that has just started are known to it."""
    for _ in range(100):
        try:
            return await store.get(key)
        except StoreUnavailable:
            await asyncio.sleep(0.3)  # the server has no other way to tell
    raise AssertionError("the server does not answer again")


async def _fill(store: Store) -> None:
    for number in range(60):
        await store.put(f"k{number}", [os.urandom(2 << 20)])


class Told:
    """A server that keeps objects and answers as the test says; not S3, only its outside."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.answers: list[Any] = []
        self.requests: list[str] = []
        self.etag = lambda value: hashlib.md5(value).hexdigest()
        self.store_as = lambda value: value

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.requests.append(f"{request.method} {request.url.path}")
        body = await request.body()
        answer = self.answers.pop(0) if self.answers else None
        if answer == "done but lost":
            self.objects[request.url.path] = body
            answer = error(500, "InternalError")
        elif answer == "hang":
            await asyncio.sleep(5)  # longer than the driver waits
        elif answer is None:
            answer = self._answer(request, body)
        await answer(scope, receive, send)

    def _answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path
        if request.method == "PUT":
            self.objects[path] = self.store_as(body)
            return Response(headers={"etag": f'"{self.etag(body)}"'})
        if path not in self.objects:
            return error(404, "NoSuchKey")
        return Response(self.objects[path], headers={"etag": '"x"', "last-modified": "Sat, 21 Nov 2026 14:00:00 GMT"})


def error(status: int, code: str, more: str = "") -> Response:
    return Response(f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>", status, media_type="text/xml")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(told: Told) -> Iterator[S3Store]:
    with served(told) as url:
        config = S3Config.from_url(parse_store_url(f"s3://bucket/p?endpoint={url}"), b"AKID:hunter2")
        yield S3Store(dataclasses.replace(config, timeout_s=1.0))


@pytest.mark.parametrize(
    ("answer", "kind", "hint"),
    [
        (error(503, "SlowDown"), StoreUnavailable, "slow down"),
        (error(429, "TooManyRequests"), StoreUnavailable, "slow down"),
        (error(500, "InternalError"), StoreUnavailable, "status 500"),
        (error(400, "XAmzContentChecksumMismatch"), StoreUnavailable, "ChecksumMismatch"),
        (error(507, "XMinioStorageFull"), StoreFull, "no room"),
        (error(403, "RequestTimeTooSkewed"), StoreRefused, "clock"),
        (error(400, "ExpiredToken", "<Token>hunter2</Token>"), StoreRefused, "expired"),
        (error(403, "Whatever", "<StringToSign>hunter2</StringToSign>"), StoreRefused, "check the key"),
        ("done but lost", StoreUnavailable, "status 500"),
        ("hang", StoreUnavailable, "in time"),
    ],
)
async def test_a_put_that_fails(told: Told, store: S3Store, answer: Any, kind: type[SkepError], hint: str) -> None:
    told.answers = [answer]
    with pytest.raises(kind) as caught:
        await store.put("a", [b"1"])
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)
    await store.put("a", [b"1"])
    assert await store.get("a") == b"1"


async def test_the_retry_wrapper_keeps_the_pause(told: Told, store: S3Store) -> None:
    clock = FakeClock(auto=True)
    told.answers = [error(503, "SlowDown"), error(503, "SlowDown")]
    before_s = clock.monotonic_s()
    await stacked(store, clock=clock, random=random.Random(1)).put("a", [b"1"])
    assert clock.monotonic_s() - before_s >= 2.0
    assert len(told.requests) == 3


async def test_a_get_that_is_short_or_cut(told: Told, store: S3Store) -> None:
    async def half() -> Any:
        yield b"half"
        raise ConnectionResetError

    await store.put("a", [b"12345678"])
    told.answers = [StreamingResponse(half(), headers={"content-length": "8", "etag": '"x"'})]
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_other_bytes_than_were_sent_are_noticed(told: Told, store: S3Store) -> None:
    told.store_as = lambda value: value[:-1] + b"?"
    told.etag = lambda value: hashlib.md5(value[:-1] + b"?").hexdigest()
    with pytest.raises(StoreUnavailable, match="other bytes"):
        await store.put("a", [b"12345678"])


async def test_etags_of_another_kind_are_found_out_once(told: Told, store: S3Store) -> None:
    told.etag = lambda value: "0123456789abcdef0123456789abcdef"
    await store.put("a", [b"1"])
    await store.put("b", [b"2"])
    assert [line.split()[0] for line in told.requests] == ["PUT", "GET", "PUT"]


async def test_a_listing_out_of_order_is_refused(told: Told, store: S3Store) -> None:
    def entry(name: str) -> str:
        return (
            f"<Contents><Key>p/objects/{name}</Key><Size>1</Size><ETag>x</ETag>"
            "<LastModified>2026-11-21T14:00:00.000Z</LastModified></Contents>"
        )

    page = f"<ListBucketResult>{entry('b')}{entry('a')}<IsTruncated>false</IsTruncated></ListBucketResult>"
    told.answers = [Response(page, media_type="text/xml")]
    with pytest.raises(StoreUnavailable, match="out of order"):
        [info async for info in store.list()]


async def test_a_server_without_conditional_puts_takes_the_marker_too(told: Told, store: S3Store) -> None:
    told.answers = [error(404, "NoSuchKey"), error(501, "NotImplemented")]
    hive, own = new_id(), new_id()
    assert (await store.claim(hive, own)).hive_id == hive
    assert (await store.claim(hive, own)).store_id == own
