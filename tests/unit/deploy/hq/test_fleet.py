"""Servers of an HQ: looked at before they are taken, lost when they are silent, found when they are back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skep.testing.hq import OpenHq, open_hq
from skep.testing.sshd import Sshd, sshd

WORKER = "worker:\n  type: worker\n  run: exec sleep 600\n"


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[OpenHq]:
    async with open_hq(tmp_path, care={"tick": "500ms", "lost_after": "2s"}) as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path, program: Callable[[str, str], Path]) -> object:
    (tmp_path / "sshd").mkdir()
    with sshd(program("sshd", "apt-get install openssh-server"), tmp_path / "sshd") as running:
        yield running


def admit(hq: OpenHq, server: Sshd) -> str:
    with (server.client_key.parent / "authorized").open("a") as authorized:
        authorized.write(hq.hq.folder.public_key() + "\n")
    return f"{server.user}@127.0.0.1:{server.port}"


def send(sign: int, pid: int) -> None:
    """A signal to an sshd and to the sessions below it, but not to what they have started."""
    below = subprocess.run(["pgrep", "-P", str(pid), "-x", "sshd"], capture_output=True, text=True, check=False).stdout
    for child in below.split():
        send(sign, int(child))
    os.kill(pid, sign)


async def test_who_is_no_server_is_not_taken(hq: OpenHq, server: Sshd) -> None:
    target = f"{server.user}@127.0.0.1:{server.port}"
    with pytest.raises(RuntimeError, match="host-unavailable"):
        await hq.order("servers.add", target=target, fence=False)  # HQ's key is not there
    admit(hq, server)
    with pytest.raises(RuntimeError, match="host-unavailable"):
        await hq.order("servers.add", target=target, fence=False, host_key=hq.admin.public_key)
    with pytest.raises(RuntimeError, match="will not do"):
        await hq.order("servers.add", target=target, fence=False, engine="docker")
    for wrong in ("", "root@", "@host", "root@host:0", "root@host:x"):
        with pytest.raises(RuntimeError, match="bad-input"):
            await hq.order("servers.add", target=wrong, fence=False)
    with pytest.raises(RuntimeError, match="host-unavailable"):
        await hq.order("servers.add", target="root@127.0.0.1:9", fence=False)
    assert await hq.order("servers.ls") == []

    one = await hq.order("servers.add", target=target, fence=False, name="one", tags=["ssd"], price=0.01)
    assert (one["id"], one["state"], one["router"], one["tags"]) == ("one", "open", True, ["ssd"])
    assert dict(one["facts"])["system"]
    with pytest.raises(RuntimeError, match="already-exists"):
        await hq.order("servers.add", target=target, fence=False)
    assert "1 servers, 7.30 a month" in hq.hq.fleet.price_a_month()
    with pytest.raises(RuntimeError, match="not-found"):
        await hq.order("servers.rm", id="two")
    await hq.order("servers.rm", id="one")
    assert await hq.order("servers.ls") == []


@pytest.mark.long
async def test_a_silent_server_is_lost_and_found_again(hq: OpenHq, server: Sshd) -> None:
    await hq.order("servers.add", target=admit(hq, server), fence=False, name="one")
    work = hq.admin.repository("jobs", {"quarry.yml": WORKER})
    code, said = await hq.push(work, "jobs")
    assert code == 0, said
    await hq.order("servers.add", target="local")
    send(signal.SIGSTOP, server.process.pid)  # it takes connections and says nothing: frozen
    try:
        await _until(hq, "one", "lost")
        view = await _running(hq, "local")
        assert len(view["slices"]) == 1
    finally:
        send(signal.SIGCONT, server.process.pid)
    await _until(hq, "one", "open")
    for _ in range(200):
        if await hq.hq.ways.engine("one").list() == ():
            break
        await asyncio.sleep(0.1)  # what was there is ended when it is found
    assert await hq.hq.ways.engine("one").list() == ()
    assert len(await hq.hq.ways.engine("local").list()) == 1


async def _until(hq: OpenHq, name: str, state: str) -> None:
    for _ in range(600):
        if hq.hq.grid.block_state(name) == state:
            return
        await asyncio.sleep(0.1)  # hosts are asked every half second
    raise AssertionError(hq.hq.grid.block_state(name))


async def _running(hq: OpenHq, block: str) -> dict[str, list[object]]:
    for _ in range(300):
        view = await hq.order("stack.ps", stack="jobs")
        if [(one["block"], one["state"]) for one in view["slices"]] == [(block, "running")]:
            return dict(view)
        await asyncio.sleep(0.1)  # it is started elsewhere
    raise AssertionError(view)
