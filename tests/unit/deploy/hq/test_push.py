"""Pushes with real git over real ssh, to an HQ in this process, on the process engine and a real nginx."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import httpx
import pytest

from skep.testing.hq import Client, OpenHq, open_hq

APP = """#!/usr/bin/env python3
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("TEXT " + os.environ.get("WORD", "")).encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
STACK = """web:
  type: web
  run: ./serve
  expose: 80
  domains: shop.test
  health: /
"""


@pytest.fixture
async def hq(tmp_path: Path, program: Callable[[str, str], Path]) -> AsyncIterator[OpenHq]:
    for name, package in (("nginx", "nginx-full"), ("git", "git"), ("ssh", "openssh-client")):
        program(name, f"apt-get install {package}")
    async with open_hq(tmp_path) as opened:
        await opened.order("servers.add", target="local")
        yield opened


async def answer(hq: OpenHq, host: str = "shop.test") -> str:
    async with httpx.AsyncClient(verify=False) as client:
        port = hq.hq.settings.router.http_port
        return (await client.get(f"http://127.0.0.1:{port}/", headers={"host": host})).text


async def test_a_push_serves_and_the_next_replaces_it(hq: OpenHq) -> None:
    work = hq.admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("TEXT", "one")})
    code, said = await hq.push(work)
    assert code == 0, said
    assert (await answer(hq)).strip() == "one"
    assert "http://shop.test/" in said
    hq.admin.commit(work, {"serve": APP.replace("TEXT", "two")})
    code, said = await hq.push(work)
    assert code == 0, said
    assert (await answer(hq)).strip() == "two"


@pytest.mark.long
async def test_no_bad_push_changes_what_runs(hq: OpenHq) -> None:
    """Every kind of them, one after the other, each with its reason; the first release serves on."""
    work = hq.admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("TEXT", "good")})
    assert (await hq.push(work))[0] == 0
    good = hq.admin.git(work, "rev-parse", "HEAD")

    for files, reason in BAD:
        hq.admin.git(work, "reset", "-q", "--hard", good)
        hq.admin.commit(work, files)
        code, said = await hq.push(work, "shop", "--force")
        assert code != 0, said
        assert reason in said, said
        assert "pre-receive hook declined" in said
    assert (await answer(hq)).strip() == "good"
    assert await hq.hq.repositories.branch("shop", "refs/heads/main") == good
    assert [path.name for path in (hq.hq.folder.stacks / "shop").iterdir() if path.name.startswith(".")] == []

    code, said = await hq.push(work, what=":main")
    assert code != 0
    assert "cannot be deleted" in said

    hq.admin.git(work, "reset", "-q", "--hard", good)
    code, said = await hq.push(work, what="main:refs/heads/feature/main")
    assert code == 0, said
    assert "feature/main is kept; only main or master is deployed" in said
    code, said = await hq.push(work, what="main")
    assert (code, "up-to-date" in said) == (0, True)
    code, said = await hq.push(work, what="nothing-here")  # a push of no commits
    assert (code, "does not match any" in said) == (1, True)

    await asyncio.to_thread(hq.admin.git, work, "commit", "-q", "--amend", "-m", "another one")
    code, said = await hq.push(work)
    assert code != 0  # git itself: not a fast-forward
    code, said = await hq.push(work, "shop", "--force")
    assert code == 0, said
    assert f"forced: {good[:12]}" in said
    assert "nothing has changed" in said


BAD: tuple[tuple[dict[str, str], str], ...] = (
    ({"quarry.yml": "web:\n\ttype: web\n"}, "quarry.yml:2:1: there is a tab"),
    ({"quarry.yml": STACK.replace("run:", "links: web\n  run:")}, "quarry.yml:"),
    ({"quarry.yml": STACK + STACK.replace("web:", "other:", 1)}, "shop.test is a domain of web already"),
    ({"quarry.yml": STACK.replace("domains", "domain")}, "did you mean 'domains'?"),
    (
        {"quarry.yml": "a:\n  type: worker\n  run: x\n  links: b\nb:\n  type: worker\n  run: x\n  links: a\n"},
        "quarry.yml:",
    ),
    ({"out": "-> /etc/passwd"}, "leads out of the tree"),
    ({"serve": "#!/bin/sh\necho I cannot go on\nexit 3\n"}, "I cannot go on"),
    ({"quarry.yml": STACK.replace("  run:", "  install: echo building; exit 7\n  run:")}, "ended with 7"),
)


