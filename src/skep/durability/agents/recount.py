"""Look what an agent's disk really holds, and queue for repair what it should hold and does not."""

from __future__ import annotations

import sqlalchemy as sa

from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.damage import note_damage
from skep.durability.member import Member
from skep.durability.records import parse_shard_key
from skep.stores.link.caller import LinkedStore

PAGE = 500
_h = s.shards.c
_HELD = prepared(
    sa.select(_h.pack_id, _h.number, _h.size_bytes)
    .where(_h.store_id == sa.bindparam("store"), _h.state == "ok", _h.pack_id > sa.bindparam("after"))
    .order_by(_h.pack_id, _h.number)
    .limit(PAGE)
)
_OF_PACK = prepared(
    sa.select(_h.pack_id, _h.number, _h.size_bytes).where(
        _h.store_id == sa.bindparam("store"), _h.state == "ok", _h.pack_id == sa.bindparam("pack")
    )
)


async def recount(db: Database, member: Member, *, session_store: LinkedStore) -> int:
    """Compare the rows of a store with its listing; the number of shards that are missing or cut short.

    Shards that were put while this runs may be in neither: only what the rows had before the listing is judged.
    Memory: the ids of what the store holds. Raises StoreUnavailable.
    """
    expected = await _expected(db, member)
    async for info in session_store.list("shards/"):
        parsed = parse_shard_key(info.key)
        if parsed is not None and expected.get(parsed) == info.size_bytes:
            del expected[parsed]
    missing = list(expected)
    for start in range(0, len(missing), PAGE):
        page = missing[start : start + PAGE]

        def work(tx: Transaction, page: list[tuple[bytes, int]] = page) -> int:
            return note_damage(tx, dict.fromkeys(page, (member.id, "missing")))

        await db.write(work)
    return len(missing)


async def _expected(db: Database, member: Member) -> dict[tuple[bytes, int], int]:
    """Size by pack and number of what the rows say that a store holds."""
    expected: dict[tuple[bytes, int], int] = {}
    after = b""
    while page := await db.read(lambda tx, a=after: tx.rows(_HELD, {"store": member.id, "after": a})):  # type: ignore[misc]
        after = bytes(page[-1][0])
        last = await db.read(lambda tx, p=after: tx.rows(_OF_PACK, {"store": member.id, "pack": p}))  # type: ignore[misc]
        for pack_id, number, size_bytes in [*page, *last]:
            expected[bytes(pack_id), int(number)] = int(size_bytes)
    return expected
