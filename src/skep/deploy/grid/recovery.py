"""After a crash: undo what nobody was told of, complete what was half gone.

An ``add`` that had not returned is undone. A move is undone while its copy was being started, and completed once the
copy was known to be well. A removal and a destruction are completed. A server that was being made is given back: now,
or where its provider does not answer, by the care that follows.
Handlers are called for things that may or may not be there, and must not mind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from skep.base.errors import Unavailable
from skep.base.logs import get_logger
from skep.deploy.grid.state import BlockEntry, SliceEntry, State

_log = get_logger("skep.grid")


async def recover(state: State, call: Callable[..., Awaitable[Any]], now_s: float) -> None:
    """Bring the state to rest by ``removed`` and ``destroy``. Raises what they raise; safe to repeat."""
    for entry in list(state.slices.values()):
        await _settle(state, entry, call)
    held = {entry.block for entry in state.slices.values()}
    for block_id, block in list(state.blocks.items()):
        if block.state in ("creating", "destroying"):
            if await _given_back(block, call):
                del state.blocks[block_id]
            else:
                block.state = "destroying"  # the next round of care tries again
            continue
        if block.state == "draining":
            block.state = "open"
        if block_id in held:
            block.empty_since_s = None
        elif block.empty_since_s is None:
            block.empty_since_s = now_s


async def _given_back(block: BlockEntry, call: Callable[..., Awaitable[Any]]) -> bool:
    """Whether it is: a provider that does not answer must not keep a grid from being opened."""
    if block.made:
        try:
            await call("destroy", block.facts)
        except Unavailable as error:
            _log.warning("server-not-given-back", block=block.facts.id, error=error.message)
            return False
    return True


async def _settle(state: State, entry: SliceEntry, call: Callable[..., Awaitable[Any]]) -> None:
    item = entry.slice
    if entry.state == "copying":
        await _removed(state, entry.target, entry, call)
        entry.state, entry.target = "running", ""
    elif entry.state == "leaving":
        await _removed(state, entry.block, entry, call)
        entry.state, entry.block, entry.target = "running", entry.target, ""
    elif entry.state in ("placing", "removing"):
        await _removed(state, entry.block, entry, call)
        del state.slices[item.id]


async def _removed(state: State, block_id: str, entry: SliceEntry, call: Callable[..., Awaitable[Any]]) -> None:
    block = state.blocks[block_id]
    if block.state not in ("creating", "lost"):
        await call("removed", block.facts, entry.slice)
