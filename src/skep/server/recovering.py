"""``skep recover``'s work: an empty data directory becomes the hive that its stores and its key remember.

What always holds: nothing in the stores is changed; a database with a hive in it is never touched;
when it fails, what was made of a SQLite database in the data directory is removed again, so that it
can be run anew with more stores.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from skep.base.clock import Clock
from skep.base.errors import AlreadyExists, BadInput, StoreUnavailable
from skep.base.ids import id_text
from skep.base.settings import Settings
from skep.crypto.keys import MasterKey
from skep.db import Database, current_revision, migrate
from skep.db.snapshot import load
from skep.durability.recover import FoundStore, Recoverer, Recovery, Report
from skep.server.lock import DataDirectoryLock
from skep.server.opening import OpenStore, opener
from skep.server.options import store_pace
from skep.stores.identity import claimable


async def recover(
    settings: Settings, master: MasterKey, store_urls: Sequence[str], *, clock: Clock, report: Report
) -> Recovery:
    """Rebuild a hive into the (empty) database of these settings; keeps the key file where they say.

    ``report`` is told of (step, done, total). Raises AlreadyExists (a hive is there), BadInput (no stores
    of one hive), StoreUnavailable, KeyWrong, DataLost.
    """
    data_dir = settings.data_path()
    await asyncio.to_thread(data_dir.mkdir, parents=True, mode=0o700, exist_ok=True)
    with DataDirectoryLock(data_dir):
        url = settings.database_url()
        if await asyncio.to_thread(current_revision, url) is not None:
            raise AlreadyExists(f"A database with a hive is there already ({data_dir}): recover into another data_dir.")
        async with AsyncExitStack() as closing:
            stores = await _find_stores(store_urls, opener(clock, store_pace(settings)), closing)
            try:
                result = await _rebuild(url, settings, master, stores, clock, report)
            except BaseException:
                if not settings.database.url:
                    _remove_database(data_dir / "skep.db")
                raise
        path = settings.master_key_path()
        if not path.exists():
            await asyncio.to_thread(master.write_file, path)
        return result


async def _rebuild(
    url: str, settings: Settings, master: MasterKey, stores: Sequence[FoundStore], clock: Clock, report: Report
) -> Recovery:
    await asyncio.to_thread(migrate, url)
    db = await Database.open(url, clock=clock, pool_size=settings.database.pool_size)
    try:
        return await Recoverer(db, master, stores, _load).run(report)
    finally:
        await db.close()


async def _load(db: Database, parts: AsyncIterator[bytes]) -> None:
    await load(db, parts)


async def _find_stores(urls: Sequence[str], open_one: OpenStore, closing: AsyncExitStack) -> list[FoundStore]:
    """The given places, each with the mark that says whose it is. Raises BadInput, StoreUnavailable."""
    found = []
    for url in urls:
        store = open_one(url, None)
        closing.push_async_callback(store.close)
        marked = claimable(store)
        identity = None if marked is None else await marked.identity()
        if identity is None:
            raise StoreUnavailable(f"{url} carries no hive's mark: it is empty, not mounted, or no store of a hive.")
        found.append(FoundStore(url, store, identity.store_id, identity.hive_id))
    hives = sorted({id_text(each.hive_id) for each in found})
    if len(hives) != 1:
        raise BadInput(f"The stores belong to {len(hives)} hives ({', '.join(hives)}): name those of one.")
    if len({each.store_id for each in found}) < len(found):
        raise BadInput("Two of the URLs are the same store, or a copy of it: name each once.")
    return found


def _remove_database(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()
