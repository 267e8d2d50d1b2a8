"""A chunk service over faulty stores in memory, on a throw-away SQLite database.

async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
    content = await rig.put(b"...")
    rig.faults[0].script(Fault("any", Kind.GONE, times=None))
    assert await rig.get(content) == b"..."
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from skep.base.clock import Clock, SystemClock
from skep.base.ids import Id, new_id
from skep.chunks.scheme import Scheme
from skep.crypto.keys import DomainKeys, MasterKey
from skep.db import Database, Transaction, migrate, prepared, snapshot
from skep.durability.check import Checker, CheckReport
from skep.durability.collect import Collector
from skep.durability.options import Options
from skep.durability.reconcile import Recovery
from skep.durability.records import Content
from skep.durability.recover import FoundStore, Recoverer
from skep.durability.repack import Repacker
from skep.durability.repair import Repairer
from skep.durability.scrub import Scrubber
from skep.durability.service import ChunkService
from skep.durability.snapshots import KeyHint
from skep.durability.snapshotter import Snapshotter
from skep.durability.storeset import StoreSet
from skep.durability.sweep import Sweeper
from skep.stores.identity import claimable
from skep.stores.protocol import Buffer, Store
from skep.stores.wrappers.fault import FaultStore
from skep.testing.stores import faulty_store, memory_store

HIVE_ID = bytes(15) + b"\x01"


async def pieces(body: Buffer, size_bytes: int = 100_000) -> AsyncIterator[Buffer]:
    """A body as it comes from a socket."""
    view = memoryview(body)
    for start in range(0, len(view), size_bytes):
        yield view[start : start + size_bytes]


@dataclass
class Rig:
    """What a test holds on to."""

    db: Database
    chunks: ChunkService
    master: MasterKey
    keys: DomainKeys
    clock: Clock
    faults: list[FaultStore]
    stores: dict[str, Store]
    """The stores behind the faults, by URL: they outlive a restart."""
    directory: Path
    held: list[Content] = field(default_factory=list)

    async def put(self, body: Buffer, *, piece_bytes: int = 100_000, scheme: Scheme | None = None) -> Content:
        """Write and reference a content, as a front end would."""
        with self.chunks.writing():
            content = await self.chunks.write(self.keys, pieces(body, piece_bytes), scheme=scheme)
            await self.reference(content)
        return content

    async def reference(self, *contents: Content) -> None:
        """Commit one more use of contents."""
        manifests = [content.manifest for content in contents]
        await self.db.write(lambda tx: self.chunks.reference(tx, self.keys.domain_id, manifests))
        self.held += contents

    async def release(self, *contents: Content) -> None:
        """Give up one use of contents."""
        manifests = [content.manifest for content in contents]
        await self.db.write(lambda tx: self.chunks.release(tx, self.keys.domain_id, manifests))
        for content in contents:
            self.held.remove(content)

    async def get(self, content: Content, offset: int = 0, length: int | None = None) -> bytes:
        """Read a content back."""
        parts = self.chunks.read(self.keys, content.manifest, offset, length)
        return b"".join([part async for part in parts])

    def uses(self, tx: Transaction) -> Iterator[tuple[Id, bytes]]:
        """Every manifest in use, for fsck."""
        return iter([(self.keys.domain_id, content.manifest.encode()) for content in self.held])

    @property
    def collector(self) -> Collector:
        """Garbage collection without a grace period."""
        return Collector(self.db, self.chunks, self.clock, 0.0)

    @property
    def sweeper(self) -> Sweeper:
        """The sweep of unknown shards without a grace period."""
        return Sweeper(self.db, self.chunks, self.clock, 0.0)

    @property
    def repairer(self) -> Repairer:
        """Repair, which gives up unreachable stores after an hour."""
        return Repairer(self.db, self.chunks, self.clock, 3600.0)

    @property
    def scrubber(self) -> Scrubber:
        """Scrub of everything."""
        return Scrubber(self.db, self.chunks, self.clock, 0.0)

    @property
    def repacker(self) -> Repacker:
        """Repack without waiting for packs to be of age."""
        return Repacker(self.db, self.chunks, self.clock, dead_ratio=0.4, age_s=0.0)

    @property
    def snapshotter(self) -> Snapshotter:
        """Metadata snapshots, of which three are kept."""
        hint = KeyHint(self.master.key_check())
        keys = self.master.hive_keys()
        return Snapshotter(self.db, self.chunks, keys, hint, HIVE_ID, self.clock, snapshot.export, keep=3)

    async def check(self, *, read_data: bool = False) -> CheckReport:
        """fsck over everything."""
        return await Checker(self.db, self.chunks, self.clock, self.uses).run(read_data=read_data)

    async def change(self, statement: sa.Executable) -> None:
        """Break a row on purpose; packs are looked up anew afterwards."""
        await self.db.write(lambda tx: tx.run(prepared(statement)))
        for pack_id in list(self.chunks.packs._places):
            self.chunks.packs.forget(pack_id)

    async def rows(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        """What the database says."""
        return await self.db.read(lambda tx: tx.rows(prepared(statement)))

    async def corrupt(self, number: int, at: float = 0.5) -> None:
        """Flip one bit of every shard of a store, ``at`` part of its length."""
        store = list(self.stores.values())[number]
        for info in [each async for each in store.list("shards/")]:
            raw = bytearray(await store.get(info.key))
            raw[int(len(raw) * at)] ^= 0x10
            await store.put(info.key, [raw])

    async def wipe(self, number: int) -> None:
        """Delete every shard of a store behind the hive's back."""
        store = list(self.stores.values())[number]
        for info in [each async for each in store.list("shards/")]:
            await store.delete(info.key)

    async def keys_in_stores(self) -> list[list[str]]:
        """The keys of the shards in each store."""
        return [[info.key async for info in store.list("shards/")] for store in self.stores.values()]


