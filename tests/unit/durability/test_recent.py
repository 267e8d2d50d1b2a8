"""Small chunks kept in memory: what goes in, how much stays, and that nothing is served that should not be."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from skep.base.errors import CorruptShard, SkepError
from skep.durability.options import Options
from skep.durability.recent import ENTRY_BYTES_MAX, ENTRY_OVERHEAD_BYTES, Recent
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

DOMAIN, OTHER = bytes(16), b"\1" * 16
KEPT = Options(recent_bytes=1 << 20)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def chunk(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_who_was_not_asked_for_longest_goes_first() -> None:
    recent = Recent(3 * (1000 + ENTRY_OVERHEAD_BYTES))
    for number in range(3):
        recent.put(DOMAIN, chunk(number), bytes(1000))
    assert recent.get(DOMAIN, chunk(0)) is not None
    recent.put(DOMAIN, chunk(3), bytes(1000))
    assert [recent.get(DOMAIN, chunk(number)) is not None for number in range(4)] == [True, False, True, True]
    assert (recent.hits, recent.misses) == (4, 1)


def test_it_never_takes_more_than_it_may() -> None:
    chance = random.Random(5)
    recent = Recent(100_000)
    held: dict[bytes, int] = {}
    for _ in range(3000):
        chunk_id, size = chunk(chance.randrange(400)), chance.randrange(2 * ENTRY_BYTES_MAX)
        if chance.random() < 0.2:
            recent.drop(DOMAIN, chunk_id)
        else:
            recent.put(DOMAIN, chunk_id, bytes(size))
        held = {key: len(value) for (_, key), value in recent._entries.items()}
        assert recent.used_bytes == sum(held.values()) + len(held) * ENTRY_OVERHEAD_BYTES <= 100_000
        assert max(held.values(), default=0) <= ENTRY_BYTES_MAX
    assert len(recent) == len(held) > 1


def test_without_room_nothing_is_kept_and_domains_do_not_mix() -> None:
    none = Recent(0)
    none.put(DOMAIN, chunk(1), b"")
    assert len(none) == none.used_bytes == 0
    some = Recent(10_000)
    some.put(DOMAIN, chunk(1), b"mine")
    assert some.get(OTHER, chunk(1)) is None
    some.drop(OTHER, chunk(1))
    some.put(DOMAIN, chunk(1), b"mine")
    assert len(some) == 1
    assert some.used_bytes == 4 + ENTRY_OVERHEAD_BYTES


def gets(rig: Rig) -> int:
    return sum(verb == "get" for store in rig.faults for verb, _ in store.calls)


async def test_a_second_read_asks_no_store_even_if_none_is_left(tmp_path: Path) -> None:
    async with open_rig(tmp_path, options=KEPT) as rig:
        body = noise(4096)
        content = await rig.put(body)
        assert await rig.get(content) == body
        before = gets(rig)
        rig.faults[0].script(Fault("any", Kind.GONE, times=None))
        assert await rig.get(content) == body
        assert await rig.get(content, 100, 50) == body[100:150]
        assert await rig.chunks.whole(rig.keys, content.manifest, 0, 4096) == body
        assert await rig.chunks.whole(rig.keys, content.manifest, 4000, 96) == body[4000:]
        assert gets(rig) == before


async def test_by_itself_a_chunk_service_keeps_nothing(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(noise(4096))
        for _ in range(2):
            await rig.get(content)
        assert len(rig.chunks.reader.recent) == 0


async def test_what_does_not_open_is_never_kept(tmp_path: Path) -> None:
    async with open_rig(tmp_path, options=KEPT) as rig:
        content = await rig.put(noise(4096))
        await rig.corrupt(0, at=0.3)
        for _ in range(2):
            with pytest.raises(SkepError):
                await rig.get(content)
        assert len(rig.chunks.reader.recent) == 0


async def test_what_is_collected_leaves(tmp_path: Path) -> None:
    async with open_rig(tmp_path, options=KEPT) as rig:
        content, other = await rig.put(noise(4096)), await rig.put(noise(4096, 2))
        await rig.get(content)
        await rig.get(other)
        assert len(rig.chunks.reader.recent) == 2
        await rig.release(content)
        await rig.collector.run()
        assert len(rig.chunks.reader.recent) == 1
        assert await rig.get(other) == noise(4096, 2)


async def at_hand(rig: Rig) -> None:
    """From now on the stores are without their faults, and so have what they hold at hand."""
    for member in rig.chunks.stores:
        member.store = rig.stores[member.url]


@pytest.mark.parametrize("size", [1, 4096, 65_000])
async def test_what_is_at_hand_is_read_without_a_call(tmp_path: Path, size: int) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(noise(size))
        assert await rig.get(content) == noise(size)
        before = gets(rig)
        await at_hand(rig)
        assert await rig.get(content) == await rig.chunks.whole(rig.keys, content.manifest, 0, size) == noise(size)
        assert gets(rig) == before


async def test_damage_at_hand_is_found_and_told_as_any_other(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(noise(4096))
        assert await rig.get(content) == noise(4096)
        await at_hand(rig)
        first = rig.chunks.packs._places[next(iter(rig.chunks.packs._places))][0].shards[0]
        number = [member.id for member in rig.chunks.stores].index(first.store_id)
        await rig.corrupt(number, at=0.3)
        assert await rig.get(content) == noise(4096)
        assert rig.chunks.counters.rebuilt_reads == 1
        assert rig.chunks.queues["damage"] == 1
        assert await rig.chunks.flush_damage() == 1


async def test_damage_at_hand_that_nothing_can_mend_is_an_error(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(noise(4096))
        await rig.get(content)
        await at_hand(rig)
        await rig.corrupt(0, at=0.3)
        with pytest.raises(CorruptShard):
            await rig.chunks.whole(rig.keys, content.manifest, 0, 4096)
