"""Agents inside the test process, lending real directories to a test hive over a MemoryWire."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from skep.agent.home import AgentHome, HiveLink
from skep.agent.link import AgentLink, Shared
from skep.base.clock import Clock, SystemClock
from skep.base.ids import Id, id_text
from skep.base.limits import ByteBudget
from skep.crypto.hashing import digest
from skep.durability.agents import Agents, NewAgent
from skep.stores.link.handshake import enrolment_text
from skep.stores.link.pace import Pacer
from skep.stores.protocol import Store
from skep.testing.links import MemoryWire

_instances = itertools.count(1)
WAIT_S = 20.0


@dataclass
class Lender:
    """One agent. ``wrap`` stands between the link and its directory store: a liar, a slow disk."""

    agents: Agents
    wire: MemoryWire
    space: Path
    by: Id
    """The user who invites it."""
    clock: Clock = field(default_factory=SystemClock)
    wrap: Callable[[Store], Store] = lambda store: store
    resting: Callable[[], str | None] = lambda: None
    link: AgentLink | None = None
    task: asyncio.Task[None] | None = None

    @property
    def home(self) -> AgentHome:
        """Its directory."""
        return AgentHome(self.space)

    async def enrol(
        self, name: str, *, share_bytes: int | None = 1 << 30, owner: Id | None = None, **wishes: object
    ) -> Id:
        """Enrol at the hive, as ``skep agent`` does by HTTP; its id there."""
        self.space.mkdir(exist_ok=True)
        self.home.prepare()
        made = await self.agents.book.invite(self.by, owner_id=owner, **wishes)  # type: ignore[arg-type]
        key = self.home.enrolling_key()
        public = key.verify_key.raw
        signature = key.sign(enrolment_text(digest(made.token.encode()), public))
        info = await self.agents.book.enrol(NewAgent(made.token, public, signature, name, share_bytes))
        greeter = self.agents.greeter
        link = HiveLink(
            url="http://hive.test",
            hive_id=id_text(greeter.hive_id),
            hive_key=base64.urlsafe_b64encode(greeter.public_key).rstrip(b"=").decode(),
            agent_id=id_text(info.id),
            name=name,
            share_bytes=share_bytes,
        )
        self.home.keep(link, key)
        return info.id

    def start(self) -> AgentLink:
        """Keep the link up from now on, as a new process of the agent."""
        lender = self

        class Wrapped(AgentLink):
            async def _opened_store(self) -> Store:
                if self._store is None:
                    self._store = lender.wrap(await super()._opened_store())
                return self._store

        shared = Shared(
            memory=ByteBudget("shards", 256 << 20, self.clock, wait_s=60),
            up=Pacer(self.clock, None),
            down=Pacer(self.clock, None),
            clock=self.clock,
            instance=digest(str(next(_instances)).encode()).hex(),
            resting=lambda: self.resting(),
            dial=self.wire.dial,
        )
        self.link = Wrapped(self.home, self.home.links()[0], shared)
        self.task = asyncio.create_task(self.link.run())
        return self.link

    async def until(self, look: Callable[[], object]) -> None:
        """Let everything run until something is so."""
        async with asyncio.timeout(WAIT_S):
            while not look():  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # what it looks at tells nobody

    async def connect(self) -> None:
        """Start, and wait until the hive has the link and its store is usable."""
        link = self.start()
        await self.until(lambda: link.state == "connected" and self.agents.settled(link.link.agent))

    async def stop(self) -> None:
        """End the agent as a kill does: no goodbye."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
            self.task = None


@asynccontextmanager
async def lending(agents: Agents, by: Id) -> AsyncIterator[Callable[[Path], Lender]]:
    """``lend(directory)``: a new agent of this hive, invited by a user; all end with the block."""
    wire = MemoryWire(agents)
    made: list[Lender] = []

    def lend(space: Path) -> Lender:
        made.append(Lender(agents, wire, space, by))
        return made[-1]

    try:
        yield lend
    finally:
        for lender in made:
            await lender.stop()
        await wire.cut()
