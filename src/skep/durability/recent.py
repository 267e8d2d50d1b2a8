"""Small chunks that were read a moment ago, opened, so that reading them again costs neither a store nor a key.

What always holds:
- what is in it was read and verified, and is what its id names: an id is the keyed hash of the bytes, so an entry
  cannot be out of date, whatever becomes of files, packs and stores;
- nobody finds an entry who has not just read its id from a manifest that the database let them see: who may read what
  is decided there, each time;
- its entries, with what they cost beside their bytes, never pass the limit; who was not asked for longest goes first;
- a chunk that is collected leaves it.

Used on the event loop's thread.
"""

from __future__ import annotations

from collections import OrderedDict

from skep.base.ids import Id

ENTRY_BYTES_MAX = 64 << 10
"""Larger chunks are not kept: few of them would push out many small ones, and gain less."""
ENTRY_OVERHEAD_BYTES = 320
"""About what an entry takes beside its content: its id, the key, its place in the mapping."""


class Recent:
    """Plain bytes by domain and chunk id."""

    def __init__(self, limit_bytes: int) -> None:
        """``limit_bytes`` 0: nothing is kept."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[tuple[Id, bytes], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, domain_id: Id, chunk_id: bytes) -> bytes | None:
        """The bytes of a chunk, if they are here."""
        key = (domain_id, chunk_id)
        found = self._entries.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return found

    def put(self, domain_id: Id, chunk_id: bytes, plain: bytes) -> None:
        """Remember what a chunk was found to hold; it has been verified."""
        cost = len(plain) + ENTRY_OVERHEAD_BYTES
        if len(plain) > ENTRY_BYTES_MAX or cost > self.limit_bytes:
            return
        self.drop(domain_id, chunk_id)
        self._entries[domain_id, chunk_id] = plain
        self.used_bytes += cost
        while self.used_bytes > self.limit_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.used_bytes -= len(oldest) + ENTRY_OVERHEAD_BYTES

    def drop(self, domain_id: Id, chunk_id: bytes) -> None:
        """Forget a chunk that is no more."""
        gone = self._entries.pop((domain_id, chunk_id), None)
        if gone is not None:
            self.used_bytes -= len(gone) + ENTRY_OVERHEAD_BYTES
