"""The fault table of clouds: every driver against its double when the provider fails.

| the provider | the driver |
|---|---|
| closes the connection, before or after the work | unavailable; the next try succeeds, one object is there |
| does not answer in time | unavailable within the limit |
| answers 429 or 503 with Retry-After | unavailable with that pause; further calls ask nothing until then |
| is full | full; reads go on |
| stores other bytes, or forgets them | unavailable, not acknowledged |
| sends half of what it announced | unavailable |
| lets the token expire, also in the middle of an upload in parts | one refresh for all, the upload goes on |
| has taken the grant back | refused, and not tried again |
| fails in the middle of an upload in parts | the upload goes on where it is, or is tried anew |
| lists late | what this process did is listed rightly |
| answers something that is not its protocol | unavailable |
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import SkepError, StoreFull, StoreRefused, StoreUnavailable
from skep.stores.drivers.cloud.base import CloudStore
from skep.stores.drivers.cloud.box import Box
from skep.stores.drivers.cloud.config import access_of
from skep.stores.drivers.cloud.dropbox import Dropbox
from skep.stores.drivers.cloud.gdrive import GoogleDrive
from skep.stores.drivers.cloud.onedrive import OneDrive
from skep.stores.stack import stacked
from skep.stores.url import parse_store_url
from skep.testing.clock import FakeClock
from skep.testing.clouds.base import CLIENT_ID, CLIENT_SECRET, CloudDouble, Rule
from skep.testing.clouds.box import BoxDouble
from skep.testing.clouds.dropbox import DropboxDouble
from skep.testing.clouds.gdrive import DriveDouble
from skep.testing.clouds.onedrive import OneDriveDouble

KIB = 1 << 10
DOUBLES: dict[str, type[CloudDouble]] = {
    "dropbox": DropboxDouble,
    "gdrive": DriveDouble,
    "onedrive": OneDriveDouble,
    "box": BoxDouble,
}
UPLOADS = {
    "dropbox": "files/upload",
    "gdrive": "/upload/drive/v3/files",
    "onedrive": "/content",
    "box": "/files/content",
}
DOWNLOADS = {"dropbox": "files/download", "gdrive": "/files/", "onedrive": "dl.1drv.com", "box": "dl.boxcloud.com"}
PARTS = {
    "dropbox": "upload_session/append_v2",
    "gdrive": "/upload/drive/v3/files",
    "onedrive": "up.1drv.com",
    "box": "upload_sessions/",
}


@pytest.fixture(params=DOUBLES)
def double(request: pytest.FixtureRequest) -> Iterator[CloudDouble]:
    made = DOUBLES[request.param](room_bytes=64 << 20)
    with made.served():
        yield made


def driver(double: CloudDouble, *, parts: bool = False, timeout_s: float = 20.0, clock: Any = None) -> CloudStore:
    """The driver on its double; with ``parts`` every value above 200 KiB goes up in parts."""
    clock = clock or SystemClock()
    grant = {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": double.grant().refresh,
        "base_url": double.base_url, "folder": ".skep/hive",
    }  # fmt: skip
    access = access_of(parse_store_url(f"{double.name}:account"), json.dumps(grant).encode(), None)
    small = 200 * KIB
    remote: Any
    match double.name:
        case "dropbox":
            options = {"upload_max_bytes": small, "part_bytes": 4 << 20} if parts else {}
            remote = Dropbox(access, clock, timeout_s=timeout_s, **options)
        case "gdrive":
            options = {"single_max_bytes": small, "part_bytes": 512 * KIB} if parts else {}
            remote = GoogleDrive(access, clock, timeout_s=timeout_s, **options)
        case "onedrive":
            options = {"single_max_bytes": small, "part_bytes": 640 * KIB} if parts else {}
            remote = OneDrive(access, clock, timeout_s=timeout_s, **options)
        case _:
            if parts:
                double.part_bytes, double.session_min_bytes = 512 * KIB, small  # type: ignore[attr-defined]
            remote = Box(access, clock, timeout_s=timeout_s, **({"single_max_bytes": small} if parts else {}))
    return CloudStore(remote, clock)


def large() -> bytes:
    """A value of several parts at every provider."""
    return os.urandom((9 << 20) + 77)


async def listed(store: CloudStore) -> list[str]:
    return [info.key async for info in store.list()]


@pytest.mark.parametrize("done", [False, True])
async def test_a_connection_that_breaks(double: CloudDouble, done: bool) -> None:
    store = driver(double)
    await store.put("first", [b"1"])
    double.fail(Rule(UPLOADS[double.name], cut=True, done=done))
    with pytest.raises(StoreUnavailable):
        await store.put("a", [b"value"])
    await store.put("a", [b"value"])
    assert await store.get("a") == b"value"
    assert await listed(store) == ["a", "first"]
    await store.close()
    again = driver(double)
    assert await again.get("a") == b"value"
    await again.delete("a")
    assert await listed(again) == ["first"], "also what a lost answer left is gone"


async def with_objects(double: CloudDouble, count: int) -> tuple[CloudStore, list[str]]:
    store, keys = driver(double), [f"k/{number}" for number in range(count)]
    for key in keys:
        await store.put(key, [b"x"])
    double.requests.clear()
    return store, keys


async def test_dropbox_deletes_many_files_with_a_few_requests() -> None:
    with (double := DropboxDouble(room_bytes=64 << 20)).served():
        store, keys = await with_objects(double, 12)
        await store.delete_many([*keys, "never"])
        assert [each.rpartition("/files/")[2] for each in double.requests] == ["delete_batch"] + 2 * [
            "delete_batch/check"
        ]
        assert await listed(store) == []


@pytest.mark.parametrize(
    ("answer", "hint"),
    [({".tag": "failed", "failed": {".tag": "too_many_write_operations"}}, "fewer writes"),
     ({".tag": "failed", "failed": {".tag": "other"}}, "could not be deleted"),
     ({".tag": "complete", "entries": [{".tag": "failure", "failure": {".tag": "path_write"}}]}, "path_write"),
     ({"surprise": 1}, "could not be deleted")],
)  # fmt: skip
async def test_a_batch_of_dropbox_that_is_not_carried_out(answer: dict[str, object], hint: str) -> None:
    with (double := DropboxDouble(room_bytes=64 << 20)).served():
        store, keys = await with_objects(double, 4)
        keep = double._delete_batch

        def refuses(entries: Any) -> Any:
            started = keep([])
            double.jobs["job"] = [answer]
            return type(started)(json.dumps({".tag": "async_job_id", "async_job_id": "job"}))

        double._delete_batch = refuses  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match=hint):
            await store.delete_many(keys)
        double._delete_batch = keep  # type: ignore[method-assign]
        await store.delete_many(keys)
        assert await listed(store) == []


@pytest.mark.parametrize("done", [False, True])
async def test_a_batch_of_dropbox_whose_answer_is_lost_is_sent_again(done: bool) -> None:
    with (double := DropboxDouble(room_bytes=64 << 20)).served():
        store, keys = await with_objects(double, 4)
        double.fail(Rule("files/delete_batch", cut=True, done=done))
        with pytest.raises(StoreUnavailable):
            await store.delete_many(keys)
        await store.delete_many(keys)
        assert await listed(store) == []


async def test_no_answer_in_time(double: CloudDouble) -> None:
    store = driver(double, timeout_s=0.5)
    await store.put("a", [b"1"])
    double.fail(Rule(UPLOADS[double.name], delay_s=2.0))
    with pytest.raises(StoreUnavailable, match="in time"):
        await store.put("b", [b"2"])


@pytest.mark.parametrize("status", [429, 503])
async def test_the_pause_that_is_asked_for_is_kept(double: CloudDouble, status: int) -> None:
    clock = FakeClock()
    store = driver(double, clock=clock)
    await store.put("a", [b"1"])
    double.fail(Rule(status=status, headers={"retry-after": "7"}))
    with pytest.raises(StoreUnavailable) as caught:
        await store.get("a")
    assert caught.value.details["retry_after_s"] == 7
    asked = len(double.requests)
    with pytest.raises(StoreUnavailable, match="asked to wait"):
        await store.get("a")
    assert len(double.requests) == asked, "nothing is asked during the pause"
    await clock.advance(8)
    assert await store.get("a") == b"1"


async def test_a_storm_of_429_is_sat_out(double: CloudDouble) -> None:
    clock = FakeClock(auto=True)
    store = stacked(driver(double, clock=clock), clock=clock, random=random.Random(1))
    double.fail(Rule(UPLOADS[double.name], times=3, status=429, headers={"retry-after": "2"}))
    before_s = clock.monotonic_s()
    await store.put("a", [b"1"])
    assert clock.monotonic_s() - before_s >= 6
    assert await store.get("a") == b"1"


async def test_full(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1" * 1000])
    double.room_bytes = 1_500
    with pytest.raises(StoreFull):
        await store.put("b", [b"2" * 1000])
    assert await store.get("a") == b"1" * 1000
    assert (await store.usage()).free_bytes == 500
    await store.delete("a")
    await store.put("b", [b"2" * 1000])


def spoilt(body: bytes) -> bytes:
    """One bit of the content's marker is another."""
    return body.replace(b"MARK", b"MARC")


