"""SliceGrid: a list of blocks (servers) and the slices (jobs) that lie on them.

    from skep.deploy.grid import SliceGrid

    grid = SliceGrid(autosize=True, min=1, max=10, file="/srv/grid.json", types=[...])

    @grid.on("create")
    async def create(order):                 # the grid is full: rent a server
        return {"address": await rent(order.id, order.type)}

    @grid.on("added")
    async def added(block, slice):           # a job was put on a server: start it, return when it is healthy
        await start(block.address, slice.id)

    await grid.open()
    block = await grid.add("shop.web.1", 512)        # 512 MiB; the block that was chosen
    await grid.remove("shop.web.1")

The events are ``create``, ``destroy``, ``added`` and ``removed``; each handler is awaited, may fail, and may be called
again for the same thing after a crash, so it must do what is done already once only. What always holds:

- planning is one step without a pause, so two orders never plan on the same room;
- what is about to be done is on the disk before a handler is called;
- a slice is told to leave its old block only after ``added`` has returned for the new one;
- after a crash, ``open`` undoes what nobody was told of and completes what was half gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import AlreadyExists, BadInput, GridFull, InUse, SkepError
from skep.base.logs import get_logger
from skep.deploy.grid.drain import plan_drain
from skep.deploy.grid.layout import Block
from skep.deploy.grid.ledger import Ledger
from skep.deploy.grid.options import Options
from skep.deploy.grid.place import candidates, place
from skep.deploy.grid.preview import Step, preview
from skep.deploy.grid.records import BlockFacts, Decision, Move, ServerType, Slice
from skep.deploy.grid.recovery import recover
from skep.deploy.grid.renting import Renting
from skep.deploy.grid.room import make_room
from skep.deploy.grid.state import SliceEntry, State, StateFile
from skep.deploy.stack.records import Size

Event: TypeAlias = Literal["added", "removed", "create", "destroy"]
Handler: TypeAlias = Callable[..., Awaitable[Any]]
_H = TypeVar("_H", bound=Handler)
_EVENTS = ("added", "removed", "create", "destroy")
_log = get_logger("skep.grid")


class SliceGrid:
    """See the module. One per state file; use it from one event loop.

    Options are those of ``Options``; sizes are ``Size`` or a number of MiB of memory.
    """

    def __init__(
        self, *, clock: Clock | None = None, file: str | Path | StateFile | None = None, **options: Any
    ) -> None:
        types = tuple(options.pop("types", ()))
        try:
            path = file.path if isinstance(file, StateFile) else Path(file) if file else None
            self.options = Options(file=path, types=types, **options)
        except TypeError as error:
            raise BadInput(f"a grid has no such option: {error}") from error
        self._clock = clock or SystemClock()
        self._file = file if isinstance(file, StateFile) else StateFile(path)
        self._handlers: dict[str, Handler] = {}
        self._busy: set[str] = set()
        self._opened = False
        self._use(State())

    def _use(self, state: State) -> None:
        self._ledger = Ledger(state, self._now_s)
        self._renting = Renting(self.options, self._ledger, self._file, self._call)

    # --- Setting up ---------------------------------------------------------------------------

    def on(self, event: Event) -> Callable[[_H], _H]:
        """Register what is called for an event, one for each; a decorator. Raises BadInput for an unknown event.

        ``create(order)`` gets a CreateOrder and answers with a mapping (address, size, tags) or None;
        ``destroy(block)``, ``added(block, slice)`` and ``removed(block, slice)`` get BlockFacts and a Slice.
        """
        if event not in _EVENTS:
            raise BadInput(f"the grid has no event {event}: it has {', '.join(_EVENTS)}")

        def register(handler: _H) -> _H:
            self._handlers[event] = handler
            return handler

        return register

    def offer(self, types: Iterable[ServerType]) -> None:
        """What can be rented from now on. Raises BadInput when two have one name."""
        self.options = msgspec.structs.replace(self.options, types=tuple(types))
        self._renting.options = self.options

    async def open(self) -> None:
        """Read the state file and bring what a crash interrupted to exactly the old or exactly the new state.

        Raises CorruptRecord, LocalFailure, and what a handler raises: then call it again.
        """
        state = self._file.load()
        await recover(state, self._call, self._now_s())
        await self._file.save(state)
        self._use(state)
        self._opened = True

    # --- What others read ---------------------------------------------------------------------

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks with what is on them, oldest first. Not to be changed."""
        return tuple(self._ledger.layout.blocks.values())

    @property
    def slices(self) -> tuple[SliceEntry, ...]:
        """All slices, in the order in which they came. Not to be changed."""
        return tuple(self._ledger.state.slices.values())

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The last thousand decisions, oldest first."""
        return tuple(self._ledger.state.decisions)

    def block_state(self, block_id: str) -> str:
        """creating, open, draining, destroying or lost. Raises NotFound."""
        return self._ledger.block(block_id).state

    def slice(self, slice_id: str) -> SliceEntry:
        """Where the slice is and how far the last order about it got. Raises NotFound."""
        return self._ledger.slice(slice_id)

    def explain(self, slice_id: str) -> tuple[Decision, ...]:
        """Why the slice is where it is: what was decided about it, and last what would be chosen now.

        Raises NotFound.
        """
        entry = self._ledger.slice(slice_id)
        past = [one for one in self._ledger.state.decisions if one.slice == slice_id or _moved(one, slice_id)]
        trial = self._ledger.layout.copy()
        if slice_id in trial.homes:
            trial.take(slice_id)
        best = place(trial, entry.slice)
        reason = "the tightest fit now" if best else "no block would take it now"
        home = best.facts.id if best else ""
        return (
            *past,
            Decision("now", self._now_s(), slice_id, home, reason, (), candidates(trial, entry.slice)),
        )

    def plan_drain(self) -> tuple[Move, ...]:
        """What ``tick`` would move if all waits were over: the preview."""
        found = plan_drain(self._ledger.layout, budget=self.options.budget, headroom=self.options.headroom)
        return found.moves if found else ()

    def preview(self, items: Iterable[Slice], *, without: Iterable[str] = ()) -> tuple[Step, ...]:
        """What would become of these slices if they were added now; nothing is changed.

        ``without`` are slices that would be gone by then.
        """
        layout, gone = self._ledger.layout, [one for one in without if one in self._ledger.layout.homes]
        if gone:
            layout = layout.copy()
            for slice_id in gone:
                layout.take(slice_id)
        wanted = [msgspec.structs.replace(one, size=one.size.quantised()) for one in items]
        credit = self._ledger.state.move_credit
        return preview(layout, self.options, wanted, credit=credit, can_create="create" in self._handlers)

    # --- Slices -------------------------------------------------------------------------------

    async def add(self, slice_id: str, size: Size | int, tags: Iterable[str] = (), **facts: Any) -> BlockFacts:
        """Find a block for the slice, start it there (``added``), and return the block.

        ``facts`` are the other fields of ``Slice``. Room is made by moving at most two slices before a server is
        rented. Raises AlreadyExists, GridFull, TimedOut when a server did not come in time, and what a handler
        raises; then the slice is not in the grid.
        """
        self._check_open()
        item = Slice(id=slice_id, size=_size(size).quantised(), tags=frozenset(tags), **facts)
        if slice_id in self._ledger.state.slices or slice_id in self._busy:
            raise AlreadyExists(f"slice {slice_id} is in the grid already", slice=slice_id)
        return await self._add(item)

    async def _add(self, item: Slice) -> BlockFacts:
        ledger = self._ledger
        self._busy.add(item.id)
        try:
            block = place(ledger.layout, item)
            entry = ledger.reserve(item, block, "the tightest fit") if block else await self._make_place(item)
            try:
                await self._file.save(ledger.state)
                await self._renting.wait(entry.block)
                await self._call("added", ledger.block(entry.block).facts, entry.slice)
            except BaseException:
                await asyncio.shield(self._undo_add(entry))
                raise
            entry.state = "running"
            await self._file.save(ledger.state)
            return ledger.block(entry.block).facts
        finally:
            self._busy.discard(item.id)

    async def remove(self, slice_id: str) -> None:
        """End the slice (``removed``) and free its share. Raises NotFound, InUse while it is being placed or moved.

        When the handler fails the slice stays, to be removed again: by the caller or the next ``tick``.
        """
        self._check_open()
        ledger, entry = self._ledger, self._ledger.slice(slice_id)
        if slice_id in self._busy or entry.state in ("placing", "copying", "leaving"):
            raise InUse(f"slice {slice_id} is being placed, moved or removed: try again when that has ended")
        if entry.state != "lost":
            entry.state = "removing"
            self._busy.add(slice_id)
            try:
                await self._file.save(ledger.state)
                if ledger.block(entry.block).state != "lost":
                    await self._call("removed", ledger.block(entry.block).facts, entry.slice)
            finally:
                self._busy.discard(slice_id)
        ledger.drop(entry)
        ledger.earn(self.options.moves_per_departure)
        await self._file.save(ledger.state)

    async def move(self, slice_id: str, block_id: str) -> None:
        """Move one slice by order, also a service. Raises NotFound, InUse, GridFull where it cannot be there."""
        self._check_open()
        entry, block = self._ledger.slice(slice_id), self._ledger.layout.block(block_id)
        if entry.state != "running" or slice_id in self._busy:
            raise InUse(f"slice {slice_id} is {entry.state}: try again when that has ended")
        if entry.block == block_id:
            return
        refusal = block.refusal(entry.slice)
        if refusal:
            raise GridFull(f"block {block_id} cannot take slice {slice_id}: {refusal}")
        await self._move(Move(slice_id, entry.block, block_id))

    async def swap(
        self, slice_id: str, new_id: str, size: Size | int, tags: Iterable[str] = (), **facts: Any
    ) -> BlockFacts:
        """Give a slice's place to another one, on the same block; the block. No handler is called.

        For jobs that cannot stand side by side: whoever calls this ends the old one and starts the new one. Raises
        NotFound, AlreadyExists, InUse while the slice is placed, moved or removed, and GridFull when the new one does
        not fit in its place; then nothing has changed.
        """
        self._check_open()
        ledger, entry = self._ledger, self._ledger.slice(slice_id)
        item = Slice(id=new_id, size=_size(size).quantised(), tags=frozenset(tags), **facts)
        if new_id in ledger.state.slices or new_id in self._busy:
            raise AlreadyExists(f"slice {new_id} is in the grid already", slice=new_id)
        if slice_id in self._busy or entry.state not in ("running", "lost"):
            raise InUse(f"slice {slice_id} is {entry.state}: try again when that has ended")
        refusal = ledger.swap(entry, item)
        if refusal:
            raise GridFull(f"block {entry.block} cannot take slice {new_id} for {slice_id}: {refusal}")
        await self._file.save(ledger.state)
        return ledger.block(entry.block).facts

    async def _make_place(self, item: Slice) -> SliceEntry:
        """Make room by moves where they cost less than a server, else rent one; the slice is reserved there."""
        ledger = self._ledger
        worth = min(ledger.state.move_credit, 2.0)
        found = make_room(ledger.layout, item, worth=worth) if worth >= 1.0 else None
        if found is not None and not any(move.slice in self._busy for move in found[1]):
            block, moves = found
            ledger.note("make-room", slice=item.id, block=block.facts.id, reason="cheaper than a server", moves=moves)
            block.closed = True
            try:
                await self._try(self._move_all(moves))
            finally:
                block.closed = ledger.block(block.facts.id).state not in ("open", "creating")
            if not block.refusal(item):
                return ledger.reserve(item, block, "room was made")
        block = self._renting.order_for(item, can_create="create" in self._handlers)
        return ledger.reserve(item, block, "a server was ordered for it")

    async def _undo_add(self, entry: SliceEntry) -> None:
        """What was started goes; where even that fails, the next ``tick`` ends it."""
        ledger, block = self._ledger, self._ledger.block(entry.block)
        try:
            if block.state not in ("destroying", "lost"):
                await self._call("removed", block.facts, entry.slice)
        except Exception as error:
            _log.warning("slice-not-removed", slice=entry.slice.id, block=block.facts.id, error=str(error))
            entry.state = "removing"
        else:
            ledger.drop(entry)
        await self._try(self._file.save(ledger.state))

    # --- Moves --------------------------------------------------------------------------------

    async def _move_all(self, moves: Iterable[Move]) -> None:
        for move in moves:
            await self._move(move)
            self._ledger.spend()

    async def _move(self, move: Move) -> None:
        """Start the copy, wait until it is well, end the old one. On failure the old one goes on, the copy goes."""
        ledger = self._ledger
        entry = ledger.slice(move.slice)
        self._busy.add(move.slice)
        try:
            ledger.begin_copy(move)
            try:
                await self._file.save(ledger.state)
                await self._renting.wait(move.target)
                await self._call("added", ledger.block(move.target).facts, entry.slice)
            except BaseException:
                await asyncio.shield(self._undo_copy(move))
                raise
            entry.state = "leaving"
            await self._file.save(ledger.state)
            await self._finish_move(entry)
        finally:
            self._busy.discard(move.slice)

    async def _finish_move(self, entry: SliceEntry) -> None:
        source = self._ledger.block(entry.block)
        if source.state != "lost":
            await self._call("removed", source.facts, entry.slice)
        self._ledger.end_move(entry)
        await self._file.save(self._ledger.state)

    async def _undo_copy(self, move: Move) -> None:
        """The copy goes and the old one goes on; where the copy's end fails, the next ``tick`` tries again."""
        ledger = self._ledger
        target = ledger.block(move.target)
        try:
            if target.state not in ("destroying", "lost"):
                await self._call("removed", target.facts, ledger.slice(move.slice).slice)
        except Exception as error:
            _log.warning("copy-not-removed", slice=move.slice, block=move.target, error=str(error))
        else:
            ledger.undo_copy(move)
        await self._try(self._file.save(ledger.state))

    # --- Blocks -------------------------------------------------------------------------------

    async def adopt(
        self,
        block_id: str,
        size: Size | int,
        *,
        tags: Iterable[str] = (),
        address: str = "",
        price: float = 0.0,
        region: str = "",
    ) -> BlockFacts:
        """Use a server that is there already; of a number of MiB, each GiB brings one core. Raises AlreadyExists."""
        self._check_open()
        facts = BlockFacts(
            id=block_id,
            size=size if isinstance(size, Size) else Size(memory_bytes=size << 20, cpu_millis=size * 1000 >> 10),
            number=self._ledger.next_number(),
            price=price,
            region=region,
            tags=frozenset(tags),
            address=address,
            created_s=self._now_s(),
        )
        self._ledger.open(facts)
        await self._file.save(self._ledger.state)
        return facts

    async def release(self, block_id: str) -> None:
        """Move everything off a block, also what the grid would not move on its own, and give it back or forget it.

        Raises NotFound, InUse for pinned slices, GridFull where a slice finds no other place: what had moved
        stays moved.
        """
        self._check_open()
        ledger, block = self._ledger, self._ledger.layout.block(block_id)
        if ledger.block(block_id).state != "open":
            raise InUse(f"block {block_id} is {ledger.block(block_id).state}: wait until that has ended")
        pinned = sorted(item.id for item in block.slices.values() if item.pinned)
        if pinned:
            raise InUse(f"block {block_id} holds volumes of {', '.join(pinned)}: remove those slices first")
        ledger.shut(block_id, "draining")
        try:
            for slice_id, item in list(block.slices.items()):
                target = place(ledger.layout, item) or self._renting.order_for(
                    item, can_create="create" in self._handlers
                )
                await self._move(Move(slice_id, block_id, target.facts.id))
        except BaseException:
            ledger.shut(block_id, "open")
            raise
        await self._renting.destroy(block_id, "released")

    async def lost(self, block_id: str) -> tuple[str, ...]:
        """The server is gone with all that ran on it: start its slices elsewhere.

        Returns the ids of slices that have no place now: pinned ones, and those that nothing could take; ``tick`` tries
        these again. Raises NotFound.
        """
        self._check_open()
        self._ledger.shut(block_id, "lost")
        await self._file.save(self._ledger.state)
        return await self._replace_lost()

    async def found(self, block_id: str) -> tuple[str, ...]:
        """A lost server is back: use it again. Returns the slices that have waited for it and still run there.

        What else runs there is old: end it by comparing with the engine's list. Raises NotFound, InUse when it was not
        lost.
        """
        self._check_open()
        ledger = self._ledger
        if ledger.block(block_id).state != "lost":
            raise InUse(f"block {block_id} is {ledger.block(block_id).state}: it was not lost")
        ledger.shut(block_id, "open")
        back = []
        for entry in self.slices:
            if entry.state == "lost" and entry.block == block_id:
                ledger.layout.put(entry.slice, block_id)
                entry.state = "running"
                back.append(entry.slice.id)
        await self._file.save(ledger.state)
        return tuple(back)

    async def forget(self, block_id: str) -> None:
        """Drop a lost block that will not come back, with the slices that were pinned to it.

        Others that have no place yet go on waiting for one. Raises NotFound, InUse.
        """
        self._check_open()
        ledger = self._ledger
        if ledger.block(block_id).state != "lost":
            raise InUse(f"block {block_id} is {ledger.block(block_id).state}: release it instead")
        for entry in self.slices:
            if entry.block == block_id and entry.state == "lost":
                if entry.slice.pinned:
                    ledger.drop(entry)
                else:
                    entry.block = ""
        await self._renting.destroy(block_id, "lost and forgotten")

    async def _replace_lost(self) -> tuple[str, ...]:
        """Start what ran on lost blocks elsewhere; returns what has no place yet."""
        ledger, left = self._ledger, []
        for entry in self.slices:
            slice_id = entry.slice.id
            if slice_id in self._busy or ledger.state.slices.get(slice_id) is not entry:
                continue
            if entry.state != "lost" and ledger.block(entry.block).state != "lost":
                continue
            if entry.state == "leaving":
                await self._finish_move(entry)
                continue
            if entry.state == "removing":  # it was to go, and went with its server
                ledger.drop(entry)
                continue
            if entry.state == "copying":  # its copy was not known to be well, and must not stay beside the next one
                await self._undo_copy(Move(slice_id, entry.block, entry.target))
                if entry.state == "copying":
                    left.append(slice_id)
                    continue
            if entry.state != "lost":
                ledger.lose(entry)
            if entry.slice.pinned:
                left.append(slice_id)
                continue
            del ledger.state.slices[slice_id]
            try:
                await self._add(entry.slice)
            except SkepError as error:
                _log.warning("slice-has-no-place", slice=slice_id, error=error.message)
                ledger.state.slices[slice_id] = entry
                left.append(slice_id)
        await self._file.save(ledger.state)
        return tuple(left)

    # --- Care ---------------------------------------------------------------------------------

    async def tick(self) -> tuple[Decision, ...]:
        """One round of care: finish what failed, place what was lost, keep ``min``, give back what is empty, drain.

        Call it every few seconds. Returns what it decided. A failing handler is logged and tried at the next round.
        """
        self._check_open()
        ledger = self._ledger
        last = ledger.state.decisions[-1] if ledger.state.decisions else None
        for entry in self.slices:
            if entry.slice.id in self._busy or ledger.state.slices.get(entry.slice.id) is not entry:
                continue  # it went while another was cared for
            if entry.state == "removing":
                await self._try(self.remove(entry.slice.id))
            elif entry.state == "leaving":
                await self._try(self._finish_move(entry))
            elif entry.state == "copying":
                await self._undo_copy(Move(entry.slice.id, entry.block, entry.target))
        await self._try(self._replace_lost())
        await self._try(self._keep_min())
        for block_id in self._idle():
            await self._try(self._renting.destroy(block_id, "empty"))
        await self._try(self._drain())
        decisions = ledger.state.decisions
        return tuple(decisions[decisions.index(last) + 1 :] if last in decisions else decisions)

    async def _keep_min(self) -> None:
        while len(self.blocks) < self.options.min and self.options.types and "create" in self._handlers:
            cheapest = min(self.options.types, key=lambda one: (one.price, one.name))
            await self._renting.wait(self._renting.order(cheapest).facts.id)

    def _idle(self) -> list[str]:
        """Blocks of ours that have been empty for long enough, as many as may go, and all that could not be made."""
        options, now_s, ledger = self.options, self._now_s(), self._ledger
        spare = len(ledger.layout.blocks) - options.min
        failed, idle = [], []
        for block_id, entry in ledger.state.blocks.items():
            if ledger.layout.blocks[block_id].slices:
                continue
            if entry.state == "destroying":
                failed.append(block_id)
            elif entry.state == "open" and entry.made and self._may_go(entry.empty_since_s, entry.facts, now_s):
                idle.append(block_id)
        idle.sort(key=lambda one: -ledger.block(one).facts.number)
        return failed + idle[: max(0, spare - len(failed))]

    def _may_go(self, empty_since_s: float | None, facts: BlockFacts, now_s: float) -> bool:
        options = self.options
        if empty_since_s is None or now_s - empty_since_s < options.linger_s:
            return False
        return not options.billing_s or (now_s - facts.created_s) % options.billing_s >= 0.9 * options.billing_s

    async def _drain(self) -> None:
        options, ledger, now_s = self.options, self._ledger, self._now_s()
        state = ledger.state
        if not options.autosize or len(ledger.layout.blocks) <= options.min:
            return
        if now_s - state.last_drain_s < options.gap_s or now_s - state.last_create_s < options.cooldown_s:
            return
        state.last_drain_s = now_s
        budget = min(options.budget, int(state.move_credit))
        found = plan_drain(ledger.layout, budget=budget, headroom=options.headroom)
        if found is None or any(move.slice in self._busy for move in found.moves):
            return
        ledger.note("drain", block=found.block, reason=f"worth {found.worth:.2f}", moves=found.moves)
        ledger.shut(found.block, "draining")
        try:
            await self._move_all(found.moves)
        finally:
            if ledger.block(found.block).state == "draining":
                ledger.shut(found.block, "open")

    # --- Small change -------------------------------------------------------------------------

    async def _try(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:
            _log.warning("grid-care-failed", error=str(error))

    async def _call(self, event: Event, *given: object) -> Any:
        handler = self._handlers.get(event)
        return None if handler is None else await handler(*given)

    def _check_open(self) -> None:
        if not self._opened:
            raise BadInput("open the grid before it is used: await grid.open()")

    def _now_s(self) -> float:
        return self._clock.now_us() / 1e6


def _size(size: Size | int) -> Size:
    return size if isinstance(size, Size) else Size(memory_bytes=size << 20)


def _moved(decision: Decision, slice_id: str) -> bool:
    return any(move.slice == slice_id for move in decision.moves)
