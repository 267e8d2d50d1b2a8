"""Users of the block API, for tests.

ada = await owner_of(hive, "ada")
await ada.client.post(ada.at("blocks/one"), content=b"sealed")
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from skep.auth import internal_principal
from skep.testing.hive import TestHive

AT = "/api/v0"


@dataclass
class Owner:
    """A user with a prefix."""

    client: httpx.AsyncClient
    prefix: str

    def at(self, path: str) -> str:
        """Where a file of theirs is."""
        return f"{AT}/files/{self.prefix}/{path}"

    async def used_bytes(self) -> int:
        """What their space holds."""
        return int((await self.client.get(f"{AT}/quota/")).json()["size"])


async def owner_of(hive: TestHive, name: str) -> Owner:
    """A new user with a prefix."""
    client = await hive.client(name)
    return Owner(client, (await client.post(f"{AT}/prefix/")).json()["prefix"])


async def allow(hive: TestHive, name: str, quota_bytes: int | None) -> None:
    """Give a user's space a quota."""
    root = internal_principal()
    user = await hive.hive.auth.get_user(root, name)
    space = await hive.hive.filesystem.space_of_owner(root, "personal", user.id)
    await hive.hive.filesystem.set_quota(root, space.id, quota_bytes)
