"""What the owner of a fleet may decide about its grid."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skep.base.errors import BadInput
from skep.deploy.grid.records import ServerType
from skep.deploy.stack.records import Size


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and habits; times are seconds. Raises BadInput where they contradict each other."""

    autosize: bool = False
    """Whether the grid moves slices on its own to give servers back."""
    min: int = 0
    """Blocks that always exist."""
    max: int = 10
    """Blocks that may exist; only ``create`` obeys it: servers that are adopted are there anyway."""
    file: Path | None = None
    """Where its state is kept."""
    types: tuple[ServerType, ...] = ()
    """What can be rented; with none, only adopted servers are used."""
    linger_s: float = 600.0
    """How long a server stays after its last slice has left."""
    billing_s: float = 0.0
    """A rented period that is paid for whole (3600: by the hour); an empty server goes only near the end of one."""
    gap_s: float = 600.0
    """The least time between two drains."""
    cooldown_s: float = 600.0
    """No drain so soon after a server was rented: the load is growing."""
    budget: int = 4
    """Slices that one drain may move."""
    moves_per_departure: float = 0.24
    """Each slice that leaves for good pays for so much of a move: what limits moves over time."""
    headroom: Size | None = None
    """A slice of this size must find room after a drain."""
    create_timeout_s: float = 900.0
    """How long ``create`` may take."""

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max:
            raise BadInput(f"a grid has at least min={self.min} and at most max={self.max} blocks: that cannot be")
        waits = (self.linger_s, self.billing_s, self.gap_s, self.cooldown_s, self.moves_per_departure)
        if self.budget < 0 or min(waits) < 0 or self.create_timeout_s <= 0:
            raise BadInput("times and budgets of a grid are not negative")
        names = [one.name for one in self.types]
        if len(set(names)) != len(names):
            raise BadInput(f"two server types have one name: {', '.join(sorted(names))}")

    def cheapest(self, size: Size, tags: frozenset[str] = frozenset()) -> ServerType | None:
        """The cheapest type that takes such a slice and has these tags, of equals the smallest; None: none does."""
        able = [one for one in self.types if _takes(one, size) and tags <= one.tags]
        return min(able, key=lambda one: (one.price, one.size.memory_bytes, one.name), default=None)


def _takes(one: ServerType, size: Size) -> bool:
    return (
        size.cpu_millis <= one.size.cpu_millis
        and size.memory_bytes <= one.size.memory_bytes
        and size.disk_bytes <= one.size.disk_bytes
    )
