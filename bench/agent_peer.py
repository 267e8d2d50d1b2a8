"""The other process of the measurements of agent links: agents whose stores keep nothing, or a plain TCP copy.

python -m bench.agent_peer agents URL TOKEN DIRECTORY COUNT     # enrols and keeps COUNT links up
python -m bench.agent_peer tcp PORT BYTES                       # takes so many bytes, then sends as many
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from skep.agent.enrolment import enrol
from skep.agent.home import AgentHome
from skep.agent.link import AgentLink, Shared
from skep.agent.program import keep_freed_memory, new_loop
from skep.base.clock import SystemClock
from skep.base.limits import ByteBudget
from skep.base.logs import configure_logs
from skep.base.settings import LogSettings
from skep.stores.link.pace import Pacer
from skep.stores.protocol import Buffer, ObjectInfo, Store
from skep.testing.stores import MemoryStore

BLOCK_BYTES = 1 << 20
SHARD_BYTES = 8 << 20


class Sink(MemoryStore):
    """Takes everything, keeps the size, and gives the same bytes for every key."""

    def __init__(self) -> None:
        super().__init__()
        self._value_of_all = os.urandom(SHARD_BYTES)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        assert sum(len(part) for part in parts) <= SHARD_BYTES

    async def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, SHARD_BYTES)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._value_of_all


class SinkLink(AgentLink):
    """A link over a sink: neither disk nor memory are measured."""

    async def _opened_store(self) -> Store:
        if self._store is None:
            self._store = Sink()
        return self._store


async def agents(url: str, token: str, place: Path, count: int) -> None:
    """Keep ``count`` links up until the end."""
    clock = SystemClock()
    made = []
    for number in range(count):
        space = place / f"agent{number}"
        space.mkdir()
        home = AgentHome(space)
        home.prepare()
        link = await asyncio.to_thread(enrol, home, url, token, f"agent{number}", 1 << 40)
        shared = Shared(
            memory=ByteBudget("shards", 1 << 30, clock, wait_s=60),
            up=Pacer(clock, None),
            down=Pacer(clock, None),
            clock=clock,
            instance=os.urandom(32).hex(),
            resting=lambda: None,
        )
        made.append(SinkLink(home, link, shared))
    await asyncio.gather(*(link.run() for link in made))


def tcp(port: int, size_bytes: int) -> None:
    """Take bytes from a connection, then send as many."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        block = bytearray(BLOCK_BYTES)
        left = size_bytes
        while left:
            left -= connection.recv_into(block, min(left, BLOCK_BYTES))
        connection.sendall(b"!")
        connection.recv(1)
        left = size_bytes
        while left:
            connection.sendall(memoryview(block)[: min(left, BLOCK_BYTES)])
            left -= min(left, BLOCK_BYTES)


if __name__ == "__main__":
    if sys.argv[1] == "tcp":
        tcp(int(sys.argv[2]), int(sys.argv[3]))
    else:
        keep_freed_memory()
        configure_logs(LogSettings(level="warning", format="auto", requests="none"))
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(agents(sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5])))
