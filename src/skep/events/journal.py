"""The journal of each space: numbered changes, written with what they describe.

What always holds:
- a change's number is given in the transaction that makes the change, by adding to the space's
  counter: numbers of a space only grow and have no gaps;
- ``spaces.first_change`` is the oldest number that the journal still has, so that a client which
  was away for too long is told to list anew instead of missing changes;
- waiting costs the database nothing: those who wait are woken by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from skep.base.errors import CursorTooOld, SpaceNotFound
from skep.base.ids import Id, id_text
from skep.db import Database, Transaction, insert_new, prepared
from skep.db.schema import changes, spaces
from skep.events.hub import Hub
from skep.events.records import Change, Draft

READ_MAX = 10_000
"""Changes given at once, whatever the caller asks for."""
WAIT_MAX_S = 300.0
TRIM_MAX = 5_000
"""Changes removed in one transaction."""
_SPACES_AT_ONCE = 500

_raise_counter = prepared(
    sa.update(spaces)
    .where(spaces.c.id == sa.bindparam("space"))
    .values(last_change=spaces.c.last_change + sa.bindparam("count"))
)
_counter = prepared(sa.select(spaces.c.last_change).where(spaces.c.id == sa.bindparam("space")))
_bounds = prepared(sa.select(spaces.c.first_change, spaces.c.last_change).where(spaces.c.id == sa.bindparam("space")))
_heads = prepared(
    sa.select(spaces.c.id, spaces.c.last_change).where(spaces.c.id.in_(sa.bindparam("ids", expanding=True)))
)
_append = insert_new(changes)
_page = prepared(
    sa.select(*[changes.c[name] for name in Change.__struct_fields__])
    .where(changes.c.space_id == sa.bindparam("space"), changes.c.number > sa.bindparam("after"))
    .order_by(changes.c.number)
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_first_younger = prepared(
    sa.select(changes.c.number)
    .where(
        changes.c.space_id == sa.bindparam("space"),
        changes.c.at_us >= sa.bindparam("before_us"),
        changes.c.number < sa.bindparam("end"),
    )
    .order_by(changes.c.number)
    .limit(1)
)
_remove = prepared(
    sa.delete(changes).where(changes.c.space_id == sa.bindparam("space"), changes.c.number < sa.bindparam("end"))
)
_set_first = prepared(
    sa.update(spaces).where(spaces.c.id == sa.bindparam("space")).values(first_change=sa.bindparam("first"))
)
_space_page = prepared(
    sa.select(spaces.c.id)
    .where(spaces.c.id > sa.bindparam("after"), spaces.c.first_change <= spaces.c.last_change)
    .order_by(spaces.c.id)
    .limit(_SPACES_AT_ONCE)
)


class EventLog:
    """Writes changes inside units of work and wakes subscribers after their commit."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def record(
        self,
        tx: Transaction,
        space_id: Id,
        *,
        kind: str,
        node_id: Id,
        node_kind: str,
        path: str,
        size_bytes: int,
        actor_id: Id | None,
        old_path: str | None = None,
        version_number: int | None = None,
        etag: str | None = None,
    ) -> int:
        """Append one change to the space's journal; return its number. Raises SpaceNotFound."""
        draft = Draft(
            kind=kind,
            node_id=node_id,
            node_kind=node_kind,
            path=path,
            size_bytes=size_bytes,
            actor_id=actor_id,
            old_path=old_path,
            version_number=version_number,
            etag=etag,
        )
        return self.record_many(tx, space_id, (draft,))

    def record_many(self, tx: Transaction, space_id: Id, drafts: Sequence[Draft]) -> int:
        """Append changes in their order; return the number of the first. Raises SpaceNotFound."""
        if not drafts:
            raise ValueError("no changes to record")
        # UPDATE first: it locks the counter where several connections write.
        if tx.run(_raise_counter, {"space": space_id, "count": len(drafts)}) != 1:
            raise SpaceNotFound(f"no space {id_text(space_id)}: it was deleted meanwhile")
        last = tx.value(_counter, {"space": space_id})
        assert isinstance(last, int)
        first = last - len(drafts) + 1
        tx.many(_append, [_row(space_id, number, draft, tx.now_us) for number, draft in enumerate(drafts, first)])
        tx.after_commit(lambda: self.hub.publish(space_id, last))
        return first


