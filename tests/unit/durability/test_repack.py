"""Repack: what is worth it, and that it ends."""

from __future__ import annotations

import random
from pathlib import Path

from skep.chunks.scheme import Scheme
from skep.durability.repack import Source, choose
from skep.testing.durable import open_rig

NONE, MIRROR = Scheme.parse("none"), Scheme.parse("raid1(2)")
MIB = 1 << 20


def source(name: int, size: int, live: int, chunks: int = 1, scheme: Scheme = NONE) -> Source:
    return Source(bytes([name]) * 32, scheme, size, live, chunks)


def test_full_packs_are_left_alone() -> None:
    assert choose([source(1, 16 * MIB, 15 * MIB), source(2, 15 * MIB, 12 * MIB)], 16 * MIB, 0.4) == []


def test_a_wasteful_pack_is_rewritten_alone() -> None:
    packs = [source(1, 16 * MIB, 2 * MIB)]
    assert choose(packs, 16 * MIB, 0.4) == packs


def test_one_small_pack_waits_for_company_of_its_scheme() -> None:
    small = [source(1, 10_000, 9_000), source(2, 10_000, 9_000, scheme=MIRROR)]
    assert choose(small, 16 * MIB, 0.4) == []
    pair = [*small, source(3, 20_000, 19_000, scheme=MIRROR)]
    assert choose(pair, 16 * MIB, 0.4) == [pair[1], pair[2]]


def test_what_does_not_fit_waits() -> None:
    packs = [source(number, 4 * MIB, 4 * MIB - 1000) for number in range(6)]
    assert len(choose(packs, 16 * MIB, 0.4)) == 3


async def test_many_small_packs_become_few_and_it_ends(tmp_path: Path) -> None:
    bodies = [random.Random(seed).randbytes(seed * 40) for seed in range(60)]
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        contents = [await rig.put(body) for body in bodies]
        gone = contents[::3]
        await rig.release(*gone)
        await rig.collector.run()
        assert (await rig.repacker.run()).packs > 30
        assert (await rig.repacker.step(0)).packs == 0
        await rig.collector.run()
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1, 1]
        for number, (body, content) in enumerate(zip(bodies, contents, strict=True)):
            if number % 3:
                assert await rig.get(content) == body
