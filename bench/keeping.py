"""Content over several stores when some are down or slow, what it takes at rest, and what repair does to readers.

The chunk service of a hive in this process, over directories of the disk that is measured; in front of each a wrapper
that counts calls and may be told to fail or to be slow (``stores/wrappers/fault.py``). No HTTP: it would hide the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import material
from bench.figures import Figure, Row, median
from bench.plan import GIB, MIB, Plan
from skep.base.clock import SystemClock
from skep.base.ids import new_id
from skep.base.workers import Progress
from skep.chunks.pack import Pack
from skep.chunks.scheme import Scheme
from skep.chunks.shard import encode_shards
from skep.crypto.keys import DomainKeys, MasterKey
from skep.db import Database, migrate
from skep.durability.collect import Collector
from skep.durability.options import Options
from skep.durability.records import Content
from skep.durability.repack import Repacker
from skep.durability.repair import Repairer
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.durability.sweep import Sweeper
from skep.stores.protocol import Store
from skep.stores.registry import open_store
from skep.stores.stack import stacked
from skep.stores.wrappers.fault import Fault, FaultStore, Kind

SCHEME = "ec(4,2)"
K, M = 4, 2
HIVE_ID = bytes(16)
SLOW_S = 2.0
READ_BYTES = MIB
PIECE_BYTES = MIB
PACK_BYTES = 16 * MIB
CODED_PACKS = 24
READS_ALONE = 12
AGAIN = 4
"""How many times as often the worst pair is measured again: the least of many noisy ratios says little."""
GONE = Fault("any", Kind.GONE, times=None)
SLOW = Fault("any", Kind.SLOW, times=None, delay_s=SLOW_S)


@dataclass
class Kept:
    """A chunk service over directories."""

    db: Database
    chunks: ChunkService
    keys: DomainKeys
    clock: SystemClock
    place: Path
    faults: list[FaultStore] = field(default_factory=list)

    async def put(self, parts: Callable[[], AsyncIterator[bytes]]) -> Content:
        """Write and reference a content."""
        with self.chunks.writing():
            content = await self.chunks.write(self.keys, parts())
            await self.db.write(lambda tx: self.chunks.reference(tx, self.keys.domain_id, [content.manifest]))
        return content

    async def get(self, content: Content) -> float:
        """Read a content; seconds."""
        began_s, size_bytes = time.perf_counter(), 0
        async for part in self.chunks.read(self.keys, content.manifest):
            size_bytes += len(part)
        assert size_bytes == content.size_bytes
        return time.perf_counter() - began_s

    def well(self) -> None:
        """All stores answer again, and are known to."""
        for fault in self.faults:
            fault.heal()
        for member in self.chunks.stores:
            member.failures, member.down_until_s, member.error = 0, float("-inf"), None

    def calls(self, verb: str) -> list[int]:
        """Calls of a verb that each store has seen."""
        return [sum(each == verb for each, _ in fault.calls) for fault in self.faults]

    def forget_calls(self) -> None:
        """Count anew."""
        for fault in self.faults:
            fault.calls.clear()


@asynccontextmanager
async def kept(place: Path, stores: int, scheme: str = SCHEME) -> AsyncIterator[Kept]:
    """A new one over ``stores`` directories."""
    place.mkdir()
    url, clock, master, faults = f"sqlite:///{place}/skep.db", SystemClock(), MasterKey.create(), list[FaultStore]()
    migrate(url)
    db = await Database.open(url, clock=clock)

    def opened(url: str, secret: bytes | None) -> Store:
        faults.append(FaultStore(open_store(url, secret=secret), clock=clock))
        return stacked(faults[-1], clock=clock, random=random.Random(1))

    members = StoreSet(db, master.hive_keys(), HIVE_ID, opened, clock=clock)
    for number in range(stores):
        (place / f"disk{number}").mkdir()
        await members.add(f"disk{number}", f"fs://{place}/disk{number}", f"zone{number}")
    chunks = ChunkService(db, members, master, Options())
    await chunks.start()
    await chunks.set_scheme(Scheme.parse(scheme))
    domain_id = await db.write(lambda tx: chunks.create_domain(tx, new_id()))
    try:
        yield Kept(db, chunks, await chunks.domain(domain_id), clock, place, faults)
    finally:
        await chunks.close()
        await members.close()
        await db.close()


def noise(size_bytes: int) -> Callable[[], AsyncIterator[bytes]]:
    """Bytes that neither compress nor repeat."""

    async def parts() -> AsyncIterator[bytes]:
        for piece in material.noise(size_bytes):
            yield piece

    return parts


def keeping(plan: Plan) -> list[Row]:
    """All of it."""
    import uvloop

    rows: list[Row] = []
    for measure in (_losses, _one_slow, _at_rest, _small_files, _repairing):
        with plan.room() as place, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows += runner.run(measure(plan, place))
    return rows


async def _losses(plan: Plan, place: Path) -> list[Row]:
    """Reads of one file with every two of six stores gone, each beside a healthy read; the worst pair once more."""
    size_bytes = max(64 * MIB, plan.parallel_bytes // 4)
    pairs = list(itertools.combinations(range(K + M), M))
    async with kept(place / "hive", K + M) as hive:
        content = await hive.put(noise(size_bytes))
        await hive.get(content)
        chosen = pairs if plan.rounds > 1 else pairs[::5]
        ratios = {pair: (await _without(hive, content, pair, plan.rounds))[0] for pair in chosen}
        worst = min(ratios, key=lambda pair: ratios[pair])
        again, healthy_s = await _without(hive, content, worst, AGAIN * plan.rounds)
    detail = (
        f"{len(ratios)} pairs of stores, {size_bytes / MIB:.0f} MiB, healthy {size_bytes / healthy_s / 1e6:.0f} MB/s; "
    )
    detail += f"median of the pairs {median(list(ratios.values())):.2f}x; the worst, {worst}, measured again"
    return [Figure("reads with any 2 of 6 stores gone, of healthy speed", again, "x", detail, at_least=0.5)]


async def _without(hive: Kept, content: Content, gone: Sequence[int], rounds: int) -> tuple[float, float]:
    """Speed of reads without these stores over their speed with all; seconds of the latter."""
    healthy, down = list[float](), list[float]()
    for _ in range(rounds):
        hive.well()
        healthy.append(await hive.get(content))
        for number in gone:
            hive.faults[number].script(GONE)
        await hive.get(content)  # the first reader finds out
        down.append(await hive.get(content))
    return median(healthy) / median(down), median(healthy)


async def _one_slow(plan: Plan, place: Path) -> list[Row]:
    """Latency of reads of 1 MiB with one store at 2 s, and without."""
    count = 400 if plan.rounds > 1 else 60
    async with kept(place / "hive", K + M) as hive:
        contents = [await hive.put(noise(READ_BYTES)) for _ in range(count)]
        for content in contents:
            await hive.get(content)
        healthy, slow = list[float](), list[float]()
        for _ in range(plan.rounds):
            hive.well()
            healthy += [await hive.get(content) for content in contents]
            hive.faults[0].script(SLOW)
            slow += [await hive.get(content) for content in contents]
    detail = f"p99 {_p99(slow) * 1e3:.1f} against {_p99(healthy) * 1e3:.1f} ms, worst {max(slow) * 1e3:.0f} ms; "
    detail += f"{len(slow)} reads one by one of {count} files, each in a pack of its own"
    return [
        Figure("p99 of 1 MiB reads, one store at 2 s, over healthy", _p99(slow) / _p99(healthy), "x", detail, at_most=3)
    ]


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def _at_rest(plan: Plan, place: Path) -> list[Row]:
    """What stores hold of full packs, over (k + m) / k of the content."""
    size_bytes = max(plan.parallel_bytes // 2, 64 * MIB)
    async with kept(place / "hive", K + M) as hive:
        await hive.put(noise(size_bytes))
        stored = sum([info.size_bytes for fault in hive.faults async for info in fault.inner.list("shards/")])
    ideal = (K + M) / K
    detail = f"{stored} bytes in the stores for {size_bytes} of noise, {SCHEME}; hashes, headers, tags and the index"
    return [Figure("overhead at rest, over (k + m) / k", stored / size_bytes / ideal, "x", detail, at_most=1.02)]


async def _small_files(plan: Plan, place: Path) -> list[Row]:
    """Objects and listing calls of each store for many small files."""
    few, many = (500, 2_000) if plan.rounds == 1 else (2_500, 10_000)
    listings, objects, before = {}, {}, {}
    for count in (few, many):
        async with kept(place / f"hive{count}", K + M) as hive:
            bodies = [random.Random(seed).randbytes(4096) for seed in range(count)]
            for start in range(0, count, 100):
                with hive.chunks.writing():
                    made = await hive.chunks.write_many(hive.keys, bodies[start : start + 100])
                    manifests = [content.manifest for content in made]
                    await hive.db.write(lambda tx, m=manifests: hive.chunks.reference(tx, hive.keys.domain_id, m))  # type: ignore[misc]
            before[count] = await _most_objects(hive)
            await Repacker(hive.db, hive.chunks, hive.clock, dead_ratio=0.4, age_s=0.0).run()
            await Collector(hive.db, hive.chunks, hive.clock, 0.0).run()
            objects[count] = await _most_objects(hive)
            hive.forget_calls()
            await Sweeper(hive.db, hive.chunks, hive.clock, 0.0).run()
            listings[count] = max(hive.calls("list"))
    how = f"of 4 KiB, a hundred at a time; before repack {before[many]}"
    return [
        Figure(f"objects of a store, {many} small files, after repack", objects[many], "", how, at_most=20),
        Figure(
            f"listing calls of a store for a sweep, {many} files",
            listings[many],
            "",
            f"{listings[few]} for {few} files: pages of packs' shards, whatever the files",
            at_most=listings[few],
        ),
    ]


async def _most_objects(hive: Kept) -> int:
    return max([len([info async for info in fault.inner.list("shards/")]) for fault in hive.faults])


async def _repairing(plan: Plan, place: Path) -> list[Row]:
    """Repair after the loss of one of seven stores: its speed alone, and readers' speed beside it."""
    size_bytes = 10 * 10**9 if plan.file_bytes >= 4 * GIB else max(64 * MIB, plan.parallel_bytes)
    coding = [_coding_speed() for _ in range(plan.rounds)]
    speeds, slowed, shares = list[float](), list[float](), list[str]()
    for number in range(plan.rounds):
        async with kept(place / f"hive{number}", K + M + 1) as hive:
            await hive.put(noise(size_bytes))
            reader = await hive.put(noise(64 * MIB))
            speeds.append(await _repaired(hive, number))
            ratio, share = await _beside(hive, reader, number + 1)
            slowed.append(ratio)
            shares.append(share)
        await asyncio.to_thread(os.sync)
    detail = f"{median(speeds) / 1e6:.0f} MB/s of packs, {size_bytes / MIB:.0f} MiB in all; coding alone (parity and "
    detail += f"hashes of all shards, one thread) {median(coding) / 1e6:.0f} MB/s"
    return [
        Figure(
            "repair of a lost store, of plain coding speed", median(speeds) / median(coding), "x", detail, at_least=0.5
        ),
        Figure("foreground reads beside a repair, of their speed", median(slowed), "x", shares[-1], at_least=0.75),
    ]


