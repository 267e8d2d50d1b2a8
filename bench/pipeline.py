"""The pipeline without a disk: what a chunk service moves in and out, and what each stage costs the processor."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import uvloop

from bench import pipeline_stages
from bench.figures import Figure, Row, median
from bench.material import noise
from bench.plan import MIB, Plan
from bench.processes import Cost, cost_of, run
from skep.base.clock import SystemClock
from skep.base.ids import new_id
from skep.crypto.keys import DomainKeys, MasterKey
from skep.db import Database, migrate
from skep.durability.records import Content
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.stores.drivers.memory import MemoryStore
from skep.stores.protocol import Buffer, Store
from skep.stores.registry import open_store

PIECE_BYTES = 256 << 10
HEAP_BYTES = 256 * MIB
SHARD_BYTES = 16 * MIB
STAGES = {
    "split (256 KiB pieces)": "split",
    "id": "hash (chunk id)",
    "compress probe (noise)": "compress (probe only)",
    "zstd 3 (text)": "compress (text, zstd 3)",
    "seal into packs, close (no probe)": "seal into packs",
    "encode none": "code none (block hashes)",
    "encode ec(4,2)": "code ec(4,2)",
    "verify none": "out: verify blocks",
    "open": "out: open chunks",
}


class DropStore(MemoryStore):
    """Takes everything and keeps nothing: a disk of endless speed."""

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Look at the length and forget the rest."""
        assert sum(len(part) for part in parts)


def pipeline(plan: Plan) -> list[Row]:
    """Rates of the whole pipeline in memory, and processor time of each stage."""
    with plan.room() as place:
        heap = b"".join(noise(min(HEAP_BYTES, plan.pipeline_bytes)))
        moved_in = partial(_moved_in, heap=heap, size_bytes=plan.pipeline_bytes)
        moved_out = partial(_moved_out, heap=heap)
        into = [_in_service(place / f"in-{number}", DropStore(), moved_in) for number in range(plan.rounds)]
        out = [_in_service(place / f"out-{number}", MemoryStore(), moved_out) for number in range(plan.rounds)]
        rows: list[Row] = [
            _rate("pipeline in, memory store", plan.pipeline_bytes, into, 400),
            _rate("pipeline out, memory store", len(heap), out, 600),
        ]
        received = _receive(plan)
        written = asyncio.run(_written(place, plan))
    rows.append(_stage("receive (HTTP server alone)", received, plan.pipeline_bytes))
    rows += _stages(plan)
    rows.append(_stage("write (fs store, 16 MiB shards)", written, plan.pipeline_bytes))
    return rows


def _rate(name: str, size: int, costs: list[Cost], target: float) -> Figure:
    detail = sum(costs, Cost()).per_gb(size * len(costs))
    return Figure(name, size / median([cost.wall_s for cost in costs]) / 1e6, "MB/s", detail, at_least=target)


def _stage(name: str, cost: Cost, size: int) -> Figure:
    return Figure(f"  stage: {name}", cost.processor_s / size * 1e9, "s/GB", cost.per_gb(size))


class _Service:
    """A chunk service, and one domain in it."""

    def __init__(self, db: Database, chunks: ChunkService) -> None:
        self.db = db
        self.chunks = chunks

    async def put(self, keys: DomainKeys, stream: AsyncIterator[Buffer]) -> Content:
        """Write and reference a content."""
        with self.chunks.writing():
            content = await self.chunks.write(keys, stream)
            await self.db.write(lambda tx: self.chunks.reference(tx, keys.domain_id, [content.manifest]))
        return content

    async def keys(self) -> DomainKeys:
        """A new domain, which has nothing yet."""
        return await self.chunks.domain(await self.db.write(lambda tx: self.chunks.create_domain(tx, new_id())))


def _in_service(place: Path, store: Store, work: Callable[[_Service], Awaitable[Cost]]) -> Cost:
    """Run work over a chunk service of its own, in the loop that the server uses."""

    async def opened() -> Cost:
        place.mkdir()
        url = f"sqlite:///{place}/bench.db"
        migrate(url)
        db = await Database.open(url, clock=SystemClock())
        master = MasterKey.create()
        stores = StoreSet(db, master.hive_keys(), new_id(), lambda url, secret: store)
        chunks = ChunkService(db, stores, master)
        try:
            await stores.add("memory", "memory:", "memory")
            await chunks.start()
            return await work(_Service(db, chunks))
        finally:
            await chunks.close()
            await stores.close()
            await db.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(opened())


async def _pieces(heap: bytes) -> AsyncIterator[Buffer]:
    with memoryview(heap) as view:
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]


async def _moved_in(service: _Service, heap: bytes, size_bytes: int) -> Cost:
    """Write the heap as often as the size asks for, into a new domain each time: nothing is known before."""
    domains = [await service.keys() for _ in range(-(-size_bytes // len(heap)))]
    before = cost_of(os.getpid())
    for keys in domains:
        await service.put(keys, _pieces(heap))
    return cost_of(os.getpid()) - before


async def _moved_out(service: _Service, heap: bytes) -> Cost:
    keys = await service.keys()
    content = await service.put(keys, _pieces(heap))
    before, size = cost_of(os.getpid()), 0
    async for part in service.chunks.read(keys, content.manifest):
        size += len(part)
    assert size == len(heap)
    return cost_of(os.getpid()) - before


def _receive(plan: Plan) -> Cost:
    """What the HTTP server and the loop cost without a hive behind: the body is taken and dropped."""
    process = subprocess.Popen([sys.executable, "-m", "bench.sink"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        before = cost_of(process.pid)
        run([sys.executable, "-m", "bench.client", "noise", f"{url}/?", "--bytes", str(plan.pipeline_bytes)])
        return cost_of(process.pid) - before
    finally:
        process.terminate()
        process.wait()


async def _written(place: Path, plan: Plan) -> Cost:
    """What the fs store costs for shards of a full pack, two at once."""
    (place / "store").mkdir()
    store = open_store(f"fs://{place}/store")
    shard = b"".join(noise(SHARD_BYTES))
    count = plan.pipeline_bytes // SHARD_BYTES
    before, began_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    numbers = iter(range(count))

    async def writer() -> None:
        for number in numbers:
            await store.put(f"shards/{number:064x}.0", [shard])

    await asyncio.gather(writer(), writer())
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_SELF)
    await store.close()
    return Cost(
        wall_s, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_minflt - before.ru_minflt
    )


def _stages(plan: Plan) -> list[Row]:
    """Processor time of each stage alone, as ``pipeline_stages`` measures it."""
    megabytes = max(8, min(64, plan.pipeline_bytes // MIB))
    rows: list[Row] = []
    for name, size, work in pipeline_stages.stages(megabytes):
        if name in STAGES:
            rows.append(
                Figure(f"  stage: {STAGES[name]}", pipeline_stages.measure(work, plan.rounds) / size * 1e9, "s/GB")
            )
    return rows
