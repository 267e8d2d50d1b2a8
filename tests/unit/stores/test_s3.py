"""The S3 driver by itself: its URLs, its keys, its names, its errors; and a hive on a bucket of a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import Conflict, InvalidStoreUrl, ObjectNotFound, StoreRefused
from skep.base.ids import new_id
from skep.stores.drivers.s3.chain import keys_of_chain
from skep.stores.drivers.s3.config import S3Config, S3Keys, parse_keys
from skep.stores.drivers.s3.store import S3Store, key_of, name_of
from skep.stores.identity import claimable
from skep.stores.registry import open_store
from skep.stores.url import parse_store_url
from skep.testing.hive import open_test_hive
from skep.testing.seaweed import KEY_ID, Seaweed

KEYS = b"AKID:hunter2:with a colon"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("s3:///prefix", "names no bucket"),
        ("s3://b/p", "names no bucket"),
        ("s3://bucket/a b", "a prefix is of letters"),
        ("s3://bucket/a//b", "a prefix is of letters"),
        ("s3://bucket/../b", "a prefix is of letters"),
        ("s3://bucket?endpont=https://x", "did you mean 'endpoint'"),
        ("s3://bucket?endpoint=x.example.com", "an endpoint is https://host"),
        ("s3://bucket?endpoint=https://x/path", "an endpoint is https://host"),
        ("s3://bucket?endpoint=https://x:99999", "an endpoint is https://host"),
        ("s3://bucket?addressing=dns", "path or virtual"),
        ("s3://bucket?checksum=md5", "sha256 or none"),
        ("s4://bucket", "did you mean 's3'"),
        ("s3://AKID@bucket/p", "Write s3://bucket/prefix?endpoint="),
        ("s3://AKID:hunter2@bucket/p", "Write s3://bucket/prefix?endpoint="),
        ("s3://bucket?secret_access_key=hunter2", "Write s3://bucket/prefix?endpoint="),
        ("s3://bucket?endpoint=https://AKID:hunter2@host", "give them as the secret"),
    ],
)
def test_refuses_and_says_what_would_do(url: str, hint: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store(url, secret=KEYS)
    assert hint in caught.value.message
    assert "hunter2" not in caught.value.message


def test_urls() -> None:
    def config(url: str) -> S3Config:
        return S3Config.from_url(parse_store_url(url), None)

    assert config("s3://bucket") == S3Config("bucket", addressing="virtual")
    assert config("s3://bucket/a/b/?endpoint=https://s3.example.com:9000&region=eu-1&checksum=none") == S3Config(
        "bucket", "a/b", "https://s3.example.com:9000", "eu-1", "path", "none"
    )


@pytest.mark.parametrize(
    ("secret", "keys"),
    [
        (KEYS, S3Keys("AKID", "hunter2:with a colon")),
        (b'{"access_key_id":"a","secret_access_key":"b"}', S3Keys("a", "b")),
        (b'{"access_key_id":"a","secret_access_key":"b","session_token":"c"}', S3Keys("a", "b", "c")),
    ],
)
def test_keys(secret: bytes, keys: S3Keys) -> None:
    assert parse_keys(secret) == keys
    assert keys.secret_access_key not in repr(keys)


@pytest.mark.parametrize("secret", [b"", b"hunter2", b":hunter2", b"AKID:", b'{"key":"hunter2"}', b"\xff:hunter2"])
def test_a_secret_of_another_form_is_refused_and_not_repeated(secret: bytes) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store("s3://bucket", secret=secret)
    assert "KEYID:SECRET" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_the_chain_of_credentials(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    file = tmp_path / ".aws" / "credentials"
    home = {"HOME": str(tmp_path)}
    assert keys_of_chain(home) is None
    file.write_text("[default]\naws_access_key_id = d\naws_secret_access_key = e\n[other]\naws_session_token = t\n")
    assert keys_of_chain(home) == S3Keys("d", "e")
    assert keys_of_chain({**home, "AWS_PROFILE": "other"}) is None
    assert keys_of_chain({**home, "AWS_PROFILE": "missing"}) is None
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert keys_of_chain({**home, **env}) == S3Keys("a", "b", "c")
    moved = file.rename(tmp_path / "elsewhere")
    assert keys_of_chain({**home, "AWS_SHARED_CREDENTIALS_FILE": str(moved)}) == S3Keys("d", "e")
    moved.write_text("no section")
    with pytest.raises(StoreRefused, match="does not parse"):
        keys_of_chain({**home, "AWS_SHARED_CREDENTIALS_FILE": str(moved)})


def test_names_are_flat_and_sort_as_keys() -> None:
    keys = sorted(["a", "a-", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_", "aa", "shards/9f3c.2", "0", "_", "-", ".a"])
    assert [key_of(name_of(key)) for key in keys] == keys
    assert sorted(map(name_of, keys)) == list(map(name_of, keys))
    assert name_of("shards/9f3c.2") == "shards.9f3c-2"
    assert all("/" not in name_of(key) for key in keys)


async def test_the_keys_of_the_machine_serve_when_the_store_has_none(
    s3_server: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key_id, _, key = s3_server.secret.decode().partition(":")
    file = tmp_path / "credentials"
    file.write_text(f"[hive]\naws_access_key_id={key_id}\naws_secret_access_key={key}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "hive")
    store = open_store(s3_server.url("hive/chain"))
    await store.put("a", [b"1"])
    assert await store.get("a") == b"1"


async def test_a_wrong_secret_and_a_missing_bucket_are_said_and_not_tried_again(s3_server: Seaweed) -> None:
    wrong = open_store(s3_server.url("hive/p"), secret=f"{KEY_ID}:wrong".encode())
    nobody = open_store(s3_server.url("hive/p"), secret=b"NOBODY:wrong")
    nowhere = open_store(s3_server.url("missing/p"), secret=s3_server.secret)
    for store, hint in ((wrong, "secret key is wrong"), (nobody, "refuses"), (nowhere, "make it first")):
        for call in (store.put("a", [b"1"]), store.get("a"), store.stat("a"), store.usage(), _listed(store)):
            with pytest.raises(StoreRefused) as caught:
                await call
            assert not caught.value.retryable
            assert str(caught.value).startswith("s3://")
            assert "wrong" not in str(caught.value).replace("secret key is wrong", "")
        assert hint in str(await _refusal(store))


async def _refusal(store: object) -> StoreRefused:
    with pytest.raises(StoreRefused) as caught:
        await store.get("a")  # type: ignore[attr-defined]
    return caught.value


async def _listed(store: object) -> list[str]:
    return [info.key async for info in store.list()]  # type: ignore[attr-defined]


async def test_two_hives_do_not_share_a_prefix(s3_server: Seaweed) -> None:
    def one() -> S3Store:
        store = claimable(open_store(s3_server.url("hive/claimed"), secret=s3_server.secret))
        assert isinstance(store, S3Store)
        return store

    ours, store_id = new_id(), new_id()
    assert await one().identity() is None
    made = await one().claim(ours, store_id)
    assert await one().claim(ours, store_id) == made == await one().identity()
    with pytest.raises(Conflict, match="another hive"):
        await one().claim(new_id(), new_id())
    with pytest.raises(Conflict, match="already is store"):
        await one().claim(ours, new_id())


async def test_of_hives_that_claim_at_once_one_wins(s3_server: Seaweed) -> None:
    async def claim() -> bool:
        store = S3Store(S3Config.from_url(parse_store_url(s3_server.url("hive/race")), s3_server.secret))
        try:
            await store.claim(new_id(), new_id())
        except Conflict:
            return False
        return True

    assert sorted(await asyncio.gather(*(claim() for _ in range(6)))) == [False] * 5 + [True]


async def test_a_hive_keeps_files_in_a_bucket_within_its_capacity(s3_server: Seaweed, tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, stores=0, drivers={}, storage__reserve_bytes=0) as test:
        stores = test.hive.stores
        stores._open = lambda url, secret: open_store(url, secret=secret)
        admin = await test.client("root", is_admin=True)
        body = {
            "name": "b2", "url": s3_server.url("hive/one"), "zone": "b2",
            "capacity_bytes": 3 << 20, "secret": s3_server.secret.decode(),
        }  # fmt: skip
        made = await admin.post("/api/admin/stores", json=body)
        assert made.status_code == 201, made.text
        assert made.json()["capacity_bytes"] == 3 << 20
        assert s3_server.secret.decode().partition(":")[2] not in made.text
        content = SystemClock().now_us().to_bytes(8, "big") * (1 << 17)
        put = await admin.put("/api/filesystem/data", params={"path": "/a.bin"}, content=content)
        assert put.status_code == 201, put.text
        assert (await admin.get("/api/filesystem/data", params={"path": "/a.bin"})).content == content
        again = await admin.post("/api/admin/stores", json={**body, "name": "b3", "url": body["url"] + "&region=x"})
        assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_capacity_is_not_passed(s3_server: Seaweed, tmp_path: Path) -> None:
    import os

    async with open_test_hive(tmp_path, stores=0, drivers={}, storage__reserve_bytes=0) as test:
        test.hive.stores._open = lambda url, secret: open_store(url, secret=secret)
        await test.hive.stores.add("b2", s3_server.url("hive/small"), "b2", 8 << 20, s3_server.secret)
        ada = await test.client("ada")
        answers = [
            await ada.put("/api/filesystem/data", params={"path": f"/{n}"}, content=os.urandom(3 << 20))
            for n in range(4)
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 507, 507]
        assert answers[-1].json()["code"] == "store-full"
        bare = open_store(s3_server.url("hive/small"), secret=s3_server.secret)
        assert sum([info.size_bytes async for info in bare.list()]) <= 8 << 20


async def test_a_thousand_objects_are_deleted_with_one_request(s3_server: Seaweed) -> None:
    async with counting(s3_server) as (endpoint, heads):
        url = f"s3://hive/batches?endpoint={endpoint}"
        store = open_store(url, secret=s3_server.secret)
        assert isinstance(store, S3Store)
        keys = [f"shards/{number:04}" for number in range(60)]
        await asyncio.gather(*(store.put(key, [b"x"]) for key in keys))
        heads.clear()
        await store.delete_many([*keys[:-1], "never/was"])
        assert [head.partition(b" ")[0] for head in heads] == [b"POST"], heads
        assert await _listed(store) == keys[-1:]
        await store.close()


async def test_a_server_without_batches_is_asked_one_by_one(s3_server: Seaweed) -> None:
    async with counting(s3_server, refuse=b"POST") as (endpoint, heads):
        store = open_store(f"s3://hive/singles?endpoint={endpoint}", secret=s3_server.secret)
        assert isinstance(store, S3Store)
        for key in ("a", "b", "c"):
            await store.put(key, [b"x"])
        heads.clear()
        assert store.delete_batch_max == 1000
        await store.delete_many(["a", "b"])
        assert store.delete_batch_max == 1
        await store.delete_many(["c"])
        assert [head.partition(b" ")[0] for head in heads] == [b"POST", b"DELETE", b"DELETE", b"DELETE"]
        assert await _listed(store) == []
        await store.close()


@asynccontextmanager
async def counting(server: Seaweed, refuse: bytes | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A way to the server that writes down the first line of each request; one verb may be refused as unknown."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.ports["s3"])
        back = asyncio.create_task(copy(far_reader, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head.partition(b"\r\n")[0])
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if refuse is not None and head.startswith(refuse):
                    writer.write(b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n")
                else:
                    far_writer.write(head + body)
        back.cancel()
        far_writer.close()
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while some := await reader.read(1 << 16):
                writer.write(some)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heads
    finally:
        listening.close()


async def test_what_is_not_there(s3_server: Seaweed) -> None:
    store = open_store(s3_server.url("hive/none"), secret=s3_server.secret)
    await store.delete("never")
    with pytest.raises(ObjectNotFound):
        await store.get("never", 5, 0)
