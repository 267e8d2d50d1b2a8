"""fsck: what is broken on purpose is found, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.chunks.manifest import ChunkRef, Manifest
from skep.db import schema as s
from skep.durability.check import Checker
from skep.durability.records import Content
from skep.testing.durable import Rig, open_rig

BODY = random.Random(1).randbytes(400_000)
_c, _p, _h = s.chunks.c, s.packs.c, s.shards.c

Break = Callable[[Rig], Awaitable[None]]


async def miscount_uses(rig: Rig) -> None:
    await rig.change(sa.update(s.chunks).values(refs=_c.refs + 1))


async def miscount_bytes(rig: Rig) -> None:
    await rig.change(sa.update(s.packs).values(live_bytes=_p.live_bytes + 1))


async def miscount_chunks(rig: Rig) -> None:
    await rig.change(sa.update(s.packs).values(chunk_count=_p.chunk_count + 1))


async def retire(rig: Rig) -> None:
    await rig.change(sa.update(s.packs).values(retired_us=1, retired_epoch=0))


async def drop_chunk_row(rig: Rig) -> None:
    await rig.change(sa.delete(s.chunks))


async def drop_pack_row(rig: Rig) -> None:
    await rig.change(sa.delete(s.packs))


async def drop_shard_row(rig: Rig) -> None:
    await rig.change(sa.delete(s.shards).where(_h.number == 2))


async def lose_shard(rig: Rig) -> None:
    await rig.wipe(1)


async def lose_two_shards(rig: Rig) -> None:
    await rig.wipe(1)
    await rig.wipe(2)


async def cut_shard(rig: Rig) -> None:
    store = next(iter(rig.stores.values()))
    for info in [each async for each in store.list("shards/")]:
        await store.put(info.key, [(await store.get(info.key))[:-1]])


async def rot(rig: Rig) -> None:
    await rig.corrupt(0)


async def mark_corrupt(rig: Rig) -> None:
    await rig.change(sa.update(s.shards).where(_h.number == 0).values(state="corrupt"))


async def point_elsewhere(rig: Rig) -> None:
    await rig.change(sa.update(s.chunks).values(offset=_c.offset + 1))


async def misstate_size(rig: Rig) -> None:
    await rig.change(sa.update(s.chunks).values(plain_bytes=_c.plain_bytes + 1))


async def test_a_hive_in_use_is_clean(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        contents = [await rig.put(random.Random(seed).randbytes(90_000)) for seed in range(5)]
        await rig.reference(contents[0])
        await rig.release(contents[1])
        for settle in (rig.collector.run, rig.repacker.run, rig.collector.run):
            report = await rig.check(read_data=True)
            assert report.clean, report.findings
            await settle()
        report = await rig.check(read_data=True)
        assert (report.manifests, report.chunks, report.packs, report.shards) == (5, 4, 1, 3)
        assert report.opened_chunks == 4
        assert report.read_bytes > 4 * 90_000


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (miscount_uses, "bookkeeping", "is used 1 times and its row says 2"),
        (miscount_bytes, "bookkeeping", "and its row says"),
        (miscount_chunks, "bookkeeping", "and its row says"),
        (retire, "bookkeeping", "is retired and 1 chunks lie in it"),
        (drop_chunk_row, "lost", "is used 1 times and has no row"),
        (drop_pack_row, "lost", "which has no row"),
        (drop_shard_row, "bookkeeping", "has 2 shard rows"),
        (lose_shard, "damaged", "is not on store 'd1'"),
        (lose_two_shards, "lost", "is not on store"),
        (cut_shard, "damaged", "and should have"),
        (mark_corrupt, "damaged", "is corrupt"),
    ],
)
async def test_each_kind_of_damage_is_found(tmp_path: Path, broken: Break, kind: str, message: str) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.put(BODY[:200_000])
        await broken(rig)
        report = await rig.check()
        assert not report.clean
        assert [finding for finding in report.findings if finding.kind == kind and message in finding.message]
        assert bool(report.lost_chunks) is (kind == "lost")


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (rot, "damaged", "has 1 corrupt shards"),
        (point_elsewhere, "lost", "cannot be read"),
        (misstate_size, "lost", "opens to other bytes"),
    ],
)
async def test_reading_finds_what_looking_does_not(tmp_path: Path, broken: Break, kind: str, message: str) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.put(BODY[:200_000])
        await broken(rig)
        assert (await rig.check()).clean
        report = await rig.check(read_data=True)
        assert [(each.kind, message in each.message) for each in report.findings] == [(kind, True)]


async def test_a_chunk_that_opens_to_other_bytes_is_found(tmp_path: Path) -> None:
    """A writer that lied about the id: everything is sealed well, only the id is of other bytes."""
    async with open_rig(tmp_path) as rig:
        kept = await rig.put(BODY[:1000])
        false_id = bytes(32)
        pack = await rig.chunks.room.checkout(rig.chunks.scheme)
        pack.builder.append(rig.keys, false_id, b"not what the id says", 3)
        rig.chunks.room.checkin(pack)
        await rig.chunks.room.settle([pack])
        await rig.reference(Content(Manifest(20, (ChunkRef(false_id, 20),)), 20))
        report = await rig.check(read_data=True)
        assert [each.subject for each in report.findings] == [false_id.hex()]
        assert "opens to other bytes" in report.findings[0].message
        assert await rig.get(kept) == BODY[:1000]


async def test_what_repair_can_mend_is_queued_and_the_next_run_is_clean(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.put(BODY)
        for broken in (lose_shard, cut_shard, rot):
            await broken(rig)
            checker_found = (await rig.check(read_data=True)).findings
            assert {each.kind for each in checker_found} == {"damaged"}
            assert await rig.repairer.run() == 1
            report = await rig.check(read_data=True)
            assert report.clean, report.findings
        ((degraded,),) = await rig.rows(sa.select(_p.degraded))
        assert degraded == 0


async def test_a_store_that_does_not_answer_is_named_and_not_marked(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.put(BODY)
        member = rig.chunks.stores.by_name("d0")
        kept, member.store = member.store, None
        report = await rig.check()
        assert report.unreachable_shards == len(report.findings) == 1
        assert await rig.repairer.backlog() == 0
        member.store = kept
        assert (await rig.check()).clean


async def test_a_pack_that_is_retired_meanwhile_is_of_no_concern(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        await rig.wipe(1)
        checker = Checker(rig.db, rig.chunks, rig.clock, rig.uses)
        stat = checker._stat

        async def retired_first(*arguments):
            # Between the page of packs and the look at this one, its content is given up and it is retired.
            await rig.change(sa.update(s.packs).values(retired_us=1, retired_epoch=0))
            return await stat(*arguments)

        checker._stat = retired_first
        report = await checker.run()
        assert [finding for finding in report.findings if finding.kind != "bookkeeping"] == []
        assert report.lost_chunks == set()
        assert content.size_bytes == len(BODY)


async def test_a_quick_check_reads_each_content_once(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        for body in (BODY, BODY[:1000], BODY):
            await rig.put(body)

        def pages(tx, after):
            return (list(rig.uses(tx)), ("objects", b"x")) if not after[1] else ([], None)

        async def quick():
            return await Checker(rig.db, rig.chunks, rig.clock, rig.uses).run_quick(pages)

        whole = await quick()
        assert (whole.clean, whole.manifests, whole.chunks) == (True, 3, whole.opened_chunks)
        assert 0 < whole.opened_chunks < 3 * len(BODY) // 1000
        await rig.wipe(1)
        assert (await quick()).clean  # one copy is left, and is what a download would have
        await rig.wipe(0)
        lost = await quick()
        assert {finding.kind for finding in lost.findings} == {"lost"}
        assert len(lost.lost_chunks) == whole.opened_chunks
