"""Open packs: sealed chunks of all writers gather here and become durable together.

A pack is open while chunks are appended, wanted once a writer waits for it, and done when its
shards are durable at the scheme's quorum and its rows are committed. One task or thread at a time
appends to a pack (``checkout`` … ``checkin``); a pack that is full, or wanted when it comes back,
is closed and written in a task of its own.

What always holds:
- a chunk is pending (in ``_pending``) from before it is appended until its pack is done or failed;
- ``OpenPack.done`` is resolved exactly once, after which no writer waits for the pack;
- a pack holds chunks of one pool;
- there are at most ``packs_max`` packs, open and being written together: that bounds memory. A put that
  is late may go on until a writer waits for that memory. Pools of users' own stores have at most half of them,
  so that slow ones do not hold up everybody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from skep.base.ids import Id
from skep.chunks.pack import Pack, PackBuilder
from skep.chunks.scheme import Scheme
from skep.durability.pools import HIVE, Pool
from skep.durability.recording import WrittenShard


@dataclass(eq=False, slots=True)
class OpenPack:
    """One pack on its way. The room that made it owns every field."""

    scheme: Scheme
    pool: Pool
    builder: PackBuilder
    done: asyncio.Future[None]
    busy: bool = False
    wanted: bool = False
    closed: bool = False
    claims: list[tuple[Id, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Written:
    """A pack that is durable and recorded; some of its puts may still run."""

    pack: Pack
    late: tuple[asyncio.Task[WrittenShard], ...] = ()
    recorded: asyncio.Future[None] | None = None
    """Its rows, where they are still on their way: whatever is submitted after them commits with or after them."""

    async def finish(self) -> None:
        """Wait for the rows and the last puts, then give the pack's memory back. Never raises for the rows."""
        if self.recorded is not None:
            await asyncio.wait([self.recorded])
        if self.late:
            await asyncio.wait(self.late)
        self.pack.release()


WritePack = Callable[[OpenPack], Awaitable[Written]]
"""Closes a pack, puts its shards and commits its rows; raises when it could not."""


class PackRoom:
    """Hands out open packs and sees to it that they are written."""

    def __init__(self, index_key: bytes, capacity_bytes: int, write: WritePack, packs_max: int) -> None:
        self._index_key = index_key
        self._capacity_bytes = capacity_bytes
        self._write = write
        self._packs_max = packs_max
        self._open: list[OpenPack] = []
        self._count = 0
        self._count_owned = 0
        self._changed = asyncio.Event()
        self._pending: dict[tuple[Id, bytes], OpenPack] = {}
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[WrittenShard]] = set()
        """Puts of packs that are done without them."""
        self._closing = False

    @property
    def in_flight(self) -> int:
        """Packs that are open or being written."""
        return self._count

    async def checkout(self, scheme: Scheme, room_bytes: int = 0, pool: Pool = HIVE) -> OpenPack:
        """An open pack to append to; waits while all are taken. ``checkin`` gives it back."""
        while True:
            pack = self._idle(scheme, pool, room_bytes)
            if pack is None and self._has_room(pool):
                pack = self._create(scheme, pool)
            if pack is not None:
                pack.busy = True
                return pack
            self.want([each for each in self._open if not each.busy])
            self._end_late()
            self._changed.clear()
            await self._changed.wait()

    def _idle(self, scheme: Scheme, pool: Pool, room_bytes: int) -> OpenPack | None:
        for pack in self._open:
            fits = pack.scheme == scheme and pack.pool == pool and not pack.busy and not pack.wanted
            if fits and pack.builder.fits(room_bytes):
                return pack
        return None

    def _has_room(self, pool: Pool) -> bool:
        if pool != HIVE and self._count_owned >= max(1, self._packs_max // 2):
            return False
        return self._count < self._packs_max

    def _create(self, scheme: Scheme, pool: Pool) -> OpenPack:
        builder = PackBuilder(self._index_key, self._capacity_bytes)
        pack = OpenPack(scheme, pool, builder, asyncio.get_running_loop().create_future())
        self._open.append(pack)
        self._count += 1
        self._count_owned += pool != HIVE
        return pack

    def checkin(self, pack: OpenPack, *, full: bool = False) -> None:
        """Give a pack back; it is written now if it is full or wanted."""
        pack.busy = False
        if (full or pack.wanted) and pack.builder.entries:
            self._close(pack)
        self._changed.set()

    def want(self, packs: Iterable[OpenPack]) -> None:
        """Ask for these packs to be written as soon as nobody appends to them."""
        for pack in packs:
            if pack.closed:
                continue
            pack.wanted = True
            if not pack.busy and pack.builder.entries:
                self._close(pack)

    async def settle(self, packs: Iterable[OpenPack]) -> None:
        """Want these packs and wait until each is done. Raises what the writing raised."""
        waited = list(packs)
        self.want(waited)
        for pack in waited:
            await asyncio.shield(pack.done)

    def _close(self, pack: OpenPack) -> None:
        pack.closed = True
        self._open.remove(pack)
        task = asyncio.get_running_loop().create_task(self._finish(pack), name="write-pack")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, pack: OpenPack) -> None:
        error: BaseException | None = None
        written: Written | None = None
        try:
            written = await self._write(pack)
        except BaseException as failure:
            error = failure
        if error is None:
            pack.done.set_result(None)
        else:
            pack.done.set_exception(error)
            pack.done.exception()  # a pack whose writers are all gone fails without a log entry
        if written is not None:
            self._late.update(written.late)
            if self._closing:
                self._end_late()
            await written.finish()
            self._late.difference_update(written.late)
        with self._lock:
            for claim in pack.claims:
                if self._pending.get(claim) is pack:
                    del self._pending[claim]
        pack.builder.abandon()
        self._count -= 1
        self._count_owned -= pack.pool != HIVE
        self._changed.set()
        if error is not None and not isinstance(error, Exception):
            raise error

    def claim(self, pack: OpenPack, domain_id: Id, chunk_id: bytes) -> OpenPack | None:
        """Say that ``pack`` will hold a chunk; or the other pack that holds it already.

        Called from the thread that appends.
        """
        key = (domain_id, chunk_id)
        with self._lock:
            holder = self._pending.setdefault(key, pack)
        if holder is pack:
            pack.claims.append(key)
            return None
        return holder

    def pending(self, domain_id: Id, chunk_id: bytes) -> OpenPack | None:
        """The pack on its way that holds this chunk, if there is one."""
        return self._pending.get((domain_id, chunk_id))

    def _end_late(self) -> None:
        """Stop late puts: their packs' memory is wanted, and repair makes them good."""
        for task in self._late:
            task.cancel()

    async def close(self) -> None:
        """``drain``, without waiting for late puts."""
        self._closing = True
        self._end_late()
        await self.drain()

    async def drain(self) -> None:
        """Write every open pack and wait for all that are on their way (at shutdown)."""
        self.want(list(self._open))
        while self._tasks:
            await asyncio.wait(self._tasks)
