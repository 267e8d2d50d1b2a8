"""Renting servers and giving them back: the events ``create`` and ``destroy``.

A server is ordered under an id that the file knows before anybody is asked for it, so that an order whose answer was
lost can be asked for again or given back. Slices are reserved on it while it is being made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from skep.base.errors import BadInput, GridFull, SkepError, TimedOut
from skep.base.logs import get_logger
from skep.deploy.grid.layout import Block
from skep.deploy.grid.ledger import Ledger
from skep.deploy.grid.options import Options
from skep.deploy.grid.records import HERE, BlockFacts, CreateOrder, ServerType, Slice
from skep.deploy.grid.state import StateFile
from skep.deploy.stack.records import Size

Call = Callable[..., Awaitable[Any]]
_log = get_logger("skep.grid")


class Renting:
    """Orders of one grid. ``call(event, ...)`` calls the owner's handler."""

    def __init__(self, options: Options, ledger: Ledger, file: StateFile, call: Call) -> None:
        self.options = options
        self._ledger = ledger
        self._file = file
        self._call = call
        self._orders: dict[str, asyncio.Task[None]] = {}

    def order_for(self, item: Slice, *, can_create: bool) -> Block:
        """Order the cheapest server that takes the slice; what comes back is still being made. Raises GridFull."""
        if item.pinned and item.pinned != HERE:
            raise GridFull(f"slice {item.id} is pinned to block {item.pinned}, which has no room for it")
        chosen = self.options.cheapest(item.size, item.tags)
        if chosen is None or not can_create:
            raise GridFull(f"no server takes slice {item.id} ({_words(item)}) and none can be rented: add a server")
        if len(self._ledger.layout.blocks) >= self.options.max:
            raise GridFull(
                f"no server takes slice {item.id} ({_words(item)}) and the most that may be, "
                f"{self.options.max}, are there: raise max or remove something"
            )
        return self.order(chosen, item.id)

    def order(self, chosen: ServerType, slice_id: str = "") -> Block:
        """Order a server of this type; what comes back is still being made."""
        ledger = self._ledger
        number = ledger.next_number()
        facts = BlockFacts(
            id=f"{chosen.name}-{number}",
            size=chosen.size,
            number=number,
            type=chosen.name,
            price=chosen.price,
            region=chosen.region,
            tags=chosen.tags,
            created_s=ledger.now_s(),
        )
        block = ledger.open(facts, creating=True, made=True)
        ledger.state.last_create_s = ledger.now_s()
        ledger.note("create", slice=slice_id, block=facts.id, reason="no block had room" if slice_id else "min")
        task = asyncio.create_task(self._make(CreateOrder(facts.id, chosen, slice_id)))
        task.add_done_callback(_retrieved)
        self._orders[facts.id] = task
        return block

    async def wait(self, block_id: str) -> None:
        """Return when the block is there. Raises what ``create`` raised, TimedOut, GridFull when it was given up."""
        task = self._orders.get(block_id)
        if task is not None:
            await asyncio.shield(task)
        if self._ledger.block(block_id).state == "destroying":
            raise GridFull(f"server {block_id} could not be made: `skep grid explain` has the reason")

    async def destroy(self, block_id: str, reason: str) -> None:
        """Give an empty block back, or only forget it when the grid did not make it."""
        ledger = self._ledger
        entry = ledger.block(block_id)
        if entry.state != "destroying":
            ledger.note("destroy", block=block_id, reason=reason)
        ledger.shut(block_id, "destroying")
        await self._file.save(ledger.state)
        if entry.made:
            await self._call("destroy", entry.facts)
        ledger.close(block_id)
        await self._file.save(ledger.state)

    async def _make(self, order: CreateOrder) -> None:
        """Have it made; on failure it is shut, to be destroyed when what waits for it has gone."""
        ledger = self._ledger
        try:
            await self._file.save(ledger.state)
            try:
                async with asyncio.timeout(self.options.create_timeout_s):
                    told = await self._call("create", order)
            except TimeoutError as error:
                raise TimedOut(f"server {order.id} did not come within {self.options.create_timeout_s:g} s") from error
            ledger.learn(_told(ledger.block(order.id).facts, told))
        except BaseException as error:
            ledger.shut(order.id, "destroying")
            ledger.note("create-failed", slice=order.slice, block=order.id, reason=_reason(error))
            raise
        finally:
            self._orders.pop(order.id, None)
        ledger.shut(order.id, "open")
        await self._file.save(ledger.state)


def _retrieved(task: asyncio.Task[None]) -> None:
    """A failed order that nobody waits for is noted in the log, not at the interpreter's exit."""
    if not task.cancelled() and task.exception() is not None:
        _log.warning("server-not-made", error=_reason(task.exception()))


def _reason(error: BaseException | None) -> str:
    return error.message if isinstance(error, SkepError) else str(error) or type(error).__name__


def _words(item: Slice) -> str:
    tags = f", tags {' '.join(sorted(item.tags))}" if item.tags else ""
    return f"{item.size.cpu_millis / 1000:g} cpu, {item.size.memory_bytes >> 20} MiB{tags}"


def _told(facts: BlockFacts, told: object) -> BlockFacts:
    """The ordered block with what ``create`` said of the server. Raises BadInput for what is no answer."""
    if told is None:
        return facts
    if not isinstance(told, Mapping):
        raise BadInput(f"create answers with a mapping (address, size, tags), not {type(told).__name__}")
    known = {"address", "size", "tags", "region", "price"}
    unknown = sorted(str(key) for key in set(told) - known)
    if unknown:
        raise BadInput(f"create answered with {', '.join(unknown)}; a block has {', '.join(sorted(known))}")
    changes = dict(told)
    if isinstance(changes.get("size"), int):
        changes["size"] = Size(memory_bytes=changes["size"] << 20, cpu_millis=facts.size.cpu_millis)
    if "tags" in changes:
        changes["tags"] = frozenset(changes["tags"])
    return msgspec.structs.replace(facts, **changes)
