"""An HQ in the test process, with real ssh and git on the other side: its folder, a client's key, repositories.

async with open_hq(tmp_path) as hq:
    await hq.order("servers.add", target="local", fence=False)
    work = hq.repository("shop", {"quarry.yml": "web:\\n  run: ./serve\\n"})
    code, said = await hq.push(work)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from skep.base.clock import Clock
from skep.deploy.hq.folder import HqFolder, unix_address
from skep.deploy.hq.making import make_hq
from skep.deploy.hq.serving import Hq
from skep.deploy.hq.settings import HqSettings, read_settings

PUSH_LIMIT_S = 90.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """Somebody with a key and a home of their own, who runs git and ssh."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True)
        self.key = home / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True, timeout=30)

    @property
    def public_key(self) -> str:
        """What HQ must know."""
        return self.key.with_suffix(".pub").read_text()

    def env(self) -> dict[str, str]:
        """Variables for git, ssh and `skep` that know this key and nothing of the machine's user."""
        ssh = (
            f"ssh -F /dev/null -i {self.key} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes "
            f"-o UserKnownHostsFile={self.home}/known -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
        )
        names = {key: f"{key.lower()}@example.org" for key in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")}
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_SSH_COMMAND": ssh, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "ann", "GIT_COMMITTER_NAME": "ann", "LC_ALL": "C.UTF-8", **names,
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }  # fmt: skip

    def git(self, where: Path, *words: str) -> str:
        """Run git to its end; what it said on standard output. Raises RuntimeError with what it said else."""
        done = subprocess.run(
            ["git", "-C", str(where), *words], capture_output=True, text=True, env=self.env(), timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    async def run(self, *argv: str, where: Path | None = None, stdin: bytes = b"") -> tuple[int, str]:
        """Run a program beside what the loop does; its exit code, and all that it said."""
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=where or self.home, env=self.env(), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PUSH_LIMIT_S):
                said, _ = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, said.decode(errors="replace")

    def repository(self, name: str, files: Mapping[str, str]) -> Path:
        """A repository with one commit of these files on ``main``."""
        work = self.home / name
        work.mkdir()
        self.git(work, "init", "-q", "-b", "main")
        self.commit(work, files)
        return work

    def commit(self, work: Path, files: Mapping[str, str]) -> str:
        """Write files and commit; the commit. ``-> x`` is a link to x; what begins with ``#!`` can be run."""
        for name, content in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                path.symlink_to(content[3:])
                continue
            path.write_text(content)
            path.chmod(0o755 if content.startswith("#!") else 0o644)
        self.git(work, "add", "-A")
        self.git(work, "commit", "-q", "--allow-empty", "-m", "change")
        return self.git(work, "rev-parse", "HEAD")


class OpenHq:
    """An HQ that is open, and its first admin."""

    def __init__(self, hq: Hq, admin: Client) -> None:
        self.hq = hq
        self.admin = admin

    def url(self, stack: str = "") -> str:
        """Where it is pushed to."""
        return f"ssh://skep@127.0.0.1:{self.hq.ports['ssh']}/{stack}".rstrip("/")

    async def push(
        self, work: Path, stack: str = "shop", *words: str, what: str = "main", client: Client | None = None
    ) -> tuple[int, str]:
        """``git push`` something; its exit code and all that it said."""
        return await (client or self.admin).run("git", "push", *words, self.url(stack), what, where=work)

    async def order(self, command: str, **args: Any) -> Any:
        """Give an order through the folder's socket; its result. Raises RuntimeError with the error's code."""
        return await ordered(self.hq.folder, command, **args)

    async def end_jobs(self) -> None:
        """End what runs of all stacks, so that nothing outlives the test."""
        for stack in await self.order("stack.ls"):
            with contextlib.suppress(RuntimeError):
                await self.order("stack.kill", stack=stack["name"])
        await self.hq.launcher.idle()
        for host in self.hq.routers.running():
            await host.stop()


async def ordered(folder: HqFolder, command: str, **args: Any) -> Any:
    """Give an order to the HQ of a folder, whatever process it is; its result. Raises RuntimeError with the code."""
    name, descriptor = unix_address(folder.socket)
    try:
        reader, writer = await asyncio.open_unix_connection(name, limit=16 << 20)
    finally:
        os.close(descriptor)
    writer.write(msgspec.json.encode({"command": command, "args": args}) + b"\n")
    told: dict[str, Any] = {}
    try:
        while line := await reader.readline():
            told = msgspec.json.decode(line)
            if "error" in told:
                raise RuntimeError(f"{told['error']['code']}: {told['error']['message']}")
    finally:
        writer.close()
    return told["result"]


def hq_settings(folder: Path, **over: Mapping[str, Any]) -> HqSettings:
    """Settings for tests: free ports of loopback, nothing outside of the folder, a quick tick."""
    base: dict[str, dict[str, Any]] = {
        "ssh": {"listen": "127.0.0.1", "port": 0},
        "deploy": {"host_folder": str(folder.parent / "host"), "env_folder": str(folder.parent / "env")},
        "router": {"http_port": free_port(), "https_port": free_port(), "user": "root" if os.geteuid() == 0 else ""},
        "care": {"tick": "1s"},
    }
    for section, keys in over.items():
        base[section] = {**base.get(section, {}), **keys}
    return read_settings(None, **base)


@contextlib.asynccontextmanager
async def open_hq(directory: Path, *, clock: Clock | None = None, **over: Mapping[str, Any]) -> AsyncIterator[OpenHq]:
    """Make and open an HQ below a directory, with one admin; its jobs and routers end with it."""
    admin = Client(directory / "ann")
    folder = HqFolder(directory / "hq")
    await make_hq(folder, "ann", [admin.public_key])
    hq = Hq(folder, hq_settings(folder.root, **over), clock)
    await hq.open()
    opened = OpenHq(hq, admin)
    try:
        yield opened
    finally:
        await opened.end_jobs()
        await hq.close()
