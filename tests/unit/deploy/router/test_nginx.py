"""Sites on a real nginx: routed, replaced without a lost response, refused one by one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from skep.base.errors import AlreadyExists, BadInput, CommandFailed, HostUnavailable
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Backend, Certificate, Site, check_domain, check_site
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command, Result


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
async def router(tmp_path: Path, program: Callable[..., object]) -> AsyncIterator[NginxRouter]:
    program("nginx", "apt-get install nginx-full")
    folder = tmp_path / "router"
    made = NginxRouter(
        LocalRunner(),
        str(folder),
        http_port=free_port(),
        https_port=free_port(),
        drain_s=30,
        user="root" if os.geteuid() == 0 else "",
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await made.drained(10)


def port_of(router: NginxRouter, name: str = "http_port") -> int:
    return router._ports[name]


@contextlib.asynccontextmanager
async def backend(answer: str, slow_s: float = 0.0) -> AsyncIterator[Backend]:
    """A program that answers every request with a text, half of it at once and half later; it echoes upgrades."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if "upgrade: websocket" in head.lower():
                    writer.write(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
                    )
                    while piece := await reader.read(100):
                        writer.write(piece.upper())
                        await writer.drain()
                    break
                body = (
                    f"{answer} {head.split()[1]} {_header(head, 'host')} {_header(head, 'x-forwarded-proto')}".encode()
                )
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:1])
                await writer.drain()
                await asyncio.sleep(slow_s)  # a slow response is what is served
                writer.write(body[1:])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Backend("127.0.0.1", server.sockets[0].getsockname()[1])


def _header(head: str, name: str) -> str:
    return next((line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith(f"{name}:")), "")


async def get(router: NginxRouter, host: str, path: str = "/") -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.get(f"http://127.0.0.1:{port_of(router)}{path}", headers={"Host": host})


async def test_domains_lead_to_their_jobs(router: NginxRouter, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "index.html").write_text("a page")
    async with backend("shop") as shop, backend("any") as wild:
        await router.apply("shop", [Site(job="web", domains=("shop.example", "www.shop.example"), backends=(shop,))])
        await router.apply(
            "other",
            [
                Site(job="web", domains=("*.other.example",), backends=(wild,)),
                Site(job="pages", domains=("pages.example",), document_root=str(files)),
                Site(job="idle", domains=("idle.example",)),
            ],
        )
        assert (await get(router, "shop.example", "/a?b=c")).text == "shop /a?b=c shop.example http"
        assert (await get(router, "www.shop.example")).text.startswith("shop")
        assert (await get(router, "x.other.example")).text.startswith("any")
        assert (await get(router, "pages.example")).text == "a page"
        assert (await get(router, "pages.example", "/none")).status_code == 404
        idle = await get(router, "idle.example")
        assert (idle.status_code, idle.headers["retry-after"]) == (503, "5")
        unknown = await get(router, "nobody.example")
        assert (unknown.status_code, unknown.text) == (404, "no site has this name\n")
        await router.apply("shop", [])
        assert (await get(router, "shop.example")).status_code == 404


async def test_what_is_replaced_finishes_its_responses(router: NginxRouter) -> None:
    async with backend("old", slow_s=2.0) as old, backend("new") as new:
        await router.apply("s", [Site(job="web", domains=("s.example",), backends=(old,))])
        slow = asyncio.create_task(get(router, "s.example"))
        await asyncio.sleep(0.5)  # the response has begun
        await router.apply("s", [Site(job="web", domains=("s.example",), backends=(new,))])
        assert (await get(router, "s.example")).text.startswith("new")
        assert not await router.drained(0.0)
        assert not slow.done()
        assert await router.drained(20)
        assert (await slow).text.startswith("old")


