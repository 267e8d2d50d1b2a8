"""The package in one piece, as the front ends use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skep.base.clock import Clock
from skep.base.ids import Id
from skep.clouds.apps import Apps
from skep.clouds.grants import CloudGrants
from skep.clouds.logins import Logins
from skep.crypto.keys import HiveKeys
from skep.db import Database
from skep.stores.access import CloudAccess
from skep.stores.oauth import AppKeys
from skep.stores.registry import account_of


class Clouds:
    """App keys, logins and grants of a hive."""

    def __init__(
        self,
        db: Database,
        keys: HiveKeys,
        clock: Clock,
        hive_id: Id,
        settings: Mapping[str, AppKeys],
        in_use: Callable[[str], bool],
        *,
        public_url: str = "",
    ) -> None:
        """``settings``: app keys by provider; ``in_use``: whether the account of this URL is a store of the hive."""
        self.public_url = public_url
        self.apps = Apps(db, keys, settings)
        self.grants = CloudGrants(db, keys, clock, hive_id, self.apps, in_use)
        self.logins = Logins(self.apps, self.grants, clock, _look_up)

    async def load(self) -> None:
        """Read what the database has. Raises CorruptRecord."""
        await self.apps.load()
        await self.grants.load()


async def _look_up(access: CloudAccess) -> tuple[str, str]:
    account = await account_of(access)
    return account.id, account.label
