"""Both ends of an agent link in one process, over queues instead of a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from skep.base.clock import Clock, SystemClock
from skep.base.errors import StoreUnavailable
from skep.base.limits import ByteBudget
from skep.durability.agents import Agents
from skep.stores.link.answerer import Answerer
from skep.stores.link.caller import STREAMS, LinkedStore
from skep.stores.link.frames import decode
from skep.stores.link.outbox import Outbox, Outgoing, joined
from skep.stores.link.pace import Pacer
from skep.stores.protocol import Store

QUEUE_MAX = 4
"""Messages on their way in one direction, as in a socket's buffer."""


@asynccontextmanager
async def linked_pair(
    store: Store,
    *,
    clock: Clock | None = None,
    up: int | None = None,
    down: int | None = None,
    memory_bytes: int = 256 << 20,
    change: Callable[[bytes], bytes] = lambda frame: frame,
) -> AsyncIterator[tuple[LinkedStore, Answerer]]:
    """The hive's and the agent's end over a store. ``change`` may alter what the agent sends."""
    clock = clock or SystemClock()
    to_agent: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MAX)
    to_hive: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MAX)
    hive_box = Outbox(lambda frame: to_agent.put(joined(frame)))
    agent_box = Outbox(lambda frame: to_hive.put(joined(frame)))
    linked = LinkedStore(hive_box, "the agent")
    answerer = Answerer(
        store,
        agent_box,
        memory=ByteBudget("shards", memory_bytes, clock, wait_s=60),
        up=Pacer(clock, up),
        down=Pacer(clock, down),
        streams=STREAMS,
    )

    async def feed_agent() -> None:
        while True:
            answerer.received(decode(await to_agent.get()))

    async def feed_hive() -> None:
        while True:
            linked.received(decode(change(await to_hive.get())))

    tasks = [asyncio.create_task(run) for run in (hive_box.run(), agent_box.run(), feed_agent(), feed_hive())]
    try:
        yield linked, answerer
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await answerer.close()


class MemoryWire:
    """The way between a hive's agents' door and agents, without sockets. ``dial`` is what agents dial with.

    ``cut`` breaks every connection; ``stalled`` lets messages vanish both ways, as a router does that forgot.
    """

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._ends: list[WireEnd] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.stalled = False
        self.certificate = ""

    async def dial(self, url: str) -> WireEnd:
        """A new connection. Raises StoreUnavailable while stalled."""
        if self.stalled:
            raise StoreUnavailable(f"{url} does not answer")
        up: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        down: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        agent_end, hive_end = WireEnd(self, down, up), WireEnd(self, up, down)
        self._ends += [agent_end, hive_end]
        task = asyncio.create_task(self._agents.serve(hive_end))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return agent_end

    async def cut(self) -> None:
        """Break all connections."""
        for end in self._ends:
            await end.close()
        self._ends.clear()
        if self._serving:
            await asyncio.wait(self._serving)


class WireEnd:
    """One end of a connection: both ``durability.agents`` and ``agent`` take it for theirs."""

    def __init__(
        self, wire: MemoryWire, coming: asyncio.Queue[bytes | None], going: asyncio.Queue[bytes | None]
    ) -> None:
        self._wire = wire
        self._coming, self._going = coming, going
        self._gone = asyncio.Event()
        self.stalled = False
        self.roamed = False

    @property
    def certificate(self) -> str:
        return self._wire.certificate

    async def receive(self) -> bytes | None:
        if self._gone.is_set():
            return None
        getting = asyncio.ensure_future(self._coming.get())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((getting, gone), return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            gone.cancel()

    async def send(self, message: Outgoing) -> None:
        if self._gone.is_set():
            raise ConnectionResetError("the other end is gone")
        if not (self.stalled or self._wire.stalled):
            await self._going.put(joined(message))

    async def close(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            if not (self.stalled or self._wire.stalled) and not self._going.full():
                self._going.put_nowait(None)

    def address_is_gone(self) -> bool:
        return self.roamed
