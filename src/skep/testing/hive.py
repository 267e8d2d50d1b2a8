"""A whole hive inside the test process: SQLite in a directory, stores in memory, ASGI called directly.

    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        answer = await ada.put("/api/filesystem/data", params={"path": "/a.txt"}, content=b"hello")

Everything is the real thing but the disks of the stores (``stores="fs"`` uses those too).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from skep.auth import internal_principal
from skep.base.clock import Clock, SystemClock
from skep.base.ids import Id
from skep.base.logs import configure_logs
from skep.base.settings import Settings, load_settings
from skep.chunks.scheme import Scheme
from skep.crypto.keys import MasterKey
from skep.db import Database, migrate
from skep.server.compose import Hive, open_hive
from skep.server.identity import make_identity
from skep.stores.protocol import Store
from skep.testing.stores import memory_store

PASSWORD = "quiet meadow 41 lantern"  # noqa: S105
URL = "http://hive.test"
CHEAP: Mapping[str, object] = {
    "auth.argon2_memory_bytes": 64 * 1024,
    "auth.argon2_passes": 1,
    "auth.registration": "open",
    "log.level": "error",
    "storage.pack_bytes": 5 << 20,
}


@dataclass(frozen=True)
class TestHive:
    """What a test holds on to."""

    __test__ = False

    hive: Hive
    drivers: Mapping[str, Store]
    """The bare stores by name, below every wrapper."""
    _closing: AsyncExitStack

    @property
    def anonymous(self) -> httpx.AsyncClient:
        """A client that shows no credential."""
        return self._client({})

    async def user(self, name: str, *, is_admin: bool = False) -> Id:
        """Make a user; the password is PASSWORD."""
        info = await self.hive.auth.create_user(internal_principal(), name, PASSWORD, is_admin=is_admin)
        return info.id

    async def client(self, name: str, *, is_admin: bool = False) -> httpx.AsyncClient:
        """A client logged in as a new user of this name."""
        await self.user(name, is_admin=is_admin)
        return await self.login(name)

    async def login(self, name: str) -> httpx.AsyncClient:
        """A client logged in as a user that is there."""
        pair = await self.hive.auth.login(name, PASSWORD)
        return self._client({"authorization": f"Bearer {pair.access_token}"})

    def _client(self, headers: dict[str, str]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.hive.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url=URL, headers=headers)
        self._closing.push_async_callback(client.aclose)
        return client


def test_settings(data_dir: Path, **overrides: object) -> Settings:
    """Settings for a hive in a directory; overrides are ``section__key=value``."""
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_settings({**CHEAP, "data_dir": str(data_dir), **given}, files=[], environ={})


test_settings.__test__ = False  # type: ignore[attr-defined]


@asynccontextmanager
async def open_test_hive(
    place: Path,
    *,
    stores: int = 1,
    scheme: str = "none",
    clock: Clock | None = None,
    drivers: Mapping[str, Store] | None = None,
    **overrides: Any,
) -> AsyncIterator[TestHive]:
    """A hive in an empty directory with ``stores`` memory stores (or these ``drivers``); no worker runs by itself.

    A driver whose name is a URL is what opens there, once a test adds a store at it.
    """
    settings = test_settings(place, **overrides)
    configure_logs(settings.log)
    used_clock = clock or SystemClock()
    chosen = dict(drivers) if drivers is not None else {f"s{n}": memory_store() for n in range(stores)}
    shutil.copyfile(_empty_database(), place / "skep.db")
    MasterKey.create().write_file(settings.master_key_path())
    db = await Database.open(settings.database_url(), clock=used_clock, pool_size=1)
    await make_identity(db, settings)
    await db.close()

    def driver(url: str, secret: bytes | None) -> Store | None:
        return chosen[url.removeprefix("memory:")] if url.startswith("memory:") else chosen.get(url)

    hive = await open_hive(settings, clock=used_clock, driver=driver, start_workers=False)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(hive.close)
        for name in chosen:
            if ":" not in name:
                await hive.stores.add(name, f"memory:{name}", zone=name)
        await hive.chunks.set_scheme(Scheme.parse(scheme))
        hive.ready = True
        yield TestHive(hive, chosen, closing)


@lru_cache(1)
def _empty_database() -> Path:
    """A migrated SQLite file, made once: migrating takes longer than a test."""
    path = Path(tempfile.mkdtemp(prefix="skep-test-")) / "empty.db"
    migrate(f"sqlite:///{path}")
    return path
