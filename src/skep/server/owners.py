"""What goes on by itself where stores have owners: quotas that follow policies, and what deleted users leave behind."""

from __future__ import annotations

from functools import partial

from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.base.settings import Settings
from skep.clouds import CloudGrants
from skep.db import Database
from skep.durability.agents import Agents
from skep.durability.layout import Layout
from skep.durability.owning import Owning
from skep.durability.service import ChunkService
from skep.server.options import own_rules
from skep.server.stores_worker import StoresWorker

_log = get_logger("skep.owning")


class OwnersKeeper:
    """Called with every round of the ``stores`` worker."""

    def __init__(self, owning: Owning, grants: CloudGrants) -> None:
        self._owning = owning
        self._grants = grants

    async def look(self) -> None:
        """Let quotas follow; forget stores of deleted users that hold nothing, and grants that are theirs alone."""
        await self._owning.sync_meters()
        for url in await self._owning.sweep_gone():
            await self._grants.forget(url)
        infos = self._grants.all()
        known = await self._owning.names(info.user_id for info in infos)
        for info in infos:
            if info.user_id in known:
                continue
            try:
                await self._grants.remove(info.id)
            except SkepError as error:  # a store of the hive needs it
                _log.debug("grant of a deleted user kept", provider=info.provider, code=error.code)


def open_owners(
    settings: Settings, db: Database, chunks: ChunkService, agents: Agents, grants: CloudGrants, worker: StoresWorker
) -> tuple[Owning, Layout]:
    """Who may have which stores, and what is lost together. ``worker`` looks after it from now on."""
    holder = partial(account_holder, grants)
    own = Owning(db, chunks.stores, chunks.pools, agents.book, own_rules(settings), holder)
    worker.owners = OwnersKeeper(own, grants)
    refuse = settings.storage.layout_lint == "refuse"
    return own, Layout(db, chunks, agents.book, settings.storage.user_schemes, refuse=refuse)


def account_holder(grants: CloudGrants, url: str) -> Id | None:
    """Who let the hive use the cloud account of a URL; None: nobody."""
    account = url.partition("/")[0]
    return next((info.user_id for info in grants.all() if info.url == account), None)
