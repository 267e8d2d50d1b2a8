"""A hive in the test process, and agents beside it over a wire of queues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from skep.base.ids import Id
from skep.durability.agents import AgentInfo
from skep.durability.member import Member
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.lending import Lender, lending


@dataclass
class Ground:
    """What a test stands on."""

    hive: TestHive
    lend: Callable[[str], Lender]
    client: httpx.AsyncClient
    root: Id

    async def put(self, path: str, content: bytes) -> None:
        answer = await self.client.put("/api/filesystem/data", params={"path": path}, content=content)
        assert answer.status_code in (200, 201), answer.text

    async def get(self, path: str) -> bytes:
        answer = await self.client.get("/api/filesystem/data", params={"path": path})
        assert answer.status_code == 200, answer.text
        return answer.content

    def member(self, name: str) -> Member:
        return self.hive.hive.stores.by_name(name)

    async def info(self, name: str) -> AgentInfo:
        return await self.hive.hive.agents.book.named(name)

    async def joined(self, name: str, lender: Lender) -> Member:
        """Enrol, connect, and wait until the agent is a store that takes data."""
        await lender.enrol(name)
        await lender.connect()
        await lender.until(lambda: any(each.name == name and not each.down for each in self.hive.hive.stores))
        return self.member(name)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = tmp_path / "hive"
    place.mkdir()
    async with open_test_hive(place, stores=2, scheme="ec(2,1)") as hive:
        root = await hive.user("root", is_admin=True)
        async with lending(hive.hive.agents, root) as lend:
            yield Ground(hive, lambda name: lend(tmp_path / name), await hive.login("root"), root)
