"""Agents that lie: wrong bytes, old bytes, short answers, success without storing, forgetting. Reads stay right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from skep.base.errors import ObjectNotFound, SkepError, StoreUnavailable
from skep.stores.protocol import Buffer, ObjectInfo, Store
from skep.stores.wrappers.forward import ForwardingStore
from skep.testing.links import linked_pair
from skep.testing.stores import memory_store

from .conftest import Ground
from .test_agents import noise, shards_of


def flipped(shard: Path, other: bytes) -> None:
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw)


def of_another_pack(shard: Path, other: bytes) -> None:
    shard.write_bytes(other)


def cut_short(shard: Path, other: bytes) -> None:
    shard.write_bytes(shard.read_bytes()[:-1000])


def forgotten(shard: Path, other: bytes) -> None:
    shard.unlink()


@pytest.mark.parametrize("damage", [flipped, of_another_pack, cut_short, forgotten])
async def test_what_an_agents_disk_does_to_a_shard_is_found_and_mended(
    ground: Ground, damage: Callable[[Path, bytes], None]
) -> None:
    desk = ground.lend("desk")
    await ground.joined("desk", desk)
    await ground.put("/a", noise(3_000_000, 1))
    (shard,) = shards_of(desk.space)
    await ground.put("/b", noise(3_000_000, 2))
    (other,) = set(shards_of(desk.space)) - {shard}
    await desk.stop()
    good = shard.read_bytes()
    shard.chmod(0o600)
    damage(shard, other.read_bytes())
    await desk.connect()
    assert await ground.get("/a") == noise(3_000_000, 1)
    verdict = await ground.hive.hive.keepers.scrubber.run()
    assert verdict.missing + verdict.corrupt <= 1  # the read may have noticed, and told already
    await ground.hive.hive.chunks.flush_damage()
    assert await ground.hive.hive.keepers.repairer.run() == 1
    assert shard.read_bytes() == good
    assert (await ground.hive.hive.keepers.scrubber.run()).whole


class StoresNothing(ForwardingStore):
    """Says done and does nothing."""

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        pass


async def test_success_without_storing_is_found(ground: Ground) -> None:
    desk = ground.lend("desk")
    desk.wrap = StoresNothing
    await ground.joined("desk", desk)
    await ground.put("/a", noise(3_000_000))
    assert not shards_of(desk.space)
    assert await ground.get("/a") == noise(3_000_000)
    verdict = await ground.hive.hive.keepers.scrubber.run()
    assert verdict.good == 2
    assert verdict.missing + verdict.corrupt == 1


class Hangs(ForwardingStore):
    """A disk that does not answer."""

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_disk_that_hangs_slows_no_read(ground: Ground) -> None:
    desk = ground.lend("desk")
    desk.wrap = Hangs
    await ground.joined("desk", desk)
    for number in range(3):
        await ground.put(f"/{number}", noise(1_000_000, number))
    for number in range(3):
        assert await ground.get(f"/{number}") == noise(1_000_000, number)
    assert desk.link is not None
    assert desk.link.state == "connected"


class Untrue(ForwardingStore):
    """Gives other bytes than it has, whatever the range: fewer, or more."""

    def __init__(self, inner: Store, change: Callable[[bytes], bytes]) -> None:
        super().__init__(inner)
        self._change = change

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._change(await self.inner.get(key, offset, length))

    async def stat(self, key: str) -> ObjectInfo:
        return await self.inner.stat(key)


async def test_more_bytes_than_were_asked_for_are_an_error() -> None:
    store = Untrue(memory_store(), lambda value: value + b"more")
    async with linked_pair(store) as (linked, _):
        await linked.put("a", [b"content"])
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(linked.get("a", 0, 7), 5)


async def test_a_message_that_is_cut_short_is_an_error_and_no_value() -> None:
    def change(frame: bytes) -> bytes:
        return frame[:-3] if frame[0] == 0x12 else frame

    async with linked_pair(memory_store(), change=change) as (linked, _):
        await linked.put("a", [b"content"])
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(linked.get("a"), 5)


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    release = asyncio.Event()

    class Slow(ForwardingStore):
        async def put(self, key: str, parts: Sequence[Buffer]) -> None:
            await release.wait()
            await self.inner.put(key, parts)

    inner = memory_store()
    async with linked_pair(Slow(inner)) as (linked, answerer):
        putting = asyncio.create_task(linked.put("a", [bytes(3_000_000)]))
        while answerer.received_bytes != 3_000_000:
            await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert not linked.busy
        while answerer.busy:
            await asyncio.sleep(0)
        release.set()
        with pytest.raises(ObjectNotFound):
            await linked.get("a")
        await linked.put("a", [b"later"])
        assert await linked.get("a") == b"later"


async def test_when_the_link_is_cut_every_call_fails_and_later_ones_at_once() -> None:
    async with linked_pair(Hangs(memory_store())) as (linked, _):
        await linked.put("a", [b"x"])
        getting = asyncio.create_task(linked.get("a", 0, 1))
        while not linked.busy:
            await asyncio.sleep(0)
        linked.cut(StoreUnavailable("gone"))
        with pytest.raises(SkepError, match="gone"):
            await getting
        with pytest.raises(SkepError, match="gone"):
            await linked.stat("a")
