"""Both ends of an agent link in one process, over queues instead of a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from skep.base.clock import Clock, SystemClock
from skep.base.limits import ByteBudget
from skep.stores.link.answerer import Answerer
from skep.stores.link.caller import STREAMS, LinkedStore
from skep.stores.link.frames import decode
from skep.stores.link.outbox import Outbox
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
    hive_box, agent_box = Outbox(to_agent.put), Outbox(to_hive.put)
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
