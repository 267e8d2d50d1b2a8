"""An ``Auth`` on a throw-away SQLite database, with cheap password hashes and a clock that tests move.

async with open_auth(tmp_path, registration="open") as bench:
    ada = await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from skep.auth import Auth, AuthRules, DeletionHooks, Principal, UserHooks, UserInfo, internal_principal
from skep.crypto.keys import HiveKeys, MasterKey
from skep.db import Database, migrate
from skep.testing.clock import FakeClock

PASSWORD = "quiet meadow 41 lantern"  # noqa: S105
CHEAP = {"argon2_memory_bytes": 64 * 1024, "argon2_passes": 1}


@dataclass(frozen=True)
class AuthBench:
    """What a test holds on to."""

    auth: Auth
    db: Database
    clock: FakeClock
    keys: HiveKeys
    root: Principal

    async def user(self, name: str, password: str | None = PASSWORD, **more: Any) -> UserInfo:
        """A user that the hive itself made."""
        return await self.auth.create_user(self.root, name, password, **more)

    async def principal(self, name: str, password: str = PASSWORD) -> Principal:
        """The user's principal after a login."""
        pair = await self.auth.login(name, password)
        return await self.auth.authenticate_token(pair.access_token)

    async def second(self, **rules: Any) -> Auth:
        """Another process on the same database; the caller closes it."""
        auth = Auth(self.db, self.keys, self.clock, AuthRules(**{**CHEAP, **rules}))
        await auth.start()
        return auth


@asynccontextmanager
async def open_auth(
    place: Path | str, *, hooks: UserHooks | None = None, deletion: DeletionHooks | None = None, **rules: Any
) -> AsyncIterator[AuthBench]:
    """A started ``Auth`` in a new file in a directory, or on an empty database of a URL.

    ``rules`` are fields of AuthRules.
    """
    clock, keys = FakeClock(), MasterKey.create().hive_keys()
    db = await Database.open(_prepared_url(place), clock=clock)
    auth = Auth(db, keys, clock, AuthRules(**{**CHEAP, **rules}), hooks=hooks, deletion=deletion)
    try:
        await auth.start()
        yield AuthBench(auth, db, clock, keys, internal_principal())
    finally:
        await auth.close()
        await db.close()


def _prepared_url(place: Path | str) -> str:
    if isinstance(place, str):
        migrate(place)
        return place
    shutil.copyfile(_migrated(), place / "hive.db")
    return f"sqlite:///{place / 'hive.db'}"


@lru_cache(maxsize=1)
def _migrated() -> Path:
    """An empty migrated database to copy: migrating takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="skep-test-")) / "empty.db"
    migrate(f"sqlite:///{path}")
    return path
