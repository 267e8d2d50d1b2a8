"""``skep up``'s work: make a new hive, step by step, safe to run again at any time.

What is there is never overwritten: a second run finds every step done and says so. The first
administrator's password is generated once. It lies in a file beside the master key from before the
account is made until whoever ran this has shown it (``forget_first_password``), so that a run which
was cut short locks nobody out: the next one has it in its last step's ``secret`` again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skep.auth import internal_principal
from skep.base.clock import Clock
from skep.base.errors import Misconfigured, SkepError
from skep.base.settings import Settings
from skep.chunks.scheme import Scheme
from skep.crypto.keys import MasterKey
from skep.db import current_revision, migrate
from skep.durability.thresholds import chosen
from skep.server.first_password import first_password, keep_first_password
from skep.server.identity import make_identity
from skep.server.lock import DataDirectoryLock
from skep.server.opening import open_database

if TYPE_CHECKING:
    from skep.server.compose import Hive

ADMIN_NAME = "admin"
STORE_NAME = "local"
STORE_DIRECTORY = "store"
STEPS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step. ``changed``: something was made; ``secret``: to be shown once, never logged."""

    number: int
    of: int
    text: str
    changed: bool
    secret: str | None = field(default=None, repr=False)


async def set_up(settings: Settings, *, clock: Clock, admin_name: str = ADMIN_NAME) -> AsyncIterator[Step]:
    """Make the hive of these settings, or what is missing of it; yields each step when it is done.

    Data directory, master key, database, first store, first administrator. Holds the data directory's
    lock: raises DataDirectoryInUse while the hive runs, and Misconfigured, KeyWrong, DatabaseTooNew.
    """
    data_dir = settings.data_path()
    made = await asyncio.to_thread(_make_directory, data_dir)
    yield Step(1, STEPS, f"data directory {data_dir}", made)
    with DataDirectoryLock(data_dir):
        made = await asyncio.to_thread(_make_key, settings)
        advice = " (keep a copy elsewhere: without it the data cannot be read)" if made else ""
        yield Step(2, STEPS, f"master key {_key_place(settings)}{advice}", made)
        made = await asyncio.to_thread(_migrate, settings)
        yield Step(3, STEPS, f"database {_database_place(settings)}", made)
        async for step in _fill(settings, clock, admin_name):
            yield step


def _make_directory(path: Path) -> bool:
    try:
        path.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise Misconfigured(f"The data directory {path} is a file: set data_dir to another place.") from None
        return False
    except OSError as error:
        raise Misconfigured(f"The data directory {path} cannot be made: {error.strerror}. Set data_dir.") from None
    return True


def _make_key(settings: Settings) -> bool:
    """Make the key file, unless the key comes from elsewhere or the file is there."""
    if settings.keys.master_key or settings.keys.passphrase:
        return False
    path = settings.master_key_path()
    if path.exists():
        return False
    if _holds_hive(settings):
        MasterKey.from_file(path)  # raises KeyMissing: a new key would open nothing of what is there
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    MasterKey.create().write_file(path)
    return True


def _holds_hive(settings: Settings) -> bool:
    """Whether the database has been used before, as far as it can be told without opening it."""
    try:
        return current_revision(settings.database_url()) is not None
    except SkepError:
        return False


def _migrate(settings: Settings) -> bool:
    url = settings.database_url()
    before = current_revision(url)
    migrate(url)
    return current_revision(url) != before


async def _fill(settings: Settings, clock: Clock, admin_name: str) -> AsyncIterator[Step]:
    db = await open_database(settings, clock)
    try:
        await make_identity(db, settings)
    finally:
        await db.close()
    from skep.server.compose import open_hive

    hive = await open_hive(settings, clock=clock, start_workers=False)
    try:
        made = False
        if not len(hive.stores):
            scheme = Scheme.parse(settings.storage.scheme)
            thresholds = chosen(scheme, settings.storage.repair_at or None, settings.storage.wanted or None)
            await hive.chunks.set_scheme(scheme)
            await hive.chunks.thresholds.choose(scheme, thresholds)
            chosen_place = settings.storage.first_store
            place = Path(chosen_place) if chosen_place else settings.data_path() / STORE_DIRECTORY
            await asyncio.to_thread(_make_directory, place)
            await hive.stores.add(STORE_NAME, f"fs://{place}", zone=STORE_NAME)
            made = True
        names = [member.name for member in hive.stores]
        yield Step(4, STEPS, f"store{'s' if len(names) > 1 else ''} {', '.join(names)}", made)
        yield await _first_admin(hive, admin_name, settings.data_path())
    finally:
        await hive.close()


async def _first_admin(hive: Hive, name: str, data_dir: Path) -> Step:
    root = internal_principal()
    if await hive.auth.list_users(root, limit=1):
        return Step(5, STEPS, "accounts", changed=False, secret=first_password(data_dir))
    password = generated_password()
    await asyncio.to_thread(keep_first_password, data_dir, password)
    await hive.auth.create_user(root, name, password, is_admin=True)
    return Step(5, STEPS, f"administrator {name}", changed=True, secret=password)


def generated_password() -> str:
    """About 77 bits in groups that a person can copy: ``k7mq-x2ht-9wva-c4rd``."""
    alphabet = "23456789abcdefghjkmnpqrstuvwxyz"
    groups = ("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def _key_place(settings: Settings) -> str:
    if settings.keys.master_key or settings.keys.passphrase:
        return "from the environment"
    return str(settings.master_key_path())


def _database_place(settings: Settings) -> str:
    """The database without its password."""
    if not settings.database.url:
        return str(settings.data_path() / "skep.db")
    scheme, _, rest = settings.database.url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
