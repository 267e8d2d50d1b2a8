"""``skep recover``: a hive rebuilt from its stores and its master key alone.

The newest snapshot that can be read in full is loaded into an empty database. Then the stores are
listed, and the rows are made to agree with what really lies there:

- stores are recognised by the marker in them, wherever they are mounted now; one that was added
  since the snapshot gets a row. Whose it is nobody knows any more, so nothing new goes there until an
  administrator activates it;
- a pack that the snapshot does not know is read from its own index, and its chunks get their rows
  back where they have none (or one whose pack is gone): what was repacked since is found again.
  Chunks of accounts that the snapshot does not know stay unknown: nothing is left to open them;
- shards that are not where their rows say are marked missing and queued for repair.

Nothing is changed in the stores, and until all is done the database carries a mark, so a recovery
that was cut short can be begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.errors import Conflict, DataLost, Integrity, KeyWrong, SkepError
from skep.base.ids import Id, id_text
from skep.crypto.keys import HiveKeys, MasterKey
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.reconcile import Reconciler, Recovery, Report
from skep.durability.snapshots import Head, KeyHint, head_key, list_heads, open_head, read_hint, read_snapshot
from skep.stores.protocol import Store

Load = Callable[[Database, AsyncIterator[bytes], Callable[[Transaction], object]], Awaitable[None]]
"""Fills a database from an export; the last argument runs in the transaction that makes it count as filled."""

_STORE_IDS = prepared(sa.select(s.stores.c.id, s.stores.c.name))
_SET_URL = prepared(sa.update(s.stores).where(s.stores.c.id == sa.bindparam("store")).values(url=sa.bindparam("to")))
_ADD_STORE = insert_new(s.stores)
_MARK = insert_new(s.hive)
_MARKED = prepared(sa.select(s.hive.c.name).where(s.hive.c.name == "recovering"))
_UNMARK = prepared(sa.delete(s.hive).where(s.hive.c.name == "recovering"))


@dataclass(frozen=True, slots=True)
class FoundStore:
    """A given store and who it says that it is."""

    url: str
    store: Store
    store_id: Id
    hive_id: Id


async def find_hint(stores: Sequence[FoundStore]) -> KeyHint | None:
    """What the newest readable head says in the clear of the master key; None when there is no head."""
    heads = sorted(
        [(snapshot_id, at) for at, each in enumerate(stores) for snapshot_id in await list_heads(each.store)]
    )
    for snapshot_id, at in reversed(heads):
        try:
            return read_hint(await stores[at].store.get(head_key(snapshot_id)))
        except SkepError:
            continue
    return None


def recovering(tx: Transaction) -> bool:
    """Whether a recovery into this database was begun and not finished: it may be emptied and begun anew."""
    return tx.one(_MARKED) is not None


class Recoverer:
    """Recovers one hive into one empty database."""

    def __init__(self, db: Database, master: MasterKey, stores: Sequence[FoundStore], load: Load) -> None:
        self._db = db
        self._keys: HiveKeys = master.hive_keys()
        self._key_check = master.key_check()
        self._found = _by_id(stores)
        self._load = load
        self._result = Recovery()

    async def run(
        self, report: Report = lambda step, done, total: None, before_end: Callable[[], object] = lambda: None
    ) -> Recovery:
        """Do it all. Raises DataLost (no readable snapshot), KeyWrong, Conflict (another hive's store).

        ``before_end`` is called in a thread when only the mark of an unfinished recovery is left to be removed.
        """
        await self._load_snapshot(report)
        await self._place_stores()
        await Reconciler(self._db, self._keys, self._stores, self._result).run(report)
        await asyncio.to_thread(before_end)
        await self._db.write(lambda tx: tx.run(_UNMARK))
        return self._result

    @property
    def _stores(self) -> Mapping[Id, Store]:
        return {store_id: each.store for store_id, each in self._found.items()}

    async def _load_snapshot(self, report: Report) -> None:
        heads = await self._heads()
        for done, head in enumerate(heads):
            report("snapshot", done, len(heads))
            try:
                async for _ in read_snapshot(self._keys, head, self._stores):
                    pass  # read it whole once before a byte of it goes into the database
            except Integrity as error:
                self._result.unreadable.append(f"snapshot {head.snapshot_id.hex()}: {error.message}")
                continue
            self._refuse_strangers(head.hive_id)
            await self._load(self._db, read_snapshot(self._keys, head, self._stores), _mark)
            self._result.snapshot = head
            return
        raise DataLost(
            "no metadata snapshot can be read whole from the given stores: name more of the hive's stores. "
            + "; ".join(self._result.unreadable[:3])
        )

    async def _heads(self) -> list[Head]:
        """All heads that open with the master key, newest first."""
        where: dict[Id, list[Store]] = {}
        for store in self._stores.values():
            for snapshot_id in await list_heads(store):
                where.setdefault(snapshot_id, []).append(store)
        heads: list[Head] = []
        wrong = 0
        for snapshot_id in sorted(where, reverse=True):
            for store in where[snapshot_id]:
                try:
                    raw = await store.get(head_key(snapshot_id))
                    heads.append(open_head(self._keys, self._key_check, snapshot_id, raw))
                    break
                except KeyWrong:
                    wrong += 1
                except SkepError as error:
                    self._result.unreadable.append(f"head of snapshot {snapshot_id.hex()}: {error.message}")
        if wrong and not heads:
            raise KeyWrong("the snapshots in the given stores were made with another master key")
        return heads

    def _refuse_strangers(self, hive_id: Id) -> None:
        for each in self._found.values():
            if each.hive_id != hive_id:
                raise Conflict(f"{each.url} belongs to another hive ({id_text(each.hive_id)}): leave it out")

    async def _place_stores(self) -> None:
        """Stores are where they were found now; those that the snapshot does not know get rows."""

        def work(tx: Transaction) -> None:
            names = dict(tx.rows(_STORE_IDS))
            self._result.stores_absent = [name for store_id, name in names.items() if store_id not in self._found]
            self._result.stores_added = []
            for each in self._found.values():
                if each.store_id in names:
                    tx.run(_SET_URL, {"store": each.store_id, "to": each.url})
                else:
                    name = f"found-{each.store_id.hex()[-8:]}"
                    self._result.stores_added.append(name)
                    tx.run(_ADD_STORE, _store_row(each, name, tx.now_us))

        await self._db.write(work)


def _mark(tx: Transaction) -> None:
    tx.run(_MARK, {"name": "recovering", "value": b""})


def _by_id(stores: Sequence[FoundStore]) -> dict[Id, FoundStore]:
    found: dict[Id, FoundStore] = {}
    for each in stores:
        other = found.setdefault(each.store_id, each)
        if other is not each:
            raise Conflict(f"{other.url} and {each.url} are copies of one store: name one of them")
    return found


def _store_row(found: FoundStore, name: str, now_us: int) -> dict[str, object]:
    return {
        "id": found.store_id,
        "name": name,
        "url": found.url,
        "sealed_secret": None,
        "zone": name,
        "capacity_bytes": None,
        "used_bytes": 0,
        "state": "readonly",
        "owner_id": None,
        "created_us": now_us,
    }
