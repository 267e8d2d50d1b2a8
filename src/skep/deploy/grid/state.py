"""What the grid remembers across a crash: one JSON file, replaced whole and fsynced before anything is done.

Each slice and block carries how far the last order about it got, so that whoever opens the file after a kill knows
what to undo (nobody was told that it was done) and what to complete (it was half gone). docs/deploy/grid.md has the
format.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from skep.base.errors import CorruptRecord, LocalFailure
from skep.deploy.grid.layout import Block, Layout
from skep.deploy.grid.records import BlockFacts, Decision, Slice

VERSION = 1
DECISIONS_KEPT = 1000
_LARGEST_BYTES = 256 << 20

SliceState: TypeAlias = Literal["placing", "running", "copying", "leaving", "removing", "lost"]
"""``copying``: its copy on ``target`` is being started. ``leaving``: the copy is well, the old one is being ended.
``lost``: its block is gone and it has no place yet."""
BlockState: TypeAlias = Literal["creating", "open", "draining", "destroying", "lost"]


class SliceEntry(msgspec.Struct, kw_only=True):
    """One slice: where it is, and where it goes while it moves.

    ``block`` is where a lost slice was, and empty once that is forgotten.
    """

    slice: Slice
    block: str
    state: SliceState = "placing"
    target: str = ""


class BlockEntry(msgspec.Struct, kw_only=True):
    """One block, since when it is empty (seconds since 1970, None while it is not), and whether the grid made it."""

    facts: BlockFacts
    state: BlockState = "open"
    made: bool = False
    empty_since_s: float | None = None


class State(msgspec.Struct, kw_only=True):
    """All that the file holds."""

    version: int = VERSION
    next_number: int = 1
    move_credit: float = 4.0
    last_drain_s: float = 0.0
    last_create_s: float = 0.0
    blocks: dict[str, BlockEntry] = {}
    slices: dict[str, SliceEntry] = {}
    decisions: list[Decision] = []

    def note(self, decision: Decision) -> None:
        """Remember why something was done; the oldest are forgotten."""
        self.decisions.append(decision)
        del self.decisions[:-DECISIONS_KEPT]

    def layout(self) -> Layout:
        """The planner's picture: a slice that is moving has its share on both blocks."""
        layout = Layout()
        for entry in sorted(self.blocks.values(), key=lambda one: one.facts.number):
            block = Block(entry.facts)
            block.closed = entry.state not in ("creating", "open")
            layout.open(block)
        for held in self.slices.values():
            if held.state == "lost":
                continue
            home = held.block
            if held.state in ("copying", "leaving"):
                layout.block(held.block).put(ghost(held.slice))
                home = held.target
            layout.block(home).put(held.slice)
            layout.homes[held.slice.id] = home
        return layout


def ghost(item: Slice) -> Slice:
    """The share that a moving slice still has where it came from; nothing else may be placed there or move it."""
    return msgspec.structs.replace(item, id=f"{item.id} (leaving)", pinned="-", group=item.group)


class StateFile:
    """Keeps a State in a file; with no path it is kept in memory alone.

    Writes of several callers that wait at once are one write. What ``save`` returned from is on the disk.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = asyncio.Lock()
        self._asked = 0
        self._written = 0

    def load(self) -> State:
        """What the file holds, or an empty state where there is none. Raises CorruptRecord, LocalFailure."""
        if self.path is None:
            return State()
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST_BYTES + 1)
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise LocalFailure(f"cannot read the grid's file {self.path}: {error.strerror}") from error
        try:
            state = msgspec.json.decode(raw, type=State)
        except (msgspec.DecodeError, ValueError) as error:
            raise CorruptRecord(f"{self.path} is not a grid file ({error}): restore it from a copy") from error
        if state.version != VERSION:
            raise CorruptRecord(
                f"{self.path} has version {state.version}, this program knows {VERSION}: use the one that wrote it"
            )
        return state

    async def save(self, state: State) -> None:
        """Return when the state as it is now, or a later one, is on the disk. Raises LocalFailure."""
        if self.path is None:
            return
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._written >= mine:
                return
            covers = self._asked
            raw = msgspec.json.encode(state)
            await asyncio.shield(asyncio.to_thread(_replace, self.path, raw))
            self._written = covers


def _replace(path: Path, raw: bytes) -> None:
    """Write beside, fsync, rename, fsync the directory: a crash leaves the old file or the new one."""
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise LocalFailure(f"cannot write the grid's file {path}: {error.strerror}; nothing was changed") from error
