"""The nouns of the grid.

A **block** is a server, a **slice** is one job's share of it. (The oldest text on slicegrid swaps the two words in
places; here they never are.)
"""

from __future__ import annotations

import msgspec

from skep.deploy.stack.records import Size

HERE = "*"  # pinned to the block that it will be put on
UNMOVABLE = 1e9  # moving a service loses its connections and perhaps its data: in effect never


class ServerType(msgspec.Struct, frozen=True):
    """A type of server that can be rented: ``price`` in any money per hour, one money for all types."""

    name: str
    size: Size
    price: float = 1.0
    region: str = ""
    tags: frozenset[str] = frozenset()


class Slice(msgspec.Struct, frozen=True):
    """One job's share of a block.

    ``tags`` must all be on the block. ``group`` names the job that replicas belong to: two of one group lie on
    different blocks where that can be had. ``pinned`` is the id of the only block it may be on (its volume is
    there), HERE the first that it is put on. ``ports`` are fixed host ports (TCP), held alone. ``disruption`` is what
    moving it costs, 1 for a web job with draining. ``image`` is preferred where it already lies.
    """

    id: str
    size: Size
    tags: frozenset[str] = frozenset()
    group: str = ""
    pinned: str = ""
    ports: frozenset[int] = frozenset()
    disruption: float = 1.0
    image: str = ""

    @property
    def movable(self) -> bool:
        """Whether the grid may move it on its own."""
        return not self.pinned and self.disruption < UNMOVABLE


class BlockFacts(msgspec.Struct, frozen=True):
    """What is known of a server apart from what runs on it. ``number`` grows: a smaller one is older."""

    id: str
    size: Size
    number: int
    type: str = ""
    price: float = 1.0
    region: str = ""
    tags: frozenset[str] = frozenset()
    address: str = ""
    created_s: float = 0.0


class Move(msgspec.Struct, frozen=True):
    """One slice from one block to another; ids."""

    slice: str
    source: str
    target: str


class Candidate(msgspec.Struct, frozen=True):
    """A block that was looked at: its ``score`` (smaller is better), or why it was not feasible."""

    block: str
    score: float | None = None
    refused: str = ""


class Decision(msgspec.Struct, frozen=True):
    """Why something was done, or was not: ``what`` is place, make-room, create, drain, destroy or remove.

    ``block`` is the block that was chosen ("" where none was). ``reason`` is a sentence.
    ``at_s`` is seconds since 1970.
    """

    what: str
    at_s: float
    slice: str = ""
    block: str = ""
    reason: str = ""
    moves: tuple[Move, ...] = ()
    candidates: tuple[Candidate, ...] = ()


class CreateOrder(msgspec.Struct, frozen=True):
    """A server to rent. ``id`` is the block's: when it is asked for again, a server of that name is this one."""

    id: str
    type: ServerType
    slice: str = ""
    """For whom; empty when it is there because there are fewer than ``min``."""
