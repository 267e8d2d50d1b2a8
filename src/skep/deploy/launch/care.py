"""Care: after a crash, when hosts are lost and found, and every few seconds.

What runs is compared with what should: the grid says which slice is on which block, the journal which of them are live,
each engine what is there. What is nobody's is ended, what should run and does not is started, what was begun and not
decided is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import msgspec

from skep.base.errors import NotFound, SkepError, Unavailable
from skep.base.logs import get_logger
from skep.deploy.engines.records import Observed
from skep.deploy.grid.state import SliceEntry
from skep.deploy.launch.carrying import Carrying
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.journal import OpenPlan
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.planning import Situation, links_of
from skep.deploy.launch.records import Event, Place, Release, SliceRecord, Verdict
from skep.deploy.launch.slices import Slices

_log = get_logger("skep.launch")


class Care:
    """See the module."""

    def __init__(self, ground: Ground, limits: Limits, slices: Slices, carrying: Carrying) -> None:
        self._ground, self._limits, self._slices, self._carrying = ground, limits, slices, carrying
        self._swept_s: dict[str, float] = {}
        self._following: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """Slice that was started again -> its stack, and who waits until it is well."""

    # --- after a crash --------------------------------------------------------------------------

    async def recover(self) -> tuple[Verdict, ...]:
        """As ``Launches`` says."""
        self._slices.opening = True
        try:
            await self._ground.grid.open()
        finally:
            self._slices.opening = False
        verdicts = [await self._settle(opened) for opened in await self._ground.journal.open_plans()]
        stacks = {one.stack for one in await self._ground.journal.slices()}
        for stack in sorted(stacks | {*await self._ground.journal.stacks()}):
            await self._try(self._slices.route(stack), f"route {stack}")
        await self._bring_back(tuple)
        self._retire_old(await self._ground.journal.slices())
        await self._sweep_all()
        return tuple(verdicts)

    async def settle(self, stack: str) -> None:
        """End what an earlier launch of the stack left open. Raises what the journal raises."""
        for opened in await self._ground.journal.open_plans():
            if opened.plan.stack == stack:
                await self._settle(opened)

    async def _settle(self, opened: OpenPlan) -> Verdict:
        if opened.committed:
            return await self._carrying.complete(opened.plan, opened.after)
        error = Unavailable("HQ ended in the middle of the launch: what ran before serves on")
        return await self._carrying.undo(opened.plan, error, _silent, after_crash=True)

    # --- every few seconds ----------------------------------------------------------------------

    async def tick(self, busy: Callable[[], Collection[str]]) -> None:
        """One round. ``busy`` tells the stacks that are being launched."""
        await self._try(self._ground.grid.tick(), "grid")
        for stack in sorted(self._slices.unrouted):
            await self._try(self._slices.route(stack), f"route {stack}")
        for opened in await self._ground.journal.open_plans():
            if opened.plan.stack not in busy():
                await self._try(self._settle(opened), f"settle {opened.plan.id}")
        records = await self._ground.journal.slices()
        self._retire_old([one for one in records if one.stack not in busy()])
        await self._bring_back(busy)
        await self._sweep_all(due_only=True)

    def _retire_old(self, records: Collection[SliceRecord]) -> None:
        """End what is not of the release that serves: no launch is under way that could want it."""
        for stack in {one.stack for one in records}:
            ids = [one.id for one in records if one.stack == stack and one.state != "live"]
            self._carrying.retire(stack, ids, drain=True)

    async def _bring_back(self, busy: Callable[[], Collection[str]]) -> None:
        """Live slices that the grid does not have: its file is older, or a lost host was forgotten with them."""
        known = {entry.slice.id for entry in self._ground.grid.slices}
        blocks = {block.facts.id for block in self._ground.grid.blocks}
        for record in await self._ground.journal.slices():
            if record.state != "live" or record.id in known or record.stack in busy():
                continue
            if record.kind == "cron":
                await self._try(self._slices.end(record.id), f"end {record.id}")
                continue
            home = next((block for block in reversed(record.places) if block in blocks), "")
            await self._try(self._slices.start(record, pinned=home), f"bring back {record.id}")

    async def stale(self, situation: Callable[[Release], Awaitable[Situation]]) -> list[str]:
        """Stacks where a slice was told another address of a service than the one that it has now."""
        found = []
        for stack in await self._ground.journal.stacks():
            release = await self._ground.journal.current(stack)
            if release is None:
                continue
            now = await situation(release)
            links = links_of(release.stack, now).variables
            over = {*now.global_env, *now.stack_env}
            for one in now.slices:
                job = release.stack.job(one.job)
                if job is None or one.kind not in ("web", "worker"):
                    continue
                told = {name: one.spec.env[name] for name in links if name in one.spec.env}
                if any(links[name] != text for name, text in told.items() if name not in over | job.env.keys()):
                    found.append(stack)
                    break
        return found

    # --- hosts ----------------------------------------------------------------------------------

    async def host_lost(self, block_id: str) -> tuple[str, ...]:
        """As ``Launches`` says."""
        stacks = set()
        for record in await self._ground.journal.slices():
            if block_id in record.places and len(record.places) > 1:
                places = {name: place for name, place in record.places.items() if name != block_id}
                await self._ground.journal.put_slice(msgspec.structs.replace(record, places=places))
                stacks.add(record.stack)
        left = await self._ground.grid.lost(block_id)
        for stack in sorted(stacks):
            await self._try(self._slices.route(stack), f"route {stack}")
        return left

    async def host_found(self, block_id: str) -> None:
        """As ``Launches`` says."""
        await self._ground.grid.found(block_id)
        await self.sweep(block_id)

    async def _sweep_all(self, *, due_only: bool = False) -> None:
        now_s = self._ground.clock.monotonic_s()
        due = []
        for block in self._ground.grid.blocks:
            name = block.facts.id
            last_s = self._swept_s.get(name)
            waits = due_only and last_s is not None and now_s - last_s < self._limits.sweep_s
            if not waits and self._ground.grid.block_state(name) in ("open", "draining"):
                due.append(self._try(self.sweep(name), f"sweep {name}"))
        await asyncio.gather(*due)

    async def sweep(self, block_id: str) -> None:
        """End what is nobody's on a host, start what should run there. Raises what its engine raises."""
        engine = self._ground.engine(block_id)
        there = {one.id: one for one in await engine.list() if self._slices.starter.is_ours(one.labels)}
        if there.keys() - self._on(block_id).keys():
            await self._slices.drained()  # requests may be under way on a host that was only thought to be lost
        mine = self._on(block_id)
        for slice_id in sorted(there.keys() - mine.keys()):
            _log.info("orphan-ended", slice=slice_id, block=block_id)
            await engine.remove(slice_id)
        changed = set()
        for slice_id, entry in mine.items():
            record = await self._ground.journal.slice(slice_id)
            if record is None or record.state != "live" or record.kind == "cron" or entry.state != "running":
                continue
            if await self._mended(record, block_id, there.get(slice_id)):
                changed.add(record.stack)
        for stack in sorted(changed):
            await self._try(self._slices.route(stack), f"route {stack}")
        self._swept_s[block_id] = self._ground.clock.monotonic_s()

    def _on(self, block_id: str) -> dict[str, SliceEntry]:
        """The slices that lie on a block, or go there."""
        return {entry.slice.id: entry for entry in self._ground.grid.slices if block_id in (entry.block, entry.target)}

    async def _mended(self, record: SliceRecord, block_id: str, seen: Observed | None) -> bool:
        """See to it that a live slice runs on its block; whether it is reached elsewhere than it was."""
        async with self._slices.lock(record.id):
            return await self._mended_alone(record, block_id, seen)

    async def _mended_alone(self, record: SliceRecord, block_id: str, seen: Observed | None) -> bool:
        entry = next((one for one in self._ground.grid.slices if one.slice.id == record.id), None)
        latest = await self._ground.journal.slice(record.id)
        if entry is None or entry.state != "running" or entry.block != block_id or latest != record:
            return False
        known = record.places.get(block_id)
        if seen is None or seen.state in ("stopped", "exited"):
            place = await self._started_again(record, block_id)
        else:
            is_known = known is not None and known.is_ready and known.bindings == seen.bindings
            place = Place(
                bindings=seen.bindings,
                spec=known.spec if known is not None else None,
                is_ready=is_known or record.kind != "web" or seen.is_ready,
            )
        if not place.is_ready:
            self._follow(record, block_id)
        if known == place and record.places.keys() == {block_id}:
            return False
        await self._ground.journal.put_slice(msgspec.structs.replace(record, places={block_id: place}))
        return True

    async def _started_again(self, record: SliceRecord, block_id: str) -> Place:
        """Start a slice that has ended. Nothing leads to one of a web job until it is well."""
        _log.info("slice-started-again", slice=record.id, block=block_id)
        known, is_web = record.places.get(block_id), record.kind == "web"
        if is_web and known is not None and known.is_ready:
            away = msgspec.structs.replace(known, is_ready=False)
            await self._ground.journal.put_slice(msgspec.structs.replace(record, places={block_id: away}))
            await self._try(self._slices.route(record.stack), f"route {record.stack}")
        place = await self._slices.starter.start(self._ground.engine(block_id), record, block_id)
        return msgspec.structs.replace(place, is_ready=not is_web)

    def _follow(self, record: SliceRecord, block_id: str) -> None:
        """Have requests led to the slice again as soon as it is well; if that fails, the next sweep looks again."""
        if record.id in self._following:
            return
        task = asyncio.ensure_future(self._try(self._followed(record, block_id), f"follow {record.id}"))
        self._following[record.id] = (record.stack, task)
        task.add_done_callback(lambda done: self._following.pop(record.id, None))

    async def _followed(self, record: SliceRecord, block_id: str) -> None:
        seen = await self._slices.starter.wait_until_ready(self._ground.engine(block_id), record)
        latest = await self._ground.journal.slice(record.id)
        if latest is not None and latest.state == "live" and await self._mended(latest, block_id, seen):
            await self._slices.route(record.stack)

    async def idle(self, stack: str = "") -> None:
        """Wait until what was started again is well, or given up, of one stack or of all."""
        tasks = [task for name, task in self._following.values() if stack in ("", name)]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Wait for nothing any more."""
        tasks = [task for _, task in self._following.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, doing: Awaitable[object], what: str) -> None:
        try:
            await doing
        except (SkepError, NotFound) as error:
            _log.warning("care-failed", what=what, error=error.message)


async def _silent(event: Event) -> None:
    """Nobody listens."""