async def test_who_may_push_what(hq: OpenHq, tmp_path: Path) -> None:
    bob, eve = Client(tmp_path / "bob"), Client(tmp_path / "eve")
    await hq.order("user.add", name="bob", role="deploy", stacks=["blog"], keys=[bob.public_key])
    await hq.order("user.add", name="bob", role="read", stacks=["shop"])
    work = bob.repository("work", {"quarry.yml": "w:\n  type: worker\n  run: exec sleep 600\n"})

    code, said = await hq.push(work, "bank", client=bob)
    assert (code != 0, "there is no stack bank for bob" in said) == (True, True)
    assert not hq.hq.repositories.exists("bank")
    code, said = await hq.push(work, "shop", client=bob)
    assert (code != 0, "may look at shop and not change it" in said) == (True, True)
    code, said = await hq.push(work, "../hq", client=bob)
    assert (code != 0, "is no name of a stack" in said) == (True, True)
    code, said = await hq.push(work, "blog", client=eve)
    assert (code != 0, "Permission denied" in said) == (True, True)

    ssh = bob.env()["GIT_SSH_COMMAND"].split()
    at = ["-p", str(hq.hq.ports["ssh"]), "anybody@127.0.0.1"]
    for words in ([], ["sh"], ["git-receive-pack '/blog' --x"], ["git-upload-archive '/blog'"], ["cat /etc/passwd"]):
        code, said = await bob.run(*ssh, *at, *words)
        assert (code, "gives no shell" in said) == (1, True), (words, said)
    code, said = await bob.run(*ssh, "-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22", *at)
    assert code != 0
    code, said = await bob.run(*ssh, *at, "skep-control", stdin=b'{"command": "user.ls"}\n')
    assert (code, json.loads(said)["error"]["code"]) == (1, "forbidden")
    code, said = await bob.run(*ssh, *at, "skep-control", stdin=b'{"command": "hook", "token": "guess"}\n')
    assert (code, json.loads(said)["error"]["code"]) == (1, "forbidden")
    code, said = await bob.run(*ssh, *at, "skep-control", stdin=b"x" * 5_000_000)
    assert (code, json.loads(said)["error"]["code"]) == (1, "bad-input")

    await hq.order("user.rm", name="bob")
    code, said = await hq.push(work, "blog", client=bob)
    assert (code != 0, "Permission denied" in said) == (True, True)


@pytest.mark.long
async def test_the_commands_at_an_hq(hq: OpenHq) -> None:
    """As they are typed, over ssh, found by the repository's remote."""
    work = hq.admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("TEXT", "one")})
    hq.admin.git(work, "remote", "add", "skep", hq.url("shop"))

    async def skep(*words: str, code: int = 0, stdin: bytes = b"") -> str:
        command = (sys.executable, "-m", "skep.cli.main", *words)
        found, said = await hq.admin.run(*command, where=work, stdin=stdin)
        assert found == code, said
        return said

    assert "nothing runs" in await skep("ps")
    plan = await skep("stack", "plan")
    assert "DEPLOY web (1)" in plan
    assert "no stack shop" in await skep("stack", "ps", code=3)
    await skep("stack", "env", "WORD=secret-word")
    assert (await hq.push(work))[0] == 0
    assert (await answer(hq)) == "one secret-word"
    assert "WORD\n" in await skep("stack", "env")
    assert "secret-word" not in await skep("stack", "env")
    assert "WORD=secret-word" in await skep("stack", "env", "--show")
    assert "release 2" in await skep("stack", "env", "--stdin", "--restart", stdin=b"# c\nWORD=new\nOTHER=a=b\n")
    assert (await answer(hq)) == "one new"

    assert "SCALE web=2" in await skep("stack", "scale", "shop", "web=2")
    view = json.loads(await skep("stack", "ps", "--json"))
    assert [one["job"] for one in view["slices"] if one["state"] == "running"] == ["web", "web"]
    assert "shop" in await skep("ps")
    blocks = json.loads(await skep("grid", "--json"))
    assert len(blocks[0]["slices"]) == 2
    assert "local" in await skep("grid")
    assert "the tightest fit" in await skep("stack", "explain", "shop", "web")
    hq.admin.commit(
        work,
        {
            "serve": APP.replace("TEXT", "two").replace(
                "import http", "print('hello from two', flush=True)\nimport http"
            )
        },
    )
    assert (await hq.push(work))[0] == 0
    assert "hello from two" in await skep("stack", "logs", "shop", "web")
    assert (await answer(hq)) == "two new"
    await skep("stack", "rollback")
    assert (await answer(hq)) == "one new"
    assert "*" in await skep("stack", "releases")
    assert "live" in await skep("stack", "ls")
    assert json.loads(await skep("servers", "ls", "--json"))[0]["router"] is True
    assert "processors" in await skep("servers", "facts", "local")
    assert "no job" in await skep("stack", "scale", "shop", "wbe=2", code=3)
    await skep("stack", "kill", "shop")
    assert "no site has this name" in await answer(hq)
    await skep("stack", "remove", "shop", "--yes")
    assert "no stacks yet" in await skep("stack", "ls")
    exported = {str(path.relative_to(hq.hq.folder.root)) for path in hq.hq.folder.root.glob("servers/local/*")}
    assert exported >= {"servers/local/settings.json", "servers/local/id", "servers/local/ip", "servers/local/hostname"}


