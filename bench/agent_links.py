"""How much an agent link carries beside a plain TCP copy over loopback, and what a hundred idle agents cost a hive."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, Row, median
from bench.hive import BenchHive, running_hive
from bench.plan import MIB, Plan
from bench.processes import Cost, cost_of, resident_bytes
from skep.server.engines import Listening, run_granian
from skep.stores.link.caller import LinkedStore
from skep.testing.hive import open_test_hive

SHARD_BYTES = 8 * MIB
AT_ONCE = 4
IDLE_AGENTS = 100
IDLE_S = 60.0
QUICK_IDLE_S = 5.0
BLOCK_BYTES = 1 << 20
JOIN_S = 120.0


def agent_links(plan: Plan) -> list[Row]:
    """Throughput of one link each way, against TCP in the same run; then idle links."""
    with plan.room() as place:
        return [*_throughput(plan, place), *_idle(plan, place)]


@contextmanager
def _peer(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
    peer = subprocess.Popen([sys.executable, "-m", "bench.agent_peer", *arguments], env=environment)
    try:
        yield peer
    finally:
        peer.terminate()
        peer.wait(30)


def _throughput(plan: Plan, place: Path) -> list[Row]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        into, out, detail_in, detail_out = runner.run(_link(plan, place))
    tcp_in, tcp_out = _plain_copies(plan)
    size = f"{plan.parallel_bytes / MIB:.0f} MiB in shards of 8 MiB, {AT_ONCE} at once, into a sink; "
    plain = "plain TCP copy between two processes, blocks of 1 MiB"
    return [
        Figure("agent link, to the agent", median(into) / 1e6, "MB/s", size + detail_in),
        Figure("plain TCP, the same way", median(tcp_in) / 1e6, "MB/s", plain),
        Figure("link / TCP, to the agent", median(into) / median(tcp_in), "", "", at_least=0.6),
        Figure("agent link, from the agent", median(out) / 1e6, "MB/s", size + detail_out),
        Figure("plain TCP, the same way", median(tcp_out) / 1e6, "MB/s", plain),
        Figure("link / TCP, from the agent", median(out) / median(tcp_out), "", "", at_least=0.6),
    ]


async def _link(plan: Plan, place: Path) -> tuple[list[float], list[float], str, str]:
    """A hive in this process behind its real server, an agent in another; bytes a second each way."""
    (place / "linked").mkdir()
    async with open_test_hive(place / "linked") as hive:
        port = _free_port()
        stop, ready = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(run_granian(hive.hive.app, Listening("127.0.0.1", port), stop, ready.set))
        await ready.wait()
        made = await hive.hive.agents.book.invite(await hive.user("root", is_admin=True), owner_id=None)
        (place / "spaces").mkdir()
        with _peer("agents", f"http://127.0.0.1:{port}", made.token, str(place / "spaces"), "1") as peer:
            agent = await _joined(hive.hive.agents)
            linked = hive.hive.agents.linked(agent)
            rates = await _rounds(linked, plan, peer.pid)
        stop.set()
        await serving
        return rates


async def _joined(agents: object) -> bytes:
    deadline_s = time.monotonic() + JOIN_S
    while time.monotonic() < deadline_s:
        for info in await agents.book.agents():  # type: ignore[attr-defined]
            if info.store_id is not None and agents.connected(info.id):  # type: ignore[attr-defined]
                return bytes(info.id)
        await asyncio.sleep(0.05)
    raise TimeoutError("the agent did not join")


async def _rounds(linked: LinkedStore, plan: Plan, pid: int) -> tuple[list[float], list[float], str, str]:
    count = max(AT_ONCE, plan.parallel_bytes // SHARD_BYTES)
    shard = os.urandom(SHARD_BYTES)
    into, out, costs = [], [], [Cost(), Cost()]
    for _ in range(plan.rounds):
        wall_s, cost = await _timed(count, lambda number: linked.put(f"shards/{number}", [shard]), pid)
        into.append(count * SHARD_BYTES / wall_s)
        costs[0] += cost
        wall_s, cost = await _timed(count, lambda number: linked.get(f"shards/{number}"), pid)
        out.append(count * SHARD_BYTES / wall_s)
        costs[1] += cost
    total = count * SHARD_BYTES * plan.rounds
    return into, out, f"both ends {costs[0].per_gb(total)}", f"both ends {costs[1].per_gb(total)}"


async def _timed(count: int, call: Callable[[int], Awaitable[object]], pid: int) -> tuple[float, Cost]:
    async def runner(first: int) -> None:
        for number in range(first, count, AT_ONCE):
            await call(number)

    before = cost_of(os.getpid()) + cost_of(pid)
    started_s = time.perf_counter()
    await asyncio.gather(*(runner(first) for first in range(AT_ONCE)))
    wall_s = time.perf_counter() - started_s
    return wall_s, cost_of(os.getpid()) + cost_of(pid) - before


def _plain_copies(plan: Plan) -> tuple[list[float], list[float]]:
    into, out = [], []
    for _ in range(plan.rounds):
        listening = socket.create_server(("127.0.0.1", 0))
        with listening, _peer("tcp", str(listening.getsockname()[1]), str(plan.parallel_bytes)):
            connection, _ = listening.accept()
            with connection:
                into.append(plan.parallel_bytes / _send(connection, plan.parallel_bytes))
                connection.sendall(b"!")
                out.append(plan.parallel_bytes / _receive(connection, plan.parallel_bytes))
    return into, out


def _send(connection: socket.socket, size_bytes: int) -> float:
    block = os.urandom(BLOCK_BYTES)
    started_s = time.perf_counter()
    left = size_bytes
    while left:
        connection.sendall(block if left >= BLOCK_BYTES else block[:left])
        left -= min(left, BLOCK_BYTES)
    connection.recv(1)
    return time.perf_counter() - started_s


def _receive(connection: socket.socket, size_bytes: int) -> float:
    block = bytearray(BLOCK_BYTES)
    started_s = time.perf_counter()
    left = size_bytes
    while left:
        left -= connection.recv_into(block, min(left, BLOCK_BYTES))
    return time.perf_counter() - started_s


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _idle(plan: Plan, place: Path) -> list[Row]:
    """Processor time and memory of a hive process with a hundred links that do nothing."""
    count, idle_s = (10, QUICK_IDLE_S) if plan.rounds == 1 else (IDLE_AGENTS, IDLE_S)
    with running_hive(place / "hive") as hive:
        time.sleep(2)
        alone_bytes, alone = resident_bytes(hive.pid), _over(hive, idle_s)
        token = _call(hive, "POST", "/api/agents/invites", {"uses": count, "joins": False})["token"]
        (place / "idle").mkdir()
        with _peer("agents", hive.url, token, str(place / "idle"), str(count)):
            _until_connected(hive, count)
            linked_bytes, linked = resident_bytes(hive.pid), _over(hive, idle_s)
    share = (linked.processor_s - alone.processor_s) / linked.wall_s
    each_mb = (linked_bytes - alone_bytes) / count / 1e6
    used = f"{linked.processor_s:.2f} s of processor time, without {alone.processor_s:.2f}"
    how = f"{count} agents for {idle_s:.0f} s: {used}"
    return [
        Figure(f"{count} idle agents, of a core", 100 * share, "%", how, at_most=1.0),
        Figure("memory of an idle agent", each_mb, "MB", "resident memory of the hive, divided", at_most=1.0),
    ]


def _over(hive: BenchHive, seconds: float) -> Cost:
    before = hive.cost()
    time.sleep(seconds)
    return hive.cost() - before


def _until_connected(hive: BenchHive, count: int) -> None:
    deadline_s = time.monotonic() + JOIN_S
    while time.monotonic() < deadline_s:
        agents = _call(hive, "GET", "/api/agents")["agents"]
        if sum(each["connected"] for each in agents) == count:
            return
        time.sleep(0.5)
    raise TimeoutError(f"{count} agents did not connect")


def _call(hive: BenchHive, method: str, path: str, send: object = None) -> dict:  # type: ignore[type-arg]
    body = None if send is None else json.dumps(send).encode()
    headers = {"Authorization": f"Bearer {hive.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(hive.url + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
