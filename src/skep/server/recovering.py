"""``skep recover``'s work: an empty data directory becomes the hive that its stores and its key remember.

What always holds: nothing in the stores is changed; a database with a hive in it is never touched;
one that a recovery has begun to fill carries a mark until it is done, so that it can be run anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from skep.base.clock import Clock
from skep.base.errors import AlreadyExists, BadInput, DataLost, InUse, StoreUnavailable
from skep.base.ids import id_text
from skep.base.settings import Settings
from skep.crypto.keys import MasterKey
from skep.db import Database, Transaction, migrate
from skep.db.database import MakeEngine
from skep.db.snapshot import empty, load, require_empty
from skep.durability.reconcile import Recovery, Report
from skep.durability.recover import FoundStore, Recoverer, find_hint, recovering
from skep.server.database_lock import DatabaseLock
from skep.server.identity import load_master
from skep.server.lock import DataDirectoryLock
from skep.server.opening import OpenDouble, OpenStore, open_database, opener
from skep.server.options import store_pace
from skep.stores.identity import claimable


async def recover(
    settings: Settings,
    master: MasterKey | None,
    store_urls: Sequence[str],
    *,
    clock: Clock,
    report: Report,
    secrets: Mapping[str, str] | None = None,
) -> Recovery:
    """Rebuild a hive into the (empty) database of these settings; keeps the key file where they say.

    Without ``master`` the key comes from where the settings say, or from their passphrase and the salt
    that the snapshots carry. ``report`` is told of (step, done, total); ``secrets`` has those of stores by URL. Raises
    AlreadyExists (a hive is there), BadInput (no stores of one hive), StoreUnavailable, KeyMissing, KeyWrong, DataLost.
    """
    data_dir = settings.data_path()
    await asyncio.to_thread(data_dir.mkdir, parents=True, mode=0o700, exist_ok=True)
    with DataDirectoryLock(data_dir), DatabaseLock(settings.database_url()):
        return await rebuild(settings, master, store_urls, clock=clock, report=report, secrets=secrets)


async def rebuild(
    settings: Settings,
    master: MasterKey | None,
    store_urls: Sequence[str],
    *,
    clock: Clock,
    report: Report,
    secrets: Mapping[str, str] | None = None,
    driver: OpenDouble | None = None,
    engine: MakeEngine | None = None,
) -> Recovery:
    """``recover`` for whoever holds the locks; ``driver`` and ``engine`` as for ``open_hive``. Raises the same."""
    async with AsyncExitStack() as closing:
        open_one = opener(clock, store_pace(settings), driver=driver)
        stores = await _find_stores(store_urls, secrets or {}, open_one, closing)
        key = master or await _key_of_settings(settings, stores)
        db = await _empty_database(settings, clock, closing, engine)
        return await Recoverer(db, key, stores, _load).run(report, lambda: _keep_key(settings, master))


def _keep_key(settings: Settings, master: MasterKey | None) -> None:
    """Put the key that was given where the hive will look for it."""
    path = settings.master_key_path()
    if master is not None and not path.exists():
        master.write_file(path)


async def _key_of_settings(settings: Settings, stores: Sequence[FoundStore]) -> MasterKey:
    hint = await find_hint(stores)
    if hint is None:
        raise DataLost("None of the given stores holds a snapshot of the metadata: name more of the hive's stores.")
    return load_master(settings, hint.salt)


async def _empty_database(
    settings: Settings, clock: Clock, closing: AsyncExitStack, engine: MakeEngine | None
) -> Database:
    """Migrated and without rows; what a recovery that was cut short has left goes. Raises AlreadyExists."""
    url = settings.database_url()
    await asyncio.to_thread(migrate, url)
    db = await open_database(settings, clock, engine)
    closing.push_async_callback(db.close)
    if await db.read(recovering):
        await db.write(empty)
    try:
        await require_empty(db)
    except InUse:
        raise AlreadyExists(
            f"A database with a hive is there already ({settings.data_path()}): recover into another data_dir."
        ) from None
    return db


async def _load(db: Database, parts: AsyncIterator[bytes], last: Callable[[Transaction], object]) -> None:
    await load(db, parts, last)


async def _find_stores(
    urls: Sequence[str], secrets: Mapping[str, str], open_one: OpenStore, closing: AsyncExitStack
) -> list[FoundStore]:
    """The given places, each with the mark that says whose it is. Raises BadInput, StoreUnavailable."""
    found = []
    for url in urls:
        store = open_one(url, secrets[url].encode() if url in secrets else None)
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
