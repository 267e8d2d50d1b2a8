"""One bit, anywhere: in each field of a shard, and in each field of the pack inside it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import CorruptChunk
from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, HEADER_BYTES
from skep.chunks.pack import TRAILER_BYTES, Pack, index_tail_size
from skep.chunks.scheme import Scheme
from skep.chunks.seal import NONCE_BYTES, SEAL_OVERHEAD_BYTES, TAG_BYTES
from skep.chunks.shard import encode_shards
from skep.db import schema as s
from skep.durability.records import shard_key
from skep.stores.protocol import Store
from skep.testing.durable import Rig, open_rig, recovered_rig

BODY = random.Random(8).randbytes(700_000)
CHUNK_HEADER_BYTES = SEAL_OVERHEAD_BYTES - NONCE_BYTES - TAG_BYTES

SHARD_FIELDS = {
    "magic": 0,
    "version": 4,
    "k": 5,
    "m": 6,
    "number": 7,
    "pack size": 8,
    "pack id": 16,
    "header hash, first": 48,
    "header hash, last": HEADER_BYTES - 1,
    "payload, first": HEADER_BYTES,
    "payload, last of a block": HEADER_BYTES + BLOCK_BYTES - 1,
    "block hash, first": HEADER_BYTES + BLOCK_BYTES,
    "block hash, last": HEADER_BYTES + BLOCK_BYTES + HASH_BYTES - 1,
    "second block": HEADER_BYTES + BLOCK_BYTES + HASH_BYTES,
    "last block hash": -1,
}


async def the_pack(rig: Rig) -> tuple[bytes, int]:
    ((pack_id, size),) = await rig.rows(sa.select(s.packs.c.id, s.packs.c.size_bytes))
    return pack_id, size


async def flip(store: Store, key: str, at: int) -> bytes:
    """Flip one bit; gives the value before."""
    before = await store.get(key)
    damaged = bytearray(before)
    damaged[at] ^= 0x01
    await store.put(key, [damaged])
    return before


@pytest.mark.parametrize("name", ["ec(2,1)", "raid1(2)"])
async def test_in_a_shard_it_is_noticed_and_repaired(tmp_path: Path, name: str) -> None:
    total = Scheme.parse(name).total
    async with open_rig(tmp_path, name, stores=total) as rig:
        content = await rig.put(BODY)
        for store in rig.stores.values():
            (key,) = [info.key async for info in store.list("shards/")]
            for field, at in SHARD_FIELDS.items():
                before = await flip(store, key, at)
                assert await rig.get(content) == BODY, field
                verdict = await rig.scrubber.run()
                assert (verdict.corrupt, verdict.good) == (1, total - 1), field
                assert await rig.repairer.run() == 1, field
                assert await store.get(key) == before, field
                assert (await rig.scrubber.run()).whole, field


async def first_copy_damaged(rig: Rig, at: int) -> None:
    for store in rig.stores.values():
        (key,) = [info.key async for info in store.list("shards/")]
        if key.endswith(".0"):
            await flip(store, key, at)


@pytest.mark.parametrize("field", ["payload, first", "payload, last of a block", "second block"])
async def test_a_reader_notices_it_too(tmp_path: Path, field: str) -> None:
    """A chunk that does not open is read again block by block: the blame falls on one shard, and it is counted once."""
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        await first_copy_damaged(rig, SHARD_FIELDS[field])
        assert await rig.get(content) == BODY
        assert await rig.chunks.flush_damage() == 1
        assert (rig.chunks.counters.rebuilt_reads, rig.chunks.counters.damaged_shards) == (1, 1)
        assert await rig.repairer.run() == 1
        assert (await rig.scrubber.run()).whole


@pytest.mark.parametrize("field", ["block hash, first", "block hash, last", "last block hash"])
async def test_a_reader_of_good_chunks_needs_no_block_hashes(tmp_path: Path, field: str) -> None:
    """Nor the header's word, which it has from the database. Scrubbing finds what is wrong with them."""
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        await first_copy_damaged(rig, SHARD_FIELDS[field])
        assert await rig.get(content) == BODY
        assert await rig.chunks.flush_damage() == 0
        assert (await rig.scrubber.run()).corrupt == 1
        assert await rig.repairer.run() == 1
        assert (await rig.scrubber.run()).whole


@pytest.mark.parametrize("field", list(SHARD_FIELDS))
async def test_repair_notices_it_in_what_it_reads(tmp_path: Path, field: str) -> None:
    """Two shards are wanted and one of the others is damaged: nothing is made of it, and it is mended as well."""
    async with open_rig(tmp_path, "ec(2,3)", stores=5) as rig:
        content = await rig.put(BODY)
        for number in (0, 1):
            await rig.wipe(number)
        damaged = list(rig.stores.values())[2]
        (key,) = [info.key async for info in damaged.list("shards/")]
        before = await flip(damaged, key, SHARD_FIELDS[field])
        assert (await rig.scrubber.run()).missing == 2  # it finds the flipped one, too, unless that is hidden from it
        await rig.change(sa.update(s.shards).where(s.shards.c.state == "corrupt").values(state="ok"))
        for member in rig.chunks.stores:  # the damaged one seems quickest, so it is asked
            member.latency_s = 0.001 if member.url == list(rig.stores)[2] else 0.1
        for _ in range(2):
            await rig.repairer.hurry()
            await rig.repairer.run()
        assert await damaged.get(key) == before
        assert (await rig.scrubber.run()).whole
        assert await rig.get(content) == BODY


