"""Chunks whose store has them in memory are read and opened in one thread; whatever is amiss goes the long way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from skep.chunks.layout import BLOCK_BYTES, HEADER_BYTES
from skep.durability.packreader import PackReader
from skep.stores.drivers.memory import MemoryStore
from skep.testing.durable import Rig, open_rig

BODY = random.Random(9).randbytes(9_000_000)


def without_faults(rig: Rig) -> None:
    """The stores themselves: a wrapper that may fail has nothing at hand."""
    for member in rig.chunks.stores:
        member.store = rig.stores[member.url]


@pytest.fixture
def gets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that stores were asked for by ``get``."""
    asked: list[str] = []
    real = MemoryStore.get

    async def get(self: MemoryStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
        asked.append(key)
        return await real(self, key, offset, length)

    monkeypatch.setattr(MemoryStore, "get", get)
    return asked


@pytest.mark.parametrize("scheme", ["none", "raid1(2)", "ec(2,1)"])
async def test_what_is_at_hand_is_not_asked_for(tmp_path: Path, gets: list[str], scheme: str) -> None:
    async with open_rig(tmp_path, scheme, stores=3) as rig:
        content = await rig.put(BODY)
        without_faults(rig)
        assert await rig.get(content) == BODY
        before = len(gets)
        for start, length in ((0, len(BODY)), (1, 5_000_000), (len(BODY) - 300_000, 300_000), (4_000_000, 1)):
            assert await rig.get(content, start, length) == BODY[start : start + length]
        split_between_shards = 12 if scheme == "ec(2,1)" else 0
        assert len(gets) - before <= split_between_shards


async def test_what_does_not_open_is_healed_as_ever(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        without_faults(rig)
        assert await rig.get(content) == BODY
        for store in rig.stores.values():
            for key in [info.key async for info in store.list("shards/") if info.key.endswith(".0")]:
                damaged = bytearray(await store.get(key))
                damaged[HEADER_BYTES + BLOCK_BYTES // 2] ^= 1
                await store.put(key, [damaged])
        assert await rig.get(content) == BODY
        assert await rig.chunks.flush_damage() == 1
        assert rig.chunks.counters.damaged_shards == 1
        assert await rig.repairer.run() == 1
        assert (await rig.scrubber.run()).whole


async def test_a_store_that_is_down_has_nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        without_faults(rig)
        assert await rig.get(content) == BODY
        found = []
        real = PackReader._one_shard

        def one_shard(self: PackReader, location: object) -> object:
            found.append(real(self, location))  # type: ignore[arg-type]
            return found[-1]

        monkeypatch.setattr(PackReader, "_one_shard", one_shard)
        assert await rig.get(content) == BODY
        assert any(found)
        for member in rig.chunks.stores:
            member.failures = 1000
        found.clear()
        assert await rig.get(content) == BODY
        assert found[0] is None  # then they have answered, and are up again
