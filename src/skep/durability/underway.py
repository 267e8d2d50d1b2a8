"""Packs whose shards are being put before a row says where: what the sweep of unknown shards leaves alone.

A shard that is put for a new pack, by repair or by a move, is unknown to the rows until the transaction after it. So
a pack is underway from before its first put until its rows are committed; and while the sweep looks at a pack's shards
and removes some, nobody begins to put others of it: the delete of an old shard must not meet the new one of its key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager


class Underway:
    """The packs on their way. Used on the event loop's thread only."""

    def __init__(self) -> None:
        self._putting: Counter[bytes] = Counter()
        self._swept: Counter[bytes] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    def __contains__(self, pack_id: bytes) -> bool:
        return pack_id in self._putting

    def __len__(self) -> int:
        return len(self._putting)

    def add(self, pack_id: bytes) -> None:
        """Shards of a new pack are about to be put. No store has any of it, so nobody sweeps it."""
        self._putting[pack_id] += 1

    def remove(self, pack_id: bytes) -> None:
        """Its rows are committed, or never will be."""
        self._putting[pack_id] -= 1
        if not self._putting[pack_id]:
            del self._putting[pack_id]

    @asynccontextmanager
    async def putting(self, pack_id: bytes) -> AsyncIterator[None]:
        """Put shards of a pack that has some already, and commit their rows, in the body."""
        while pack_id in self._swept:
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
        self.add(pack_id)
        try:
            yield
        finally:
            self.remove(pack_id)

    @contextmanager
    def sweeping(self, packs: Collection[bytes]) -> Iterator[Sweeping]:
        """Keep others from putting shards of these packs in the body, but for those of which some are being put."""
        sweeping = Sweeping(self, {pack for pack in packs if pack not in self._putting})
        try:
            yield sweeping
        finally:
            sweeping.only(())

    def _release(self, packs: Collection[bytes]) -> None:
        for pack in packs:
            self._swept[pack] -= 1
            if not self._swept[pack]:
                del self._swept[pack]
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Sweeping:
    """The packs that one sweep has to itself."""

    def __init__(self, underway: Underway, packs: set[bytes]) -> None:
        self._underway = underway
        self.packs: Collection[bytes] = packs
        underway._swept.update(packs)

    def only(self, packs: Collection[bytes]) -> None:
        """Leave all but these."""
        kept = {pack for pack in packs if pack in self.packs}
        self._underway._release([pack for pack in self.packs if pack not in kept])
        self.packs = kept