def _row(space_id: Id, number: int, draft: Draft, at_us: int) -> dict[str, object]:
    return {
        "space_id": space_id,
        "number": number,
        "kind": draft.kind,
        "node_id": draft.node_id,
        "node_kind": draft.node_kind,
        "path": draft.path,
        "old_path": draft.old_path,
        "version_number": draft.version_number,
        "etag": draft.etag,
        "size_bytes": draft.size_bytes,
        "actor_id": draft.actor_id,
        "at_us": at_us,
    }


def _look_at_heads(space_ids: Sequence[Id]) -> Callable[[Transaction], list[tuple[Any, ...]]]:
    return lambda tx: tx.rows(_heads, {"ids": list(space_ids)})


class Journal:
    """Reads, waits for and trims the journals of spaces."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub

    async def read(self, space_id: Id, after: int, limit: int) -> list[Change]:
        """Up to ``limit`` changes with numbers above ``after``, in order; empty when there are none.

        Raises SpaceNotFound, and CursorTooOld when changes after ``after`` were trimmed or ``after``
        was never given (the database was restored from before it).
        """
        count = max(1, min(limit, READ_MAX))

        def work(tx: Transaction) -> list[Change]:
            bounds = tx.one(_bounds, {"space": space_id})
            if bounds is None:
                raise SpaceNotFound(f"no space {id_text(space_id)}")
            first, last = bounds
            if after + 1 < first or after > last:
                raise CursorTooOld(
                    f"the journal of this space holds the changes {first} to {last}, and the cursor stands at {after}: "
                    "list the space anew",
                    first=first,
                    last=last,
                )
            if after == last:
                return []
            return [Change(*row) for row in tx.rows(_page, {"space": space_id, "after": after, "count": count})]

        return await self._database.read(work)

    async def bounds(self, space_id: Id) -> tuple[int, int]:
        """The first number that the journal still has and the last that it gave. Raises SpaceNotFound."""
        found = await self._database.glance(lambda tx: tx.one(_bounds, {"space": space_id}))
        if found is None:
            raise SpaceNotFound(f"no space {id_text(space_id)}")
        return int(found[0]), int(found[1])

    async def heads(self, space_ids: Sequence[Id]) -> dict[Id, int]:
        """The last number of each of these spaces that is there."""
        heads: dict[Id, int] = {}
        for start in range(0, len(space_ids), _SPACES_AT_ONCE):
            rows = await self._database.read(_look_at_heads(space_ids[start : start + _SPACES_AT_ONCE]))
            heads.update((bytes(space_id), int(last)) for space_id, last in rows)
        return heads

    async def wait(self, space_id: Id, after: int, limit: int, timeout_s: float) -> list[Change]:
        """As ``read``, but waits up to ``timeout_s`` seconds for a first change; then empty."""
        with self._hub.subscribe(space_id) as news:  # before the first look: nothing falls between
            found = await self.read(space_id, after, limit)
            if found or timeout_s <= 0:
                return found
            try:
                async with asyncio.timeout(min(timeout_s, WAIT_MAX_S)):
                    while isinstance(number := await news.get(), int) and number <= after:
                        pass
            except TimeoutError:
                return []
        return await self.read(space_id, after, limit)

    async def trim(self, space_id: Id, *, before_us: int, keep: int) -> int:
        """Forget changes made before ``before_us``, and all but the newest ``keep``; how many went.

        A change goes when either bound says so. At most TRIM_MAX go per call: call again until 0.
        """

        def work(tx: Transaction) -> int:
            bounds = tx.one(_bounds, {"space": space_id})
            if bounds is None:
                return 0
            first, last = bounds
            end = min(last + 1, first + TRIM_MAX)
            younger = tx.value(_first_younger, {"space": space_id, "before_us": before_us, "end": end})
            by_age = end if younger is None else younger
            cut = min(end, max(first, by_age, last + 1 - max(0, keep)))
            if cut == first:
                return 0
            tx.run(_set_first, {"space": space_id, "first": cut})
            return tx.run(_remove, {"space": space_id, "end": cut})

        return await self._database.write(work)

    async def trim_all(self, *, before_us: int, keep: int) -> int:
        """Trim every space as far as it goes; how many changes went. For a retention worker."""
        total, after = 0, b""
        while page := await self._database.read(lambda tx, after=after: tx.rows(_space_page, {"after": after})):  # type: ignore[misc]
            for (space_id,) in page:
                while gone := await self.trim(space_id, before_us=before_us, keep=keep):
                    total += gone
            after = page[-1][0]
        return total
