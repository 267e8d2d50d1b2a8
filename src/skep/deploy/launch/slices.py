"""Slices where they are: what the grid's events do to engines, routes and the journal.

What always holds:

- a slice's record is in the journal before the grid or an engine hears of it, and goes only when both have let go;
- whatever lies on a host and is not on that block of the grid is nobody's, so it may be ended at any time;
- a slice of a web job is led to only while it is ready, and is told to end only when nothing leads there and what was
  under way has ended, or has had its time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable

import msgspec

from skep.base.errors import EngineUnavailable, HostUnavailable, NotFound, SkepError, TimedOut
from skep.base.logs import get_logger
from skep.deploy.build.images import TLS
from skep.deploy.engines.protocol import Engine
from skep.deploy.grid import HERE, BlockFacts, Slice
from skep.deploy.grid.records import UNMOVABLE
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.limits import WHILE_AWAY, Limits, patient, when_free
from skep.deploy.launch.records import Release, SliceRecord
from skep.deploy.launch.sites import sites_of
from skep.deploy.launch.specs import fixed_ports
from skep.deploy.launch.starting import Starter, hook_environment
from skep.deploy.router.records import Certificate, Site

_log = get_logger("skep.launch")


class Slices:
    """All slices of one HQ. Takes the grid's events ``added`` and ``removed``."""

    def __init__(self, ground: Ground, limits: Limits) -> None:
        self._ground, self._limits = ground, limits
        self.starter = Starter(ground.fleet, ground.images, limits, ground.clock)
        self.serving: dict[str, tuple[Release | None, frozenset[str]]] = {}
        """Stack -> what its router serves while a launch is between ROUTE and its decision; else what is live."""
        self.unrouted: set[str] = set()
        """Stacks whose router could not be told; the next round of care tries again."""
        self.opening = False
        """While the grid is opened after a crash, hosts that do not answer are passed over: sweeping cleans them."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._placed: dict[tuple[str, str], str] = {}
        self._routing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        ground.grid.on("added")(self._added)
        ground.grid.on("removed")(self._removed)

    def lock(self, slice_id: str) -> asyncio.Lock:
        """Held by whoever ends a slice or starts it again."""
        return self._locks.setdefault(slice_id, asyncio.Lock())

    # --- starting and ending --------------------------------------------------------------------

    async def start(self, record: SliceRecord, *, pinned: str = "") -> str:
        """Place the slice and start it; the block where it is well now. It stays nowhere if that fails.

        ``pinned``: the block that it must be on. Raises JobFailed, GridFull, and what engines and the grid raise.
        """
        await self._ground.journal.put_slice(record)
        if record.id in {entry.slice.id for entry in self._ground.grid.slices}:
            return self._ground.grid.slice(record.id).block
        block = await self._ground.grid.add(record.id, record.size, record.tags, **self._facts(record, pinned))
        return block.id

    def _facts(self, record: SliceRecord, pinned: str) -> dict[str, object]:
        moves = record.kind in ("web", "worker")
        return {
            "group": f"{record.stack}.{record.job}",
            "pinned": (pinned or HERE) if record.spec.mounts else "",
            "ports": fixed_ports(record),
            "disruption": 1.0 if moves else UNMOVABLE,
            "image": record.spec.image,
        }

    async def start_in_place(self, old: SliceRecord, record: SliceRecord) -> None:
        """End the old slice, and start the new one on the same block and ports. Raises as ``start`` does."""
        grid, block = self._ground.grid, self._ground.grid.slice(old.id).block
        place = msgspec.structs.replace(old.places[block], spec=None) if block in old.places else None
        record = msgspec.structs.replace(record, places={} if place is None else {block: place})
        await self._ground.journal.put_slice(record)
        engine = self._ground.engine(block)
        async with self.lock(old.id):
            await self._unhook(old, block)
            await self._end_on(engine, old)
            await when_free(
                lambda: grid.swap(old.id, record.id, record.size, record.tags, **self._facts(record, block)),
                self._limits,
                self._ground.clock,
            )
        await self._begin_on(engine, record, block)

    async def put_back(self, old: SliceRecord, new: str) -> None:
        """Undo ``start_in_place``, however far it got. Raises what engines raise; then it may be called again."""
        grid = self._ground.grid
        known = {entry.slice.id: entry for entry in grid.slices}
        if new in known and old.id not in known:
            block = known[new].block
            record = await self._ground.journal.slice(new)
            assert record is not None, new
            try:
                await self._end_on(self._ground.engine(block), record)
            except WHILE_AWAY:
                _log.warning("slice-not-ended", slice=new, block=block)  # the host's next sweep ends it
            await when_free(
                lambda: grid.swap(new, old.id, old.size, old.tags, **self._facts(old, block)),
                self._limits,
                self._ground.clock,
            )
        if old.id in {entry.slice.id for entry in grid.slices}:
            block = grid.slice(old.id).block
            await self._begin_on(self._ground.engine(block), old, block)

    async def end(self, slice_id: str) -> None:
        """End the slice for good; not there: fine. Raises EngineUnavailable, InUse: it is tried again by care."""
        journal, grid = self._ground.journal, self._ground.grid
        record = await journal.slice(slice_id)
        if record is not None and record.state != "old":
            await journal.put_slice(msgspec.structs.replace(record, state="old"))
        try:
            await when_free(lambda: grid.remove(slice_id), self._limits, self._ground.clock)
        except NotFound:
            for block in record.places if record is not None else ():
                await self._end_where_reachable(block, slice_id)
        await journal.drop_slice(slice_id)
        self._locks.pop(slice_id, None)

    async def _end_where_reachable(self, block: str, slice_id: str) -> None:
        """A slice that the grid does not have any more; a host that does not answer is swept when it does."""
        try:
            await self._ground.engine(block).remove(slice_id)
        except (EngineUnavailable, HostUnavailable, TimedOut, NotFound) as error:
            _log.warning("slice-not-ended", slice=slice_id, block=block, error=error.message)

    # --- what the grid asks for -----------------------------------------------------------------

    async def _added(self, block: BlockFacts, item: Slice) -> None:
        record = await self._ground.journal.slice(item.id)
        if record is None:
            raise NotFound(f"slice {item.id} is in the grid, and the journal does not know it", slice=item.id)
        entry = self._ground.grid.slice(item.id)
        if entry.state != "copying" and record.places.keys() - {block.id}:
            record = msgspec.structs.replace(record, places={})
        await self._begin_on(self._ground.engine(block.id), record, block.id)
        if record.state == "live":
            await self.route(record.stack)

    async def _begin_on(self, engine: Engine, record: SliceRecord, block: str) -> None:
        """Start it there, wait until it is well, and write down where it is reached."""
        place = await self.starter.start(engine, record, block)
        seen = None
        if record.kind != "cron":
            seen = await self.starter.wait_until_ready(engine, record)
            place = msgspec.structs.replace(place, bindings=seen.bindings)
        places = {**{name: one for name, one in record.places.items() if name != block}, block: place}
        now = await self._ground.journal.slice(record.id) or record
        await self._ground.journal.put_slice(msgspec.structs.replace(now, places=places))
        if record.hook:
            for binding in place.bindings:
                await self._ground.hooks.run(record.hook, hook_environment(record, binding), self._limits.hook_s)

    async def _removed(self, block: BlockFacts, item: Slice) -> None:
        record = await self._ground.journal.slice(item.id)
        try:
            engine = self._ground.engine(block.id)
            if record is None:
                await patient(lambda: engine.remove(item.id), self._limits, self._ground.clock)
                return
            await self._leave(record, block.id)
            async with self.lock(item.id):
                await self._unhook(record, block.id)
                await self._end_on(engine, record)
        except (EngineUnavailable, NotFound) as error:
            if not self.opening:
                raise
            _log.warning("host-passed-over", slice=item.id, block=block.id, error=error.message)

    async def _leave(self, record: SliceRecord, block: str) -> None:
        """Nothing leads to the slice on this block any more, and what was under way there has ended."""
        if block in record.places:
            places = {name: place for name, place in record.places.items() if name != block}
            await self._ground.journal.put_slice(msgspec.structs.replace(record, places=places))
        elif not self.opening:  # after a crash the router may not have been told of that
            return
        if record.state != "live" or record.kind != "web":
            return
        try:
            await self.route(record.stack)
        except SkepError as error:
            if not self.opening:
                raise
            _log.warning("router-passed-over", stack=record.stack, error=error.message)
        await self.drained()

    async def _unhook(self, record: SliceRecord, block: str) -> None:
        """Run what is to run before a slice goes; a failure holds nothing up."""
        if not record.unhook or block not in record.places:
            return
        for binding in record.places[block].bindings:
            try:
                await self._ground.hooks.run(record.unhook, hook_environment(record, binding), self._limits.hook_s)
            except SkepError as error:
                _log.warning("unhook-failed", slice=record.id, error=error.message)

    async def _end_on(self, engine: Engine, record: SliceRecord) -> None:
        await patient(lambda: engine.stop(record.id, record.spec.stop_grace_s), self._limits, self._ground.clock)
        await patient(lambda: engine.remove(record.id), self._limits, self._ground.clock)

    # --- routes ---------------------------------------------------------------------------------

    async def route(self, stack: str) -> None:
        """Have the router lead to what serves now. Raises what the router raises; then care tries again."""
        async with self._routing[stack]:
            self.unrouted.add(stack)
            release, ids = await self._served(stack)
            records = [one for one in await self._ground.journal.slices(stack) if one.id in ids]
            sites = await self._sites(release, records) if release is not None else ()
            await patient(lambda: self._ground.router.apply(stack, sites), self._limits, self._ground.clock)
            self.unrouted.discard(stack)

    async def _served(self, stack: str) -> tuple[Release | None, frozenset[str]]:
        if stack in self.serving:
            return self.serving[stack]
        live = [one.id for one in await self._ground.journal.slices(stack) if one.state == "live"]
        return await self._ground.journal.current(stack), frozenset(live)

    async def _sites(self, release: Release, records: Iterable[SliceRecord]) -> tuple[Site, ...]:
        roots, certificates = {}, {}
        stack = release.stack.name
        for job in release.stack.of_kind("web", "static"):
            if job.kind == "static" and job.name in release.images:
                roots[job.name] = await self._files(stack, release.images[job.name])
            if job.name + TLS in release.images:
                folder = await self._files(stack, release.images[job.name + TLS])
                certificates[job.name] = Certificate(f"{folder}/chain.pem", f"{folder}/key.pem")
        return sites_of(release.stack, records, roots=roots, certificates=certificates)

    async def _files(self, stack: str, ref: str) -> str:
        if (stack, ref) not in self._placed:
            image = self._ground.images.image(ref)
            self._placed[stack, ref] = await patient(
                lambda: self._ground.router.place(stack, image), self._limits, self._ground.clock
            )
        return self._placed[stack, ref]

    async def drained(self) -> None:
        """Wait until what began before the last change of routes has ended, or has had its time."""
        try:
            if not await self._ground.router.drained(self._limits.drain_s):
                _log.info("drain-over", waited_s=self._limits.drain_s)
        except SkepError as error:
            _log.warning("drain-unknown", error=error.message)

    async def prune_files(self, stack: str, refs: Collection[str]) -> None:
        """The router needs no files of the stack but these."""
        for key in [key for key in self._placed if key[0] == stack and key[1] not in refs]:
            del self._placed[key]
        await self._ground.router.prune(stack, refs)