@pytest.mark.long
async def test_two_pushes_at_once_and_one_who_goes_away(hq: OpenHq) -> None:
    slow = STACK.replace("  run:", "  install: sleep 2\n  run:")
    work = hq.admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("TEXT", "one")})
    assert (await hq.push(work))[0] == 0
    other = hq.admin.home / "other"
    hq.admin.git(work, "clone", "-q", str(work), str(other))
    hq.admin.commit(work, {"quarry.yml": slow, "serve": APP.replace("TEXT", "mine")})
    hq.admin.commit(other, {"quarry.yml": slow, "serve": APP.replace("TEXT", "theirs")})
    found = await asyncio.gather(hq.push(work), hq.push(other))
    assert sorted(code == 0 for code, _ in found) == [False, True]
    (refused,) = [said for code, said in found if code]
    assert "somebody else has pushed meanwhile" in refused or "fetch first" in refused
    winner = "mine" if found[0][0] == 0 else "theirs"
    assert (await answer(hq)).strip() == winner

    hq.admin.git(work, "fetch", "-q", str(other), "main")
    last = hq.admin.commit(work, {"serve": APP.replace("TEXT", "left alone")})
    process = await asyncio.create_subprocess_exec(
        "git", "push", "--force", hq.url("shop"), "main", cwd=work, env=hq.admin.env(),
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while b"building" not in (line := await process.stderr.readline()) and b"sleep 2" not in line:
        assert line
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for _ in range(300):
        if await hq.hq.repositories.branch("shop", "refs/heads/main") == last:
            break
        await asyncio.sleep(0.1)  # the launch goes on without its pusher
    assert (await answer(hq)).strip() == "left alone"
    assert await hq.hq.store.list("pushes/") == ()


@pytest.mark.long
async def test_limits_of_the_port(tmp_path: Path, program: Callable[[str, str], Path]) -> None:
    program("git", "apt-get install git")
    limits = {"pack_max": "64KB", "push_timeout": "3s"}
    async with open_hq(tmp_path, git=limits, ssh={"connections_each_max": 2}) as hq:
        noise = {f"noise{number}": os.urandom(40_000).hex() for number in range(2)}
        work = hq.admin.repository("large", {"quarry.yml": "w:\n  type: worker\n  run: x\n", **noise})
        code, said = await hq.push(work, "large")
        assert (code != 0, "exceeds maximum allowed size" in said) == (True, True), said
        work = hq.admin.repository("slow", {"quarry.yml": "w:\n  type: worker\n  install: sleep 5\n  run: x\n"})
        code, said = await hq.push(work, "slow")
        assert (code != 0, "longer than 3 s" in said) == (True, True), said

        port = hq.hq.ports["ssh"]
        async with asyncssh.connect("127.0.0.1", port, username="skep", client_keys=[str(hq.admin.key)],
                                    known_hosts=None, agent_path=None) as ssh:  # fmt: skip
            held = [await ssh.create_process("skep-control") for _ in range(10)]
            over = await ssh.run("skep-control")
            assert "at most 10 sessions" in str(over.stderr)
            for process in held:
                process.close()

        async with contextlib.AsyncExitStack() as opened:
            for _ in range(2):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                opened.callback(writer.close)
            await asyncio.sleep(0.3)  # the server takes them in its own time
            code, said = await hq.push(work, "slow")
            assert code != 0
            assert "refused:" not in said
