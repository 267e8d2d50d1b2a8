"""What agents' links do to the stores of the hive.

- An agent that connects first becomes a store, if its invitation said so: ``array://<id>`` with its owner and zone.
- One that comes back is tried at once, and repairs that waited for it are due.
- One whose disk is in an older state than the hive knew is listed anew; what it lacks is queued for repair.
- One that wants to leave is drained, then forgotten.
- Two that show one key at once are told apart by asking the first: if it answers, the second is a copy and is refused.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import AgentNotFound, IdentityInUse, SkepError
from skep.base.ids import Id, id_text
from skep.base.logs import get_logger
from skep.db import Database, prepared
from skep.db import schema as s
from skep.durability.agents.book import AgentBook
from skep.durability.agents.greeting import Greeter
from skep.durability.agents.records import AgentInfo
from skep.durability.agents.recount import recount
from skep.durability.agents.session import Session, Transport
from skep.durability.member import Member
from skep.durability.storeset import StoreSet
from skep.stores.link.board import LinkBoard
from skep.stores.link.caller import LinkedStore
from skep.stores.link.frames import Kind
from skep.stores.link.liveness import LOOK_S
from skep.stores.link.messages import Generation, Goodbye, Notice, encode_message

ADVANCE_S = 600.0
"""How often a connected agent whose data changed writes down a new generation."""
DRAIN_LOOK_S = 15.0
SEEN_S = 3600.0
_log = get_logger("skep.agents")
_SHARDS_LEFT = prepared(
    sa.select(sa.func.count()).select_from(s.shards).where(s.shards.c.store_id == sa.bindparam("store"))
)


class Agents:
    """All agents of a hive. Used from the event loop's thread."""

    def __init__(
        self,
        db: Database,
        stores: StoreSet,
        board: LinkBoard,
        greeter: Greeter,
        book: AgentBook,
        clock: Clock,
        *,
        hurry: Callable[[], Awaitable[None]],
        users_invite: bool = False,
    ) -> None:
        """``hurry`` makes waiting repairs due, as when a store has come (back).

        ``users_invite``: whether users who are no administrators may invite agents of their own.
        """
        self.users_invite = users_invite
        self._db = db
        self._stores = stores
        self._board = board
        self._clock = clock
        self._hurry = hurry
        self.greeter = greeter
        self.book = book
        self._sessions: dict[Id, Session] = {}
        self._locks: defaultdict[Id, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._advanced: dict[Id, tuple[float, int]] = {}
        self._drained: dict[Id, float] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    async def serve(
        self, transport: Transport, address: str | None = None, proven: Callable[[], None] = lambda: None
    ) -> None:
        """Serve one connection, from this address, until it ends.

        ``proven`` is told when the agent has shown who it is.
        """
        if self._watch is None and not self._closing:
            self._watch = asyncio.create_task(self._watching())
        await Session(self, transport, self._clock, address, proven).run()

    def connected(self, agent_id: Id) -> bool:
        """Whether the agent has a link now."""
        return self._board.has(agent_id)

    def settled(self, agent_id: Id) -> bool:
        """Whether the agent has a link, and the hive has done all that follows from it."""
        session = self._sessions.get(agent_id)
        return session is not None and session.settled and self.connected(agent_id)

    def linked(self, agent_id: Id) -> LinkedStore:
        """The store at the other end of the agent's link. Raises StoreOffline."""
        return self._board.linked(agent_id)

    def store_of(self, info: AgentInfo) -> Member | None:
        """The store that this agent is, if it is one."""
        return self._stores.get(info.store_id) if info.store_id is not None else None

    async def revoke(self, info: AgentInfo) -> None:
        """Make an agent's key worthless, end its link, give up its store: the shards are rebuilt elsewhere."""
        await self.book.forget(info.id)
        session = self._sessions.get(info.id)
        if session is not None:
            session.end(Goodbye(code=AgentNotFound.code, message="this agent was revoked"))
        member = self.store_of(info)
        if member is not None:
            await self._stores.set_state(member, "lost")
            await self._hurry()
        _log.info("agent revoked", agent_id=info.id.hex(), name=info.name)

    async def close(self) -> None:
        """End all links."""
        self._closing = True
        for session in self._sessions.values():
            session.end(Goodbye(code="stopping", message="the hive stops"))
        tasks = [*self._background, *([self._watch] if self._watch is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What sessions ask.

    async def admit(self, session: Session, info: AgentInfo) -> None:
        """Make this the agent's one link. Raises IdentityInUse when another computer holds it, and lives."""
        async with self._locks[info.id]:
            older = self._sessions.get(info.id)
            if older is not None and older.instance != session.instance and older.ready and await older.lives():
                trouble = "two computers connect with this agent's key: one is a copy, revoke it and enrol anew"
                await self.book.set_trouble(info.id, trouble)
                _log.warning("agent identity in use", agent_id=info.id.hex(), name=info.name)
                raise IdentityInUse("another computer is connected with this agent's key: a copy has to enrol anew")
            if older is not None:
                older.end(Goodbye(code="replaced", message="the agent has connected anew"))
            self._sessions[info.id] = session

    def leave(self, session: Session, agent_id: Id) -> None:
        """This link is not the agent's any more."""
        if self._sessions.get(agent_id) is session:
            del self._sessions[agent_id]

    async def came(self, session: Session, astray: bool) -> None:
        """A link stands."""
        info = session.info
        assert info is not None
        self._advanced[info.id] = (self._clock.monotonic_s(), 0)
        self._board.put(info.id, session.linked)
        try:
            member = await self._member(info)
            if member is None:
                return
            if member.store is None or member.down or info.store_id is not None:
                await self._stores.revive(member)
            if info.state == "leaving":
                await self._start_draining(info, member)
            if astray:
                await self._recount(info, member)
            if not member.down:
                await self._hurry()
        except SkepError as error:
            _log.warning("agent's store is not usable", name=info.name, code=error.code, detail=error.message)
            await self.book.set_trouble(info.id, error.message)
        finally:
            session.settled = True

    async def _member(self, info: AgentInfo) -> Member | None:
        """The agent's store, made if it is to be one. Raises what adding does."""
        url = _url(info.id)
        member = self.store_of(info) or self._stores.of_url(url)
        if member is None and info.joins and info.store_id is None:
            member = await self._stores.add(info.name, url, info.zone, owner_id=info.owner_id)
            _log.info("agent became a store", agent_id=info.id.hex(), store=member.name)
        if member is not None and member.id != info.store_id:
            await self.book.set_store(info.id, member.id)
        return member

    async def _recount(self, info: AgentInfo, member: Member) -> None:
        """The agent's disk is not in the state that it was known to be in: look what is there."""
        missing = await recount(self._db, member, session_store=self._board.linked(info.id))
        trouble = f"it came back with an older disk: {missing} shards were missing and are rebuilt"
        await self.book.set_trouble(info.id, trouble)
        _log.warning("agent came back with an older disk", name=info.name, shards_missing=missing)

    async def went(self, session: Session) -> None:
        """A link is over."""
        self._board.drop(session.agent_id, session.linked)
        self.leave(session, session.agent_id)
        if self._sessions.get(session.agent_id) is None:
            member = self._stores.of_url(_url(session.agent_id))
            if member is not None and not self._closing:
                self._stores.note_away(member, f"the agent {member.name} is not connected")
            self._advanced.pop(session.agent_id, None)
            await self.book.seen(session.agent_id)

    async def confirmed(self, session: Session, generation: int) -> None:
        """The agent wrote a generation down."""
        await self.book.confirm(session.agent_id, generation)

    def noticed(self, session: Session, notice: Notice) -> None:
        """The agent says something."""
        if notice.kind == "room":
            self._do(self._look_at_room(session))
        elif notice.kind == "leaving":
            self._do(self._begin_leaving(session))

    def _do(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except SkepError as error:
                _log.warning("agent's wish failed", code=error.code, detail=error.message)

        task = asyncio.create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _look_at_room(self, session: Session) -> None:
        member = self.store_of(await self.book.agent(session.agent_id))
        if member is not None:
            await self._stores.refresh_usage(member)

    async def _begin_leaving(self, session: Session) -> None:
        info = await self.book.agent(session.agent_id)
        await self.book.set_state(info.id, "leaving")
        member = self.store_of(info)
        if member is not None:
            await self._start_draining(info, member)
        self._drained[info.id] = float("-inf")

    async def _start_draining(self, info: AgentInfo, member: Member) -> None:
        """Have repair move the agent's shards elsewhere: what `skep store drain` does."""
        if member.state not in ("draining", "lost"):
            await self._stores.set_state(member, "draining")
            await self._hurry()
        self._drained.setdefault(info.id, float("-inf"))
        _log.info("agent leaves", name=info.name)

    # What goes on by the clock.

    async def _watching(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            for session in list(self._sessions.values()):
                if not session.ready:
                    continue
                try:
                    session.look()
                    self._advance_if_due(session)
                    self._look_at_drain(session)
                except SkepError as error:
                    session.end(Goodbye(code=error.code, message=error.message))

    def _advance_if_due(self, session: Session) -> None:
        """A new generation from time to time, so that an older copy of a disk never looks like the newest."""
        at_s, changes = self._advanced.get(session.agent_id, (0.0, 0))
        now_s = self._clock.monotonic_s()
        if now_s - at_s >= ADVANCE_S and session.linked.changes_done != changes:
            self._advanced[session.agent_id] = (now_s, session.linked.changes_done)
            self._do(self._advance(session))

    async def _advance(self, session: Session) -> None:
        pending = await self.book.advance(session.agent_id)
        session.outbox.post(encode_message(Kind.ADVANCE, Generation(pending)))

    def _look_at_drain(self, session: Session) -> None:
        looked_s = self._drained.get(session.agent_id)
        now_s = self._clock.monotonic_s()
        if looked_s is not None and now_s - looked_s >= DRAIN_LOOK_S:
            self._drained[session.agent_id] = now_s
            self._do(self._drain(session))

    async def _drain(self, session: Session) -> None:
        """Tell a leaving agent how far it is; when nothing is left on it, let it go."""
        info = await self.book.agent(session.agent_id)
        member = self.store_of(info)
        left = 0
        if member is not None:
            left = int(await self._db.read(lambda tx: tx.value(_SHARDS_LEFT, {"store": member.id})) or 0)
        session.tell(Notice(kind="draining", shards_left=left))
        if left:
            return
        if member is not None:
            await self._stores.remove(member)
        await self.book.forget(info.id)
        self._drained.pop(info.id, None)
        session.end(Goodbye(code="left", message="all that this agent held is elsewhere: it may go"))
        _log.info("agent left", name=info.name)


def _url(agent_id: Id) -> str:
    return f"array://{id_text(agent_id)}"
