"""A chunk service over faulty stores in memory, on a throw-away SQLite database.

async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
    content = await rig.put(b"...")
    rig.faults[0].script(Fault("any", Kind.GONE, times=None))
    assert await rig.get(content) == b"..."
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skep.base.clock import Clock, SystemClock
from skep.base.ids import Id, new_id
from skep.chunks.scheme import Scheme
from skep.crypto.keys import DomainKeys, MasterKey
from skep.db import Database, migrate
from skep.durability.collect import Collector
from skep.durability.options import Options
from skep.durability.records import Content
from skep.durability.repack import Repacker
from skep.durability.repair import Repairer
from skep.durability.scrub import Scrubber
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.durability.sweep import Sweeper
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

    def uses(self, tx: object) -> Iterable[tuple[Id, bytes]]:
        """Every manifest in use, for fsck."""
        return [(self.keys.domain_id, content.manifest.encode()) for content in self.held]

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

    async def keys_in_stores(self) -> list[list[str]]:
        """The keys of the shards in each store."""
        return [[info.key async for info in store.list("shards/")] for store in self.stores.values()]


@asynccontextmanager
async def open_rig(
    directory: Path,
    scheme: str = "none",
    *,
    stores: int = 1,
    options: Options | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Rig]:
    """A new rig with ``stores`` stores in zones of their own."""
    url = f"sqlite:///{directory}/rig.db"
    migrate(url)
    clock = clock or SystemClock()
    db = await Database.open(url, clock=clock)
    master = MasterKey.create()
    behind: dict[str, Store] = {}
    faults: list[FaultStore] = []

    def opener(url: str, secret: bytes | None) -> Store:
        store = faulty_store(inner=behind.setdefault(url, memory_store()))
        faults.append(store)
        return store

    members = StoreSet(db, master.hive_keys(), HIVE_ID, opener)
    for number in range(stores):
        await members.add(f"d{number}", f"memory:d{number}", f"zone{number}")
    chunks = ChunkService(db, members, master, options or Options(straggler_s=0.2, repair_delay_s=0.0))
    await chunks.start()
    await chunks.set_scheme(Scheme.parse(scheme))
    domain_id = await db.write(lambda tx: chunks.create_domain(tx, new_id()))
    rig = Rig(db, chunks, master, await chunks.domain(domain_id), clock, faults, behind, directory)
    try:
        yield rig
    finally:
        await chunks.close()
        await members.close()
        await db.close()