@dataclass
class Places:
    """Stores in memory by URL, each behind a fault wrapper whenever it is opened."""

    behind: dict[str, Store] = field(default_factory=dict)
    faults: list[FaultStore] = field(default_factory=list)
    clock: Clock = field(default_factory=SystemClock)

    def open(self, url: str, secret: bytes | None) -> Store:
        """The store of a URL; the secret is not looked at."""
        store = faulty_store(inner=self.behind.setdefault(url, memory_store()), clock=self.clock)
        self.faults.append(store)
        return store


@lru_cache(maxsize=1)
def _template() -> Path:
    """A migrated database, made once for each process of tests."""
    path = Path(tempfile.mkdtemp(prefix="skep-rig-")) / "rig.db"
    migrate(f"sqlite:///{path}")
    return path


@asynccontextmanager
async def open_rig(
    directory: Path,
    scheme: str = "none",
    *,
    stores: int = 1,
    options: Options | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Rig]:
    """A new rig with ``stores`` stores in zones of their own. Its database does without fsync."""
    path = directory / "rig.db"
    shutil.copy(_template(), path)
    url = f"sqlite:///{path}?synchronous=off"
    clock = clock or SystemClock()
    db = await Database.open(url, clock=clock)
    places, master = Places(clock=clock), MasterKey.create()
    members = StoreSet(db, master.hive_keys(), HIVE_ID, places.open, clock=clock)
    for number in range(stores):
        await members.add(f"d{number}", f"memory:d{number}", f"zone{number}")
    chunks = ChunkService(db, members, master, options or Options(straggler_s=0.2, repair_delay_s=0.0))
    await chunks.start()
    await chunks.set_scheme(Scheme.parse(scheme))
    domain_id = await db.write(lambda tx: chunks.create_domain(tx, new_id()))
    rig = Rig(db, chunks, master, await chunks.domain(domain_id), clock, places.faults, places.behind, directory)
    try:
        yield rig
    finally:
        await chunks.close()
        await members.close()
        await db.close()


async def found_stores(stores: Mapping[str, Store]) -> list[FoundStore]:
    """Stores as ``skep recover`` is given them, by the URLs where they are now."""
    found = []
    for url, store in stores.items():
        marked = claimable(store)
        identity = None if marked is None else await marked.identity()
        assert identity is not None
        found.append(FoundStore(url, store, identity.store_id, identity.hive_id))
    return found


@asynccontextmanager
async def recovered_rig(
    rig: Rig, directory: Path, stores: Mapping[str, Store], *, master: MasterKey | None = None
) -> AsyncIterator[tuple[Rig, Recovery]]:
    """A rig on a new database in ``directory``, recovered from some of the stores of another one.

    It holds the contents that the other one holds.
    """
    url = f"sqlite:///{directory}/recovered.db"
    migrate(url)
    db = await Database.open(url, clock=rig.clock)
    try:
        master = master or rig.master
        result = await Recoverer(db, master, await found_stores(stores), load_export).run()
        places = Places(dict(stores), clock=rig.clock)
        members = StoreSet(db, master.hive_keys(), HIVE_ID, places.open, clock=rig.clock)
        await members.load()
        chunks = ChunkService(db, members, master, Options(straggler_s=0.2, repair_delay_s=0.0))
        await chunks.start()
        keys = await chunks.domain(rig.keys.domain_id)
        try:
            yield (
                Rig(db, chunks, master, keys, rig.clock, places.faults, places.behind, directory, list(rig.held)),
                result,
            )
        finally:
            await chunks.close()
            await members.close()
    finally:
        await db.close()


async def load_export(
    db: Database, parts: AsyncIterator[bytes], last: Callable[[Transaction], object] = lambda tx: None
) -> None:
    """What a recovery loads a snapshot's export with."""
    await snapshot.load(db, parts, last)
