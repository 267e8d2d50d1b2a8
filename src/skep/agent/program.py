"""The running agent: all links of one directory, until a signal or until every hive has let it go."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import skep
from skep.agent.config import AgentConfig
from skep.agent.control import control_socket
from skep.agent.home import AgentHome
from skep.agent.link import AgentLink, Shared
from skep.base.clock import Clock
from skep.base.errors import BadInput, NotFound
from skep.base.limits import ByteBudget
from skep.base.logs import get_logger
from skep.base.malloc import keep_freed
from skep.stores.link.pace import Pacer

MEMORY_BYTES = 256 << 20
MEMORY_WAIT_S = 60.0
INSTANCE_BYTES = 32
_log = get_logger("skep.agent")


class AgentProgram:
    """All links of a directory. The directory is locked by whoever runs this."""

    def __init__(self, home: AgentHome, config: AgentConfig, clock: Clock) -> None:
        self._home = home
        self._config = config
        self._clock = clock
        self._shared = Shared(
            memory=ByteBudget("shards in memory", MEMORY_BYTES, clock, wait_s=MEMORY_WAIT_S),
            up=Pacer(clock, config.up),
            down=Pacer(clock, config.down),
            clock=clock,
            instance=os.urandom(INSTANCE_BYTES).hex(),
            resting=self.resting,
        )
        self._links: dict[str, AgentLink] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over = asyncio.Event()

    def resting(self) -> str | None:
        """Why no new data is taken now, by the schedule; None: it is."""
        schedule = self._config.schedule
        if not schedule.spans:
            return None
        now = time.localtime(self._clock.now_us() / 1e6)
        if schedule.open_at(now.tm_wday, now.tm_hour * 60 + now.tm_min):
            return None
        return f"this agent takes new data only at {schedule.text}"

    async def run(self) -> None:
        """Serve until a signal, or until no hive is left."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        async with control_socket(self._home.control_path, self.answer):
            self._reload()
            try:
                await self._over.wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)

    def _reload(self) -> None:
        """Start the links that are in the directory and do not run yet; take over changed shares and addresses."""
        for link in self._home.links():
            running = self._links.get(link.hive_id)
            if running is not None and running.link == link:
                continue
            if running is not None:
                self._tasks[link.hive_id].cancel()
            self._links[link.hive_id] = started = AgentLink(self._home, link, self._shared)
            task = asyncio.create_task(started.run())
            self._tasks[link.hive_id] = task
            task.add_done_callback(lambda done, key=link.hive_id: self._ended(key, done))  # type: ignore[misc]

    def _ended(self, hive_id: str, task: asyncio.Task[None]) -> None:
        link = self._links[hive_id]
        if self._tasks.get(hive_id) is not task or task.cancelled():
            return
        if link.state == "left":
            _log.info("left a hive", hive=link.link.url)
            self._home.forget(link.link)
            del self._links[hive_id], self._tasks[hive_id]
        if not self._links:
            self._over.set()

    # The control socket.

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of the control socket. Raises BadInput, NotFound."""
        match request.get("do"):
            case "status":
                return await self.status()
            case "reload":
                self._reload()
            case "leave":
                self._chosen(request.get("hive")).leave()
            case _:
                raise BadInput("an agent can be asked for status, reload and leave")
        return await self.status()

    def _chosen(self, url: object) -> AgentLink:
        found = [link for link in self._links.values() if url in (None, "", link.link.url, link.link.hive_id)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(link.link.url for link in self._links.values())
        raise NotFound(f"say which hive, with --hive: {known}" if len(found) > 1 else f"enrolled are only: {known}")

    async def status(self) -> dict[str, Any]:
        """What `skep agent status` shows."""
        return {
            "version": skep.__version__,
            "pid": os.getpid(),
            "running": True,
            "space": str(self._home.space),
            "up": self._config.up,
            "down": self._config.down,
            "schedule": self._config.schedule.text,
            "resting": self.resting(),
            "hives": [await _link_status(link) for link in self._links.values()],
        }


async def _link_status(link: AgentLink) -> dict[str, Any]:
    usage = await link.usage()
    received, sent = link.traffic()
    return {
        "url": link.link.url,
        "hive_id": link.link.hive_id,
        "agent_id": link.link.agent_id,
        "name": link.link.name,
        "state": link.state,
        "since_us": link.since_us,
        "retry_in_s": link.retry_in_s(),
        "error": link.error,
        "leaving": link.leaving,
        "shards_left": link.shards_left,
        "share_bytes": link.link.share_bytes,
        "used_bytes": usage.used_bytes,
        "free_bytes": usage.free_bytes,
        "received_bytes": received,
        "sent_bytes": sent,
        "connections": link.connections,
    }


def run_agent(home: AgentHome, config: AgentConfig, clock: Clock) -> None:
    """Run the agent of a directory until it is told to stop. Raises DataDirectoryInUse."""
    keep_freed_memory()
    with home.locked(), asyncio.Runner(loop_factory=new_loop()) as runner:
        runner.run(AgentProgram(home, config, clock).run())


def keep_freed_memory() -> None:
    """Have the C library keep up to 64 MiB of what was freed for the next shard (mallopt(3), glibc).

    Frames are a megabyte: given back to the system after each, they cost a page fault for every 4 KiB of the next.
    """
    keep_freed(blocks_bytes_max=16 << 20, bytes_max=64 << 20)


def new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
