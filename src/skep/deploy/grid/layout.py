"""What lies where: the planner's picture of the fleet, changed in place and cheap to copy.

Always true: a block's free vector is its size minus its slices' sizes and no part of it is negative; each slice is on
one block; no two slices on a block hold one port.
"""

from __future__ import annotations

from collections.abc import Iterable

from skep.base.errors import AlreadyExists, GridFull, InUse, NotFound
from skep.deploy.grid.records import HERE, BlockFacts, Slice
from skep.deploy.stack.records import Size

Vector = tuple[int, int, int]


def vector(size: Size) -> Vector:
    """The size as a plain tuple: (cpu_millis, memory_bytes, disk_bytes)."""
    return size.cpu_millis, size.memory_bytes, size.disk_bytes


def fits(size: Size, room: Size) -> bool:
    """Whether ``room`` has at least this much in every part."""
    return (
        size.cpu_millis <= room.cpu_millis
        and size.memory_bytes <= room.memory_bytes
        and size.disk_bytes <= room.disk_bytes
    )


class Block:
    """A server and the slices on it. ``closed`` ones take no new slices (they are being drained or are lost)."""

    __slots__ = ("closed", "cpu", "disk", "facts", "memory", "ports", "slices", "weights")

    def __init__(self, facts: BlockFacts) -> None:
        self.facts = facts
        self.slices: dict[str, Slice] = {}
        self.ports: set[int] = set()
        self.closed = False
        self.cpu, self.memory, self.disk = vector(facts.size)
        self.weights = tuple(1.0 / part if part else 0.0 for part in vector(facts.size))

    @property
    def free(self) -> Size:
        """What no slice has."""
        return Size(cpu_millis=self.cpu, memory_bytes=self.memory, disk_bytes=self.disk)

    @property
    def used(self) -> Size:
        """What its slices have."""
        cpu, memory, disk = vector(self.facts.size)
        return Size(cpu_millis=cpu - self.cpu, memory_bytes=memory - self.memory, disk_bytes=disk - self.disk)

    def of_group(self, group: str) -> int:
        """How many slices of this group are here."""
        return sum(other.group == group for other in self.slices.values()) if group else 0

    def holds_group(self, group: str) -> bool:
        """Whether a slice of this group is here."""
        return self.of_group(group) > 0

    def refusal(self, item: Slice) -> str:
        """Why the slice cannot be here ("" if it can): closed, pin, tags, room or ports. Groups are the caller's."""
        if self.closed:
            return "takes no new slices"
        if item.pinned and item.pinned not in (HERE, self.facts.id):
            return f"pinned to {item.pinned}"
        if not item.tags <= self.facts.tags:
            return f"has no tag {', '.join(sorted(item.tags - self.facts.tags))}"
        size = item.size
        if size.cpu_millis > self.cpu or size.memory_bytes > self.memory or size.disk_bytes > self.disk:
            return "too little room"
        if item.ports and not self.ports.isdisjoint(item.ports):
            return f"port {min(self.ports & item.ports)} is taken"
        return ""

    def put(self, item: Slice) -> None:
        """Give the slice its share; the caller has asked ``refusal``."""
        self.slices[item.id] = item
        self.cpu -= item.size.cpu_millis
        self.memory -= item.size.memory_bytes
        self.disk -= item.size.disk_bytes
        self.ports |= item.ports

    def take(self, slice_id: str) -> Slice:
        """Free the slice's share."""
        item = self.slices.pop(slice_id)
        self.cpu += item.size.cpu_millis
        self.memory += item.size.memory_bytes
        self.disk += item.size.disk_bytes
        self.ports -= item.ports
        return item

    def copy(self) -> Block:
        """A picture of its own."""
        twin = Block.__new__(Block)
        twin.facts, twin.slices, twin.ports = self.facts, dict(self.slices), set(self.ports)
        twin.closed, twin.weights = self.closed, self.weights
        twin.cpu, twin.memory, twin.disk = self.cpu, self.memory, self.disk
        return twin


class Layout:
    """All blocks by id, oldest first, and which block each slice is on."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self.blocks: dict[str, Block] = {}
        self.homes: dict[str, str] = {}
        for block in blocks:
            self.open(block)

    def open(self, block: Block) -> None:
        """Add a block with what is on it. Raises AlreadyExists for a known id."""
        if block.facts.id in self.blocks:
            raise AlreadyExists(f"block {block.facts.id} is there already", block=block.facts.id)
        self.blocks[block.facts.id] = block
        self.homes.update(dict.fromkeys(block.slices, block.facts.id))

    def close(self, block_id: str) -> Block:
        """Forget an empty block. Raises NotFound, or InUse while slices are on it."""
        block = self.block(block_id)
        if block.slices:
            raise InUse(f"block {block_id} still holds {len(block.slices)} slices", block=block_id)
        return self.blocks.pop(block_id)

    def block(self, block_id: str) -> Block:
        """The block of this id. Raises NotFound."""
        found = self.blocks.get(block_id)
        if found is None:
            raise NotFound(f"the grid has no block {block_id}: `skep grid` lists them", block=block_id)
        return found

    def home(self, slice_id: str) -> Block:
        """The block that the slice is on. Raises NotFound."""
        where = self.homes.get(slice_id)
        if where is None:
            raise NotFound(f"the grid has no slice {slice_id}: `skep grid` lists them", slice=slice_id)
        return self.blocks[where]

    def put(self, item: Slice, block_id: str) -> None:
        """Place the slice. Raises AlreadyExists for a known slice, GridFull where the block refuses it."""
        if item.id in self.homes:
            raise AlreadyExists(f"slice {item.id} is on block {self.homes[item.id]} already", slice=item.id)
        block = self.block(block_id)
        refusal = block.refusal(item)
        if refusal:
            raise GridFull(f"block {block_id} cannot take slice {item.id}: {refusal}", block=block_id, slice=item.id)
        block.put(item)
        self.homes[item.id] = block_id

    def take(self, slice_id: str) -> Slice:
        """Remove the slice from its block. Raises NotFound."""
        item = self.home(slice_id).take(slice_id)
        del self.homes[slice_id]
        return item

    def take_from(self, slice_id: str) -> Block:
        """Remove the slice from its block; the block. Raises NotFound."""
        block = self.home(slice_id)
        self.take(slice_id)
        return block

    def move(self, slice_id: str, target_id: str) -> None:
        """Put a slice elsewhere; the caller knows that it fits. Raises NotFound."""
        target = self.block(target_id)
        target.put(self.home(slice_id).take(slice_id))
        self.homes[slice_id] = target_id

    def copy(self) -> Layout:
        """A picture of its own, to try things on."""
        twin = Layout()
        twin.blocks = {block_id: block.copy() for block_id, block in self.blocks.items()}
        twin.homes = dict(self.homes)
        return twin