def _coding_speed() -> float:
    """Bytes of packs a second that become shards in memory, in one thread."""
    key, scheme, data = os.urandom(32), Scheme.parse(SCHEME), os.urandom(PACK_BYTES)
    began_s = time.perf_counter()
    for number in range(CODED_PACKS):
        pack = Pack(number.to_bytes(32, "big"), memoryview(data))
        encode_shards(key, pack, scheme)
        pack.release()
    return CODED_PACKS * PACK_BYTES / (time.perf_counter() - began_s)


async def _repaired(hive: Kept, number: int) -> float:
    """Lose a store, repair; bytes of the packs concerned a second."""
    repairer, packs = await _lose(hive, number)
    began_s = time.perf_counter()
    while (await repairer.run_once(Progress())).more_work:
        pass
    return packs * PACK_BYTES / (time.perf_counter() - began_s)


async def _lose(hive: Kept, number: int) -> tuple[Repairer, int]:
    members = list(hive.chunks.stores)
    for member in members:
        await hive.chunks.stores.set_state(member, "active")
    packs = len([info async for info in hive.faults[number].inner.list("shards/")])
    await hive.chunks.stores.set_state(members[number], "lost")
    return Repairer(hive.db, hive.chunks, hive.clock, 3600.0), packs


async def _beside(hive: Kept, reader: Content, number: int) -> tuple[float, str]:
    """Speed of reads beside a repair over their speed without, and how they were."""
    alone = [await hive.get(reader) for _ in range(READS_ALONE)]
    repairer, packs = await _lose(hive, number)
    over, beside = False, list[float]()

    async def repair() -> None:
        nonlocal over
        while (await repairer.run_once(Progress())).more_work:
            pass
        over = True

    began_s = time.perf_counter()
    task = asyncio.create_task(repair())
    while not over:
        beside.append(await hive.get(reader))
    await task
    repair_s = time.perf_counter() - began_s
    rates = [reader.size_bytes / median(times) / 1e6 for times in (beside, alone)]
    shown = f"{rates[0]:.0f} against {rates[1]:.0f} MB/s, medians of {len(beside)} and {len(alone)} reads of 64 MiB; "
    return rates[0] / rates[1], shown + f"{packs} packs repaired meanwhile in {repair_s:.0f} s"
