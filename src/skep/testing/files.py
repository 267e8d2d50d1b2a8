"""A ``Filesystem`` over a throw-away SQLite database and a store in memory: the real parts, no process.

async with open_files(tmp_path) as bench:
    ada = await bench.user("ada")
    await bench.put(ada, "/a.txt", b"hello")
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from skep.auth.groups import set_member
from skep.auth.records import Principal
from skep.auth.users import NewUser, insert_user
from skep.base.ids import Id, id_text, new_id
from skep.crypto.keys import MasterKey
from skep.db import Database, Transaction, migrate
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.events import EventLog, Hub, Journal
from skep.filesystem.check import check
from skep.filesystem.findings import Finding
from skep.filesystem.hooks import SpaceHooks
from skep.filesystem.records import Limits, WriteResult
from skep.filesystem.service import Filesystem
from skep.stores.protocol import Buffer
from skep.stores.registry import open_store
from skep.testing.clock import FakeClock

SCOPES = frozenset({"files:read", "files:write"})
T = TypeVar("T")


@dataclass(frozen=True)
class FileBench:
    """What a test holds on to."""

    filesystem: Filesystem
    db: Database
    chunks: ChunkService
    clock: FakeClock
    hooks: SpaceHooks

    async def user(self, name: str, groups: Iterable[Id] = ()) -> Principal:
        """A principal with a space of their own."""
        user_id = new_id()
        await self.db.write(lambda tx: self.hooks.user_created(tx, user_id, name))
        return Principal(user_id, name, False, frozenset(groups), SCOPES, "token")

    async def group(self, name: str) -> Id:
        """A group with a space."""
        group_id = new_id()
        await self.db.write(lambda tx: self.hooks.group_created(tx, group_id, name))
        return group_id

    async def put(self, who: Principal, path: str, body: bytes, space_id: Id | None = None, **more: Any) -> WriteResult:
        """Write a file, its parents too."""
        return await self.filesystem.write_file(who, space_id, path, pieces(body), **{"parents": True, **more})

    async def get(self, who: Principal, path: str, space_id: Id | None = None, version: int | None = None) -> bytes:
        """Read the file at a path."""
        node = await self.filesystem.by_path(who, space_id, path)
        opened = await self.filesystem.open_file(who, node.id, version)
        return b"".join([part async for part in opened.read()])

    async def findings(self) -> list[Finding]:
        """What the check of the metadata finds."""
        return [finding async for finding in check(self.db)]

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """A look into the database."""
        return await self.db.read(work)


async def person(bench: FileBench, name: str, *groups: tuple[Id, str]) -> Principal:
    """A user with a row in the database too, a space, and these groups in these roles."""

    def work(tx: Transaction) -> Id:
        user_id = insert_user(tx, NewUser(name, "", "", None, False)).id
        bench.hooks.user_created(tx, user_id, name)
        for group_id, role in groups:
            set_member(tx, group_id, user_id, role)
        return user_id

    user_id = await bench.db.write(work)
    return Principal(user_id, name, False, frozenset(group for group, _ in groups), SCOPES, "token")


def admin() -> Principal:
    """An administrator who owns nothing."""
    return Principal(new_id(), "root", True, frozenset(), SCOPES | {"admin"}, "token")


async def pieces(body: bytes, size_bytes: int = 64 << 10) -> AsyncIterator[Buffer]:
    """A body as it comes from a socket."""
    for at in range(0, len(body), size_bytes):
        yield body[at : at + size_bytes]


@lru_cache(maxsize=1)
def _template() -> Path:
    """A migrated database, made once for each process of tests."""
    path = Path(tempfile.mkdtemp(prefix="skep-files-")) / "hive.db"
    migrate(f"sqlite:///{path}")
    return path


@asynccontextmanager
async def open_files(
    directory: Path, limits: Limits | None = None, *, url: str | None = None
) -> AsyncIterator[FileBench]:
    """A file service with one store, ``none`` as scheme, and a clock that tests move.

    ``url`` names an empty database to use rather than a file in ``directory``.
    """
    clock, master = FakeClock(), MasterKey.create()
    if url is None:
        path = directory / "hive.db"
        shutil.copy(_template(), path)
        url = f"sqlite:///{path}"
    else:
        await asyncio.to_thread(migrate, url)
    db = await Database.open(url, clock=clock)
    stores = StoreSet(db, master.hive_keys(), new_id(), lambda url, secret: open_store(url, secret=secret))
    await stores.add("one", f"memory:{id_text(new_id())}", "one")
    chunks = ChunkService(db, stores, master)
    await chunks.start()
    hub = Hub()
    filesystem = Filesystem(db, chunks, EventLog(hub), Journal(db, hub), clock, limits)
    try:
        yield FileBench(filesystem, db, chunks, clock, SpaceHooks(filesystem))
    finally:
        await chunks.close()
        await stores.close()
        await db.close()
