"""``skep hq serve`` as a process: killed in the middle of a push, and several of them on one etcd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.hq.folder import HqFolder
from skep.deploy.hq.making import make_hq
from skep.deploy.shell.local import LocalRunner
from skep.testing.etcd import etcd_cluster
from skep.testing.hq import Client, free_port
from skep.testing.sshd import Sshd

START_LIMIT_S = 60.0
KILLS = 6
APP = """#!/usr/bin/env python3
import http.server, os, time
time.sleep(0.3)  # as long as a small application takes to start
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"NUMBER")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
STACK = "web:\n  type: web\n  install: sleep 0.2\n  run: ./serve\n  domains: shop.test\n  health: /\n  grace: 1s\n"
MEMORY_MAX_KIB = 120 << 10


class Program:
    """An HQ process of a folder, which may be killed and started again."""

    def __init__(self, directory: Path, name: str = "hq", http_port: int = 0, **settings: str) -> None:
        self.directory = directory
        self.folder = HqFolder(directory / name)
        self.http_port = http_port or free_port()
        self.settings = settings
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def make(self, admin: Client) -> None:
        await make_hq(self.folder, "ann", [admin.public_key])
        self.configure()

    def configure(self) -> None:
        user = "root" if os.geteuid() == 0 else ""
        state = "".join(f"{key} = {value}\n" for key, value in self.settings.items())
        self.folder.settings.write_text(
            f'[ssh]\nlisten = "127.0.0.1"\nport = 0\n[router]\nhttp_port = {self.http_port}\n'
            f'https_port = {free_port()}\nuser = "{user}"\n[deploy]\nhost_folder = "{self.directory}/host"\n'
            f'env_folder = "{self.directory}/env"\n[care]\ntick = "1s"\n[state]\n{state}'
        )

    async def start(self) -> None:
        """Start it; it may wait for its turn before it listens (``listens``)."""
        log = (self.directory / f"{self.folder.root.name}.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "skep.cli.main", "hq", "serve", "--json", "--folder", str(self.folder.root),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()

    async def listens(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            line = await self.process.stdout.readline()
        assert line, (self.directory / f"{self.folder.root.name}.log").read_text()[-3000:]
        self.port = json.loads(line)["ports"]["ssh"]

    async def kill(self, sign: int = signal.SIGKILL) -> int:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)
        async with asyncio.timeout(START_LIMIT_S):
            return await self.process.wait()

    def url(self, stack: str) -> str:
        return f"ssh://skep@127.0.0.1:{self.port}/{stack}"

    async def answer(self) -> str:
        async with httpx.AsyncClient(verify=False) as client:
            found = await client.get(f"http://127.0.0.1:{self.http_port}/", headers={"host": "shop.test"})
            return found.text

    def engine(self) -> ProcessEngine:
        """What runs jobs, seen from beside HQ: on this machine itself, or as a server that it reaches by ssh."""
        own, remote = self.folder.root / "engine", self.directory / "host" / "engine"
        return ProcessEngine(LocalRunner("local"), str(remote if remote.exists() else own), python=sys.executable)

    async def end(self, admin: Client) -> None:
        """End what runs, the router, and the program."""
        with contextlib.suppress(Exception):
            await skep(admin, "--hq", str(self.folder.root), "stack", "kill", "shop")
        for one in await self.engine().list():
            await self.engine().remove(one.id)
        for pid in (self.directory / "host-router/nginx.pid", self.folder.root / "router/nginx.pid"):
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)
        if self.process is not None and self.process.returncode is None:
            await self.kill()


async def skep(admin: Client, *words: str, where: Path | None = None) -> tuple[int, str]:
    """``skep --hq X …`` with the option behind the command."""
    if words[0] == "--hq":
        words = (*words[2:], "--hq", words[1])
    return await admin.run(sys.executable, "-m", "skep.cli.main", *words, where=where)


@pytest.fixture
def admin(tmp_path: Path, program: Callable[[str, str], Path]) -> Client:
    program("nginx", "apt-get install nginx-full")
    return Client(tmp_path / "ann")


@pytest.fixture
async def hq(tmp_path: Path, admin: Client) -> AsyncIterator[Program]:
    made = Program(tmp_path)
    await made.make(admin)
    await made.start()
    await made.listens()
    yield made
    await made.end(admin)