def pack_fields(chunk_bytes: int, pack_bytes: int, tail_bytes: int) -> dict[str, int]:
    """Where each field of a pack with one chunk lies."""
    index = pack_bytes - tail_bytes
    return {
        "chunk magic": 0,
        "chunk codec": 3,
        "chunk cipher": 4,
        "key generation": CHUNK_HEADER_BYTES - 1,
        "nonce": CHUNK_HEADER_BYTES,
        "payload, first": CHUNK_HEADER_BYTES + NONCE_BYTES,
        "payload, last": chunk_bytes - TAG_BYTES - 1,
        "tag": chunk_bytes - 1,
        "index header": index,
        "index": index + tail_bytes // 2,
        "index tag": pack_bytes - TRAILER_BYTES - 1,
        "index size": pack_bytes - TRAILER_BYTES,
        "trailer version": pack_bytes - TRAILER_BYTES + 4,
        "trailer zeros": pack_bytes - TRAILER_BYTES + 6,
        "trailer magic": pack_bytes - 1,
    }


async def test_in_a_pack_it_is_noticed_wherever_its_shards_put_it_and_repaired(tmp_path: Path) -> None:
    body = BODY[:90_000]
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(body)
        _, size = await the_pack(rig)
        store = next(iter(rig.stores.values()))
        (key,) = [info.key async for info in store.list("shards/")]
        whole = (await store.get(key))[HEADER_BYTES:][:size]
        for field, at in pack_fields(*await sizes(rig, whole)).items():
            before = await flip(store, key, HEADER_BYTES + at)
            assert await rig.get(content) == body, field
            assert (await rig.scrubber.run()).corrupt == 1, field
            assert await rig.repairer.run() == 1, field
            assert await store.get(key) == before, field


async def sizes(rig: Rig, whole: bytes) -> tuple[int, int, int]:
    """Of the one chunk, the pack, and its index with trailer."""
    ((chunk,),) = await rig.rows(sa.select(s.chunks.c.size_bytes))
    return chunk, len(whole), index_tail_size(whole[-TRAILER_BYTES:])


async def test_before_it_was_coded_the_seals_notice_it(tmp_path: Path) -> None:
    """Shards that are as they were made, of a pack that was not: bad memory while it was written."""
    body = BODY[:90_000]
    async with open_rig(tmp_path, "none") as rig:
        content = await rig.put(body)
        await rig.snapshotter.take()
        await rig.change(sa.delete(s.repairs))
        pack_id, size = await the_pack(rig)
        store = next(iter(rig.stores.values()))
        key = shard_key(pack_id, 0)
        whole = (await store.get(key))[HEADER_BYTES:][:size]
        assert size < BLOCK_BYTES
        for field, at in pack_fields(*await sizes(rig, whole)).items():
            damaged = bytearray(whole)
            damaged[at] ^= 0x01
            (shard,) = encode_shards(rig.chunks.shard_key, Pack(pack_id, memoryview(damaged)), rig.chunks.scheme)
            await store.put(key, shard.parts)
            assert (await rig.scrubber.run()).whole, field
            report = await rig.check(read_data=True)
            (finding,) = report.findings
            if at < size - index_tail_size(whole[-TRAILER_BYTES:]):
                with pytest.raises(CorruptChunk):
                    await rig.get(content)
                assert finding.kind == "lost", field
            else:
                assert await rig.get(content) == body, field
                assert (finding.kind, "index" in finding.message) == ("damaged", True), field


async def test_a_pack_without_a_good_index_is_told_at_recovery(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none") as rig:
        await rig.snapshotter.take()
        await rig.put(BODY[:90_000])
        pack_id, size = await the_pack(rig)
        store = next(iter(rig.stores.values()))
        key = shard_key(pack_id, 0)
        damaged = bytearray((await store.get(key))[HEADER_BYTES:][:size])
        damaged[size - 40] ^= 1
        (shard,) = encode_shards(rig.chunks.shard_key, Pack(pack_id, memoryview(damaged)), rig.chunks.scheme)
        await store.put(key, shard.parts)
        rig.held.clear()
        (tmp_path / "new").mkdir()
        async with recovered_rig(rig, tmp_path / "new", rig.stores) as (_, result):
            assert result.packs_added == 0
            assert pack_id.hex() in result.unreadable[0]
