"""What the grid remembers and what the planner sees, changed together so that they never disagree.

Every method here is one step without a pause. For each slice, ``State`` says how far the last order got; ``Layout``
has its share on the block where it is, or is going, and a ghost of it on the block that it is leaving.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from skep.base.errors import AlreadyExists, BadInput, NotFound
from skep.deploy.grid.layout import Block
from skep.deploy.grid.place import candidates
from skep.deploy.grid.records import HERE, BlockFacts, Decision, Move, Slice
from skep.deploy.grid.state import BlockEntry, SliceEntry, State, ghost

_CREDIT_MAX = 40.0
_CANDIDATES_KEPT = 20


class Ledger:
    """State and layout in step. ``now_s`` tells the time in seconds since 1970."""

    def __init__(self, state: State, now_s: Callable[[], float]) -> None:
        self.state = state
        self.layout = state.layout()
        self.now_s = now_s

    def slice(self, slice_id: str) -> SliceEntry:
        """What is known of the slice. Raises NotFound."""
        entry = self.state.slices.get(slice_id)
        if entry is None:
            raise NotFound(f"the grid has no slice {slice_id}: `skep grid` lists them", slice=slice_id)
        return entry

    def block(self, block_id: str) -> BlockEntry:
        """What is known of the block. Raises NotFound."""
        entry = self.state.blocks.get(block_id)
        if entry is None:
            raise NotFound(f"the grid has no block {block_id}: `skep grid` lists them", block=block_id)
        return entry

    def next_number(self) -> int:
        """A number for a new block, never given twice."""
        self.state.next_number += 1
        return self.state.next_number - 1

    def open(self, facts: BlockFacts, *, creating: bool = False, made: bool = False) -> Block:
        """A new, empty block. Raises AlreadyExists."""
        if facts.id in self.state.blocks:
            raise AlreadyExists(f"block {facts.id} is in the grid already", block=facts.id)
        block = Block(facts)
        self.layout.open(block)
        self.state.blocks[facts.id] = BlockEntry(
            facts=facts, state="creating" if creating else "open", made=made, empty_since_s=self.now_s()
        )
        return block

    def learn(self, facts: BlockFacts) -> None:
        """Take what is known anew of a block: its address, its tags, its size.

        Raises BadInput when it is smaller than what was reserved on it; then nothing is taken.
        """
        old, new = self.layout.blocks[facts.id], Block(facts)
        for item in old.slices.values():
            new.put(item)
        if min(new.cpu, new.memory, new.disk) < 0:
            raise BadInput(f"server {facts.id} is smaller than what was reserved on it: correct the size of its type")
        new.closed = old.closed
        self.block(facts.id).facts = facts
        self.layout.blocks[facts.id] = new

    def close(self, block_id: str) -> None:
        """Forget an empty block."""
        self.layout.close(block_id)
        del self.state.blocks[block_id]

    def shut(self, block_id: str, state: str) -> None:
        """The block takes no new slices: it is ``draining``, ``destroying`` or ``lost``; ``open`` opens it again."""
        self.block(block_id).state = state  # type: ignore[assignment]
        self.layout.blocks[block_id].closed = state not in ("open", "creating")

    def reserve(self, item: Slice, block: Block, reason: str) -> SliceEntry:
        """Give the slice its share before it is started."""
        looked = candidates(self.layout, item)[:_CANDIDATES_KEPT]
        if item.pinned == HERE:
            item = msgspec.structs.replace(item, pinned=block.facts.id)
        self.layout.put(item, block.facts.id)
        entry = self.state.slices[item.id] = SliceEntry(slice=item, block=block.facts.id)
        self.block(block.facts.id).empty_since_s = None
        self.state.note(Decision("place", self.now_s(), item.id, block.facts.id, reason, (), looked))
        return entry

    def drop(self, entry: SliceEntry) -> None:
        """The slice is gone, with its share."""
        if entry.slice.id in self.layout.homes:
            self.layout.take(entry.slice.id)
        del self.state.slices[entry.slice.id]
        self._mark_empty(entry.block)

    def swap(self, entry: SliceEntry, item: Slice) -> str:
        """Another slice has the place of this one; why not ("" if it has)."""
        old = entry.slice
        if item.pinned == HERE:
            item = msgspec.structs.replace(item, pinned=entry.block)
        if entry.state != "lost":
            block = self.layout.take_from(old.id)
            closed, block.closed = block.closed, False
            refusal = block.refusal(item)
            block.closed = closed
            kept = old if refusal else item
            block.put(kept)
            self.layout.homes[kept.id] = block.facts.id
            if refusal:
                return refusal
        del self.state.slices[old.id]
        self.state.slices[item.id] = SliceEntry(slice=item, block=entry.block, state=entry.state)
        return ""

    def begin_copy(self, move: Move) -> None:
        """The slice has its share on the target, and a ghost where it is."""
        entry = self.slice(move.slice)
        self.layout.move(move.slice, move.target)
        self.layout.block(move.source).put(ghost(entry.slice))
        entry.state, entry.target = "copying", move.target
        self.block(move.target).empty_since_s = None

    def undo_copy(self, move: Move) -> None:
        """The copy is gone: the slice is where it was."""
        entry = self.slice(move.slice)
        self.layout.block(move.source).take(ghost(entry.slice).id)
        self.layout.move(move.slice, move.source)
        entry.state, entry.target = "running", ""
        self._mark_empty(move.target)

    def end_move(self, entry: SliceEntry) -> None:
        """The old one is gone: the slice is on its target alone."""
        source = entry.block
        block = self.layout.blocks.get(source)
        if block is not None and ghost(entry.slice).id in block.slices:
            block.take(ghost(entry.slice).id)
        entry.state, entry.block, entry.target = "running", entry.target, ""
        self._mark_empty(source)

    def lose(self, entry: SliceEntry) -> None:
        """What the slice ran on is gone; it has no share anywhere."""
        self.layout.take(entry.slice.id)
        entry.state, entry.target = "lost", ""

    def earn(self, moves: float) -> None:
        """A slice left for good: so much of a move is paid for."""
        self.state.move_credit = min(self.state.move_credit + moves, _CREDIT_MAX)

    def spend(self) -> None:
        """A move was made."""
        self.state.move_credit = max(0.0, self.state.move_credit - 1.0)

    def note(self, what: str, *, slice: str = "", block: str = "", reason: str, moves: tuple[Move, ...] = ()) -> None:
        """Remember a decision."""
        self.state.note(Decision(what, self.now_s(), slice, block, reason, moves))

    def _mark_empty(self, block_id: str) -> None:
        if block_id in self.layout.blocks and not self.layout.blocks[block_id].slices:
            self.block(block_id).empty_since_s = self.now_s()