@pytest.mark.crash
async def test_killed_anywhere_in_a_push_it_is_the_old_or_the_new(hq: Program, admin: Client) -> None:
    """After each kill: what answers is what the branch says, one slice runs, and the next push goes through."""
    code, said = await skep(admin, "--hq", str(hq.folder.root), "servers", "add", "local", "--no-fence")
    assert code == 0, said
    work = admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("NUMBER", "0")})
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    code, said = await admin.run("git", "push", hq.url("shop"), "main", where=work)
    assert code == 0, said
    takes_s = loop.time() - began_s
    chance = random.Random(20261121)
    states = []
    for number in range(1, KILLS + 1):
        admin.commit(work, {"serve": APP.replace("NUMBER", str(number))})
        before = await branch(hq)
        push = asyncio.ensure_future(admin.run("git", "push", "--force", hq.url("shop"), "main", where=work))
        await asyncio.sleep(chance.uniform(0.05, 1.2) * takes_s)  # where in the push it is killed
        await hq.kill()
        await push
        await hq.start()
        await hq.listens()
        now = await branch(hq)
        assert now in (before, admin.git(work, "rev-parse", "HEAD"))
        serve = admin.git(work, "show", f"{now}:serve")
        assert f'b"{await settled_answer(hq)}"' in serve
        running = [one for one in await hq.engine().list() if one.state == "running"]
        assert len(running) == 1, running
        states.append(now != before)
    print("new after a kill:", states)
    code, said = await admin.run("git", "push", "--force", hq.url("shop"), "main", where=work)
    assert code == 0, said
    assert await hq.answer() == str(KILLS)


async def branch(hq: Program) -> str:
    done = await asyncio.to_thread(
        subprocess.run, ["git", "-C", str(hq.folder.repositories / "shop.git"), "rev-parse", "refs/heads/main"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


async def settled_answer(hq: Program) -> str:
    """What is served once slices that were replaced have ended."""
    for _ in range(150):
        running = [one for one in await hq.engine().list() if one.state == "running"]
        if len(running) == 1:
            return await hq.answer()
        await asyncio.sleep(0.2)  # what was replaced ends in the background
    raise AssertionError("more than one slice runs on")


async def test_it_starts_says_where_stays_small_and_ends_in_order(hq: Program, admin: Client) -> None:
    assert hq.process is not None
    status = Path(f"/proc/{hq.process.pid}/status").read_text()
    peak_kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    assert peak_kib < MEMORY_MAX_KIB
    code, said = await admin.run(
        sys.executable, "-m", "skep.cli.main", "hq", "serve", "--folder", str(hq.folder.root)
    )  # fmt: skip
    assert (code, "another `skep hq serve`" in said) == (1, True)
    assert await hq.kill(signal.SIGTERM) == 0
    assert not hq.folder.socket.exists()


@pytest.mark.long
async def test_another_hq_goes_on_when_one_dies(
    tmp_path: Path, admin: Client, program: Callable[[str, str], Path], ssh_server: Sshd
) -> None:
    """The server is reached by ssh, as from two machines; the second HQ has the first one's keys."""
    etcd = program("etcd", "apt-get install etcd-server")
    with etcd_cluster(etcd, tmp_path) as cluster:
        settings = {"etcd": json.dumps(cluster.urls), "etcd_lease": '"3s"'}
        first = Program(tmp_path, "one", **settings)
        second = Program(tmp_path, "two", first.http_port, **settings)
        await first.make(admin)
        with (ssh_server.client_key.parent / "authorized").open("a") as authorized:
            authorized.write(first.folder.public_key() + "\n")
        second.folder.root.mkdir(mode=0o700)
        subprocess.run(["cp", "-a", str(first.folder.keys), str(second.folder.keys)], check=True)
        second.configure()
        try:
            await first.start()
            await first.listens()
            await second.start()
            add = ("servers", "add", f"{ssh_server.user}@127.0.0.1:{ssh_server.port}", "--name", "one")
            code, said = await skep(admin, "--hq", str(first.folder.root), *add, "--no-fence", "--prepared")
            assert code == 0, said
            await skep(admin, "--hq", str(first.folder.root), "stack", "env", "--global", "WORD=sealed")
            work = admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("NUMBER", "1")})
            code, said = await admin.run("git", "push", first.url("shop"), "main", where=work)
            assert code == 0, said
            await first.kill()
            await second.listens()
            assert await first.answer() == "1"
            code, said = await skep(admin, "--hq", second.url("shop"), "stack", "ps", "--json")
            assert json.loads(said)["release"] == 1, said
            code, said = await skep(admin, "--hq", second.url("shop"), "stack", "env", "--global", "--show")
            assert said.strip() == "WORD=sealed"
            for member in cluster.members[:1]:
                member.kill()
            code, said = await skep(admin, "--hq", second.url("shop"), "hq", "user", "ls", "--json")
            assert [one["name"] for one in json.loads(said)] == ["ann"]
        finally:
            await second.end(admin)
            await first.end(admin)