async def test_websockets_pass_and_live_on_over_a_change(router: NginxRouter) -> None:
    async with backend("ws") as here:
        site = Site(job="web", domains=("s.example",), backends=(here,))
        await router.apply("s", [site])
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(router))
        writer.write(b"GET / HTTP/1.1\r\nHost: s.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await router.apply("t", [Site(job="web", domains=("t.example",), backends=(here,))])
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        assert not await router.drained(0.0)
        writer.close()
        assert await router.drained(10)


async def test_a_bad_stack_never_blocks_another(router: NginxRouter) -> None:
    async with backend("a") as a, backend("b") as b:
        good = [Site(job="web", domains=("a.example",), backends=(a,))]
        bad = [
            Site(job="web", domains=("b.example",), backends=(b,), certificate=Certificate("/nowhere/c", "/nowhere/k"))
        ]
        await router.apply("bad", [Site(job="web", domains=("b.example",), backends=(b,))])
        done = await asyncio.gather(router.apply("good", good), router.apply("bad", bad), return_exceptions=True)
        assert done[0] is None
        assert isinstance(done[1], CommandFailed)
        assert "/nowhere/c" in done[1].message
        assert (await get(router, "a.example")).text.startswith("a")
        assert (await get(router, "b.example")).text.startswith("b"), "it is served as it was before"
        with pytest.raises(AlreadyExists, match="is stack good's"):
            await router.apply("thief", [Site(job="web", domains=("a.example",), backends=(b,))])
        assert set(router.sites) == {"good", "bad"}


async def test_many_changes_at_once_are_few_reloads(router: NginxRouter, tmp_path: Path) -> None:
    async with backend("x") as here:
        before = {worker.pid for worker in await router.workers()}
        await asyncio.gather(
            *(router.apply(f"s{n}", [Site(job="web", domains=(f"s{n}.example",), backends=(here,))]) for n in range(30))
        )
        answers = await asyncio.gather(*(get(router, f"s{n}.example") for n in range(30)))
        assert all(answer.text.startswith("x") for answer in answers)
        log = (tmp_path / "router" / "logs" / "error.log").read_text() if before else ""
        assert log.count("[emerg]") == 0
        newest = max(worker.pid for worker in await router.workers())
        assert newest - max(before) < 200


async def test_a_new_router_takes_over_what_runs(router: NginxRouter, tmp_path: Path) -> None:
    async with backend("x") as here:
        await router.apply("s", [Site(job="web", domains=("s.example",), backends=(here,))])
        again = NginxRouter(
            LocalRunner(), str(tmp_path / "router"), **router._ports, user="root" if os.geteuid() == 0 else ""
        )
        await again.start()
        assert again.sites == router.sites
        assert (await get(router, "s.example")).text.startswith("x")
        await again.stop()
        assert await again.drained(10)
        assert await again.workers() == ()
        await again.start()
        assert (await get(router, "s.example")).text.startswith("x"), "it is served again after a restart"


class Cut(LocalRunner):
    """A runner on which nothing happens any more from the first line of a script on that has this word in it."""

    def __init__(self, word: str = "") -> None:
        super().__init__()
        self.word = word
        self.is_cut = False

    def _step(self, about: str) -> None:
        self.is_cut = self.is_cut or bool(self.word and self.word in about)
        if self.is_cut:
            raise HostUnavailable("the connection is gone")

    async def run(self, command: Command, *, check: bool = True) -> Result:
        script = command.argv[2] if command.argv[:2] == ("sh", "-c") else ""
        if self.word and self.word in script and not self.is_cut:
            done = script[: script.rindex("\n", 0, script.index(self.word)) + 1]
            argv = (*command.argv[:2], done, *command.argv[3:])
            await super().run(msgspec.structs.replace(command, argv=argv), check=False)
        self._step(" ".join(command.argv))
        return await super().run(command, check=check)

    async def put(self, content: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        self._step(path)
        await super().put(content, path, mode=mode)


@pytest.mark.parametrize("word", ['mv -f "staged/', "mv -f .sites.json.new", "-s reload"])
@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_change_that_was_cut_off_is_taken_back(
    router: NginxRouter, tmp_path: Path, word: str, is_killed: bool
) -> None:
    """Whatever of the change was done: nginx serves what it is told next, by the same HQ or by the one after it."""
    runner = Cut()
    cut = NginxRouter(runner, str(tmp_path / "router"), **router._ports, user="root" if os.geteuid() == 0 else "")
    async with backend("old") as old, backend("new") as new:
        before = [Site(job="web", domains=("s.example",), backends=(old,))]
        after = [Site(job="web", domains=("s.example",), backends=(new,))]
        await cut.start()
        await cut.apply("s", before)
        runner.word = word
        with pytest.raises(HostUnavailable):
            await cut.apply("s", after)
        runner.word, runner.is_cut = "", False
        survivor, wanted = cut, [(after, "new"), (before, "old")]
        if is_killed:
            survivor, wanted = router, [(before, "old"), (after, "new")]
            await router.start()
        for sites, answer in wanted:
            await survivor.apply("s", sites)
            assert (await get(router, "s.example")).text.startswith(answer)


async def test_given_certificates_and_https_alone(router: NginxRouter, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", chain, "-days", "2", "-subj", "/CN=s.example", "-addext", "subjectAltName=DNS:s.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    async with backend("x") as here:
        certificate = Certificate(str(chain), str(key))
        await router.apply(
            "s",
            [Site(job="web", domains=("s.example",), backends=(here,), certificate=certificate, https_only=True)],
        )
        moved = await get(router, "s.example", "/a?b")
        assert moved.status_code == 308
        https = port_of(router, "https_port")
        assert moved.headers["location"] == f"https://s.example:{https}/a?b"
        context = ssl.create_default_context(cafile=str(chain))
        reader, writer = await asyncio.open_connection("127.0.0.1", https, ssl=context, server_hostname="s.example")
        writer.write(b"GET /t HTTP/1.1\r\nHost: s.example\r\nConnection: close\r\n\r\n")
        assert b"x /t s.example https" in await reader.read()
        writer.close()
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", https, ssl=context, server_hostname="other.example")


@pytest.mark.parametrize(
    "site",
    [
        Site(job="web", domains=()),
        Site(job="web;", domains=("a.example",)),
        Site(job="web", domains=("a.example; root /",)),
        Site(job="web", domains=("A.example",)),
        Site(job="web", domains=("a.example", "a.example")),
        Site(job="web", domains=("a.example",), backends=(Backend("x; y", 80),)),
        Site(job="web", domains=("a.example",), backends=(Backend("x", 0),)),
        Site(job="web", domains=("a.example",), document_root="../etc"),
        Site(job="web", domains=("a.example",), document_root="/srv/../etc"),
        Site(job="web", domains=("a.example",), https_only=True),
    ],
)
def test_what_must_not_get_into_a_configuration(site: Site) -> None:
    with pytest.raises(BadInput):
        check_site(site)


@pytest.mark.parametrize("domain", ["", "*", "*.", "a..b", "-a.b", "a" * 64, "a.*.b", "a b", "a.example.", "é.example"])
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(BadInput):
        check_domain(domain)
