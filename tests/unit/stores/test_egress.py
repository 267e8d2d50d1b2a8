"""The way out for users' stores: public addresses alone, whatever names, redirects and notations say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from skep.base.errors import Forbidden, StoreUnavailable
from skep.stores import egress as egress_module
from skep.stores.egress import Egress, is_public, public_addresses
from skep.stores.registry import open_store

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "localhost", "", "2130706433",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_in_every_notation(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


def resolver(*answers: Sequence[str]):
    """One answer after the other, the last one from then on."""
    left = list(answers)

    async def look_up(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return look_up


async def test_one_private_address_among_public_ones_is_enough() -> None:
    with pytest.raises(Forbidden, match="public internet"):
        await public_addresses("mixed.example", 443, resolver(["8.8.8.8", "127.0.0.1"]))
    assert await public_addresses("good.example", 443, resolver(["8.8.8.8"])) == ["8.8.8.8"]
    with pytest.raises(StoreUnavailable, match="has no address"):
        await public_addresses("none.example", 443, resolver([]))


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[int, list[bytes]]]:
    """Something private that must not be reached: its port, and what reached it."""
    heard: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@asynccontextmanager
async def opened(*answers: Sequence[str]) -> AsyncIterator[Egress]:
    egress = Egress(resolver(*answers)) if answers else Egress()
    try:
        yield egress
    finally:
        await egress.close()


@pytest.mark.parametrize("name", ["s3", "webdav"])
async def test_drivers_do_not_get_past_it(name: str) -> None:
    async with listener() as (port, heard), opened() as egress:
        url = {
            "s3": f"s3://bucket/p?endpoint=https://localhost:{port}",
            "webdav": f"webdav+https://localhost:{port}/dav",
        }[name]
        assert (egress.url() or "").startswith("http://skep:")
        store = open_store(url, secret=b"KEY:secret" if name == "s3" else None, proxy=egress.url())
        with pytest.raises(StoreUnavailable):
            await store.get("shards/00/a.0")
        await store.close()
        assert heard == []
        assert egress.refused >= 1


async def test_a_name_that_changes_its_mind_is_looked_at_again() -> None:
    """DNS rebinding: public when the store was added, loopback when it is used."""
    async with listener() as (port, heard), opened(["8.8.8.8"], ["127.0.0.1"]) as egress:
        await public_addresses("rebinding.example", port, egress._look_up)
        async with httpx.AsyncClient(proxy=egress.url()) as client:
            with pytest.raises(httpx.ProxyError, match="403"):
                await client.get(f"https://rebinding.example:{port}/")
        assert heard == []


async def test_a_redirect_to_a_private_address_is_not_followed_there() -> None:
    """Whatever follows it connects through here again; and plain http, as the metadata services have, not at all."""
    async with listener() as (port, heard), opened() as egress:
        async with httpx.AsyncClient(proxy=egress.url(), follow_redirects=True) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/latest/meta-data/")
        assert answer.status_code == 405
        assert heard == []


async def asked(egress: Egress, head: bytes) -> bytes:
    port = httpx.URL(egress.url() or "").port
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    answer = await reader.read(4096)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT 127.0.0.1:443 HTTP/1.1", 403),
        ("CONNECT [::1]:443 HTTP/1.1", 403),
        ("CONNECT [::ffff:7f00:1]:443 HTTP/1.1", 403),
        ("CONNECT 8.8.8.8:25 HTTP/1.1", 403),
        ("CONNECT 8.8.8.8 HTTP/1.1", 400),
        ("CONNECT 8.8.8.8:99999 HTTP/1.1", 400),
        ("GET http://8.8.8.8/ HTTP/1.1", 405),
        ("nonsense", 405),
    ],
)
async def test_what_is_refused(line: str, status: int) -> None:
    async with opened() as egress:
        authorization = b"Proxy-Authorization: " + egress._wanted
        answer = await asked(egress, line.encode() + b"\r\n" + authorization + b"\r\n\r\n")
        assert int(answer.split(b" ")[1]) == status


async def test_others_on_the_machine_are_not_served() -> None:
    async with opened(["8.8.8.8"]) as egress:
        for shown in (b"", b"Proxy-Authorization: Basic c2tlcDp3cm9uZw==\r\n"):
            answer = await asked(egress, b"CONNECT good.example:443 HTTP/1.1\r\n" + shown + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 407")


async def test_what_is_public_gets_through_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """With loopback taken as public: bytes pass unchanged, and ends are passed on."""
    monkeypatch.setattr(egress_module, "is_public", lambda text: True)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(10_000):
            writer.write(piece[::-1])
        writer.write(b"end")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, opened() as egress:
        target = server.sockets[0].getsockname()[1]
        near = await asyncio.open_connection("127.0.0.1", httpx.URL(egress.url() or "").port)
        near[1].write(f"CONNECT 127.0.0.1:{target} HTTP/1.1\r\nProxy-Authorization: ".encode() + egress._wanted)
        near[1].write(b"\r\n\r\n")
        assert b" 200 " in await near[0].readuntil(b"\r\n\r\n")
        near[1].write(b"abc")
        assert await near[0].readexactly(3) == b"cba"
        near[1].write_eof()
        assert await near[0].read() == b"end"
        near[1].close()


async def test_where_it_is_off_stores_connect_as_they_like() -> None:
    egress = Egress(off=True)
    assert egress.url() is None
    await egress.close()