async def test_other_bytes_than_were_sent(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    double.fail(Rule(UPLOADS[double.name], spoil=spoilt))
    with pytest.raises(StoreUnavailable):
        await store.put("b", [b"x" * 100 + b"MARK" + b"x" * 100])
    await store.put("b", [b"MARK"])
    assert await store.get("b") == b"MARK"


async def test_success_without_storing(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    double.fail(Rule(UPLOADS[double.name], status=200, body={"id": "x", "name": "b", "entries": [{"id": "x"}]}))
    with pytest.raises(StoreUnavailable):
        await store.put("b", [b"2"])


async def test_half_of_what_was_announced(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"12345678" * 100])
    double.fail(Rule(DOWNLOADS[double.name], short=True))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert await store.get("a", 8, 8) == b"12345678"


async def test_something_else_than_the_protocol(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    for body in (b"<html>maintenance</html>", b"[]", b'{"entries": 5, "files": 5, "value": 5}', b"null"):
        double.fail(Rule(UPLOADS[double.name], status=200, body=body))
        with pytest.raises(StoreUnavailable):
            await store.put("b", [b"2"])
    double.fail(Rule(UPLOADS[double.name], status=500, body=b"\xff\xfe"))
    with pytest.raises(StoreUnavailable):
        await store.put("b", [b"2"])


async def test_a_token_that_expires_is_refreshed_once_for_all(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    double.expire_tokens()
    before = double.refreshes
    assert set(await asyncio.gather(*(store.get("a") for _ in range(12)))) == {b"1"}
    assert double.refreshes == before + 1


async def test_a_token_that_expires_in_the_middle_of_an_upload(double: CloudDouble) -> None:
    store = driver(double, parts=True)
    await store.put("first", [b"1"])
    value = large()
    if double.name == "onedrive":  # its session takes no token
        double.expire_tokens()
    else:
        double.fail(Rule(PARTS[double.name], skip=1, status=401, body={"error_summary": "expired_access_token/"}))
    before = double.refreshes
    await store.put("large", [value])
    assert double.refreshes == before + 1
    assert await store.get("large") == value


async def test_a_grant_that_was_taken_back(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    double.withdraw()
    clock = FakeClock(auto=True)
    asked = len(double.requests)
    with pytest.raises(StoreRefused, match="log in"):
        await stacked(store, clock=clock, random=random.Random(1)).get("a")
    assert len(double.requests) <= asked + 2, "it is not tried again"


@pytest.mark.parametrize(
    "rule",
    [
        Rule(skip=1, cut=True),
        Rule(skip=1, cut=True, done=True),
        Rule(skip=1, status=500, body={}),
        Rule(skip=2, times=2, status=502, body={}),
    ],
    ids=["cut", "lost-answer", "500", "502-twice"],
)
async def test_an_upload_in_parts_that_is_disturbed(double: CloudDouble, rule: Rule) -> None:
    store = driver(double, parts=True)
    await store.put("first", [b"1"])
    value = large()
    double.fail(
        Rule(PARTS[double.name], rule.times, method="", status=rule.status, body=rule.body, cut=rule.cut,
             done=rule.done, skip=rule.skip)
    )  # fmt: skip
    clock = FakeClock(auto=True)
    await stacked(store, clock=clock, random=random.Random(1)).put("large", [value])
    assert await store.get("large") == value
    assert await listed(store) == ["first", "large"]
    assert sum(stored.content == value for stored in double.files.values()) == 1


async def test_values_in_parts_of_every_size(double: CloudDouble) -> None:
    store = driver(double, parts=True)
    for size_bytes in (200 * KIB, 200 * KIB + 1, 512 * KIB, 640 * KIB, (4 << 20), (4 << 20) + 1, (8 << 20)):
        value = os.urandom(size_bytes)
        await store.put("a", [value])
        assert await store.get("a") == value
        assert (await store.stat("a")).size_bytes == size_bytes


async def test_what_this_process_did_is_listed_though_the_provider_lists_late(double: CloudDouble) -> None:
    double.lag_listings = 50
    store = driver(double)
    for name in ("a", "b", "c"):
        await store.put(name, [b"1"])
    await store.delete("b")
    assert await listed(store) == ["a", "c"]


async def test_a_folder_that_somebody_deletes_is_made_again(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    double.files.clear()
    clock = FakeClock(auto=True)
    await stacked(store, clock=clock, random=random.Random(1)).put("b", [b"2"])
    again = driver(double)
    assert await again.get("b") == b"2"
    with pytest.raises(SkepError):
        await store.get("a")


async def test_errors_have_no_tokens_in_them(double: CloudDouble) -> None:
    store = driver(double)
    await store.put("a", [b"1"])
    secrets = [*double.access, *double.refresh, CLIENT_SECRET]
    for status in (400, 401, 403, 404, 409, 412, 423, 500):
        double.fail(Rule(UPLOADS[double.name], times=3, status=status, body={"error": {"message": secrets}}))
        (error,) = await asyncio.gather(store.put("b", [b"2"]), return_exceptions=True)
        assert isinstance(error, SkepError)
        assert not any(secret in f"{error} {error.details}" for secret in secrets)
        double.rules.clear()
