"""Live streams: what a thousand idle ones cost, and how soon they hear of a change.

The clients are one process of their own (``python -m bench.live_streams URL COUNT``), half WebSockets, half
Server-Sent Events, all on one space. A change's time is the one that its transaction wrote down; its notification is
when a client has read it, by the same clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

from bench.figures import Figure, Row
from bench.hive import BenchHive, running_hive
from bench.plan import Plan
from bench.processes import resident_bytes

STREAMS = 1_000
IDLE_S, QUICK_IDLE_S = 60.0, 5.0
CHANGES, QUICK_CHANGES = 100, 10
BETWEEN_S = 0.2
SETTLE_S = 3.0


def live_streams(plan: Plan) -> list[Row]:
    """Processor time and memory of idle streams, and the 99th percentile from change to notification."""
    quick = plan.rounds == 1
    with plan.room() as place, running_hive(place / "hive", limits__streams_of_one=str(2 * STREAMS)) as hive:
        hive.call("GET", "/api/auth/me")
        time.sleep(SETTLE_S)
        bare_bytes = resident_bytes(hive.pid)
        with _clients(hive) as clients:
            assert clients.stdout is not None
            clients.stdout.readline()
            time.sleep(SETTLE_S)
            before, used_bytes = hive.cost(), resident_bytes(hive.pid)
            idle_s = QUICK_IDLE_S if quick else IDLE_S
            time.sleep(idle_s)
            share = (hive.cost() - before).processor_s / idle_s
            changes = QUICK_CHANGES if quick else CHANGES
            for number in range(changes):
                hive.call("POST", "/api/filesystem/mkdir", {"path": f"/{number}"})
                time.sleep(BETWEEN_S)
            time.sleep(1.0)
            clients.terminate()
            delays_s = sorted(json.loads(clients.stdout.readline() or "[]"))
    missed = STREAMS * changes - len(delays_s)
    p50, p99 = (delays_s[int(len(delays_s) * part)] for part in (0.5, 0.99))
    return [
        Figure("live: 1,000 idle streams", share * 100, "% of a core", f"over {idle_s:.0f} s", at_most=1.0),
        Figure("live: memory of a stream", (used_bytes - bare_bytes) / STREAMS / 1e3, "kB", "resident", at_most=100),
        Figure(
            "live: change to notification, p99", p99 * 1e3, "ms",
            f"{changes} changes to {STREAMS:,} streams of one space; median {p50 * 1e3:.1f} ms, {missed} missed",
            at_most=100,
        ),
    ]  # fmt: skip


def _clients(hive: BenchHive) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.live_streams", hive.url, str(STREAMS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "BENCH_TOKEN": hive.token})


class _Listeners:
    """The clients' side: raw sockets, so that the clients cost little themselves."""

    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._token = token
        self.delays_s: list[float] = []
        self._ready = 0
        self._all_ready = asyncio.Event()

    async def run(self, count: int) -> None:
        gate = asyncio.Semaphore(50)
        tasks = [asyncio.create_task(self._listen(number % 2 == 0, count, gate)) for number in range(count)]
        await self._all_ready.wait()
        print("ready", flush=True)
        await asyncio.gather(*tasks)

    async def _listen(self, socket: bool, count: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 16)
            head = f"GET /api/events HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            head += f"Authorization: Bearer {self._token}\r\n"
            if socket:
                head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            writer.write(head.encode() + b"\r\n")
            await reader.readuntil(b'"hello"')
            if socket:
                text = b'{"type":"subscribe"}'
                writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            await reader.readuntil(b'"subscribed"')
        self._ready += 1
        if self._ready == count:
            self._all_ready.set()
        while True:
            found = await reader.readuntil(b'"at_us":')
            at_us = int((await reader.readuntil(b"}"))[:-1])
            assert found
            self.delays_s.append(time.time() - at_us / 1e6)  # noqa: TID251 - both sides read the machine's clock


async def _main() -> None:
    import signal

    listeners = _Listeners(sys.argv[1], os.environ["BENCH_TOKEN"])
    task = asyncio.ensure_future(listeners.run(int(sys.argv[2])))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print(json.dumps(listeners.delays_s), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
