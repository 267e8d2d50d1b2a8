"""Garbage collection against concurrent uploads of the same content: thousands of histories.

A history is a sequence of steps of several uploads, readers and the collector, interleaved at every
point where they give way: after the lookup, after the durable write, before the commit. The model
knows which contents are referenced; after every step each of them must read back whole.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skep.durability.check import Checker
from skep.durability.options import Options
from skep.durability.records import Content
from skep.stores.protocol import Buffer
from skep.testing.durable import Rig, open_rig

EXAMPLES = int(os.environ.get("SKEP_HISTORIES", "60"))
BODIES = [bytes([65 + number]) * 300 for number in range(4)]


class Paused:
    """An upload that has made its content durable and has not committed it yet."""

    def __init__(self, body: bytes, content: Content, lease: object) -> None:
        self.body = body
        self.content = content
        self.lease = lease


class Histories(RuleBasedStateMachine):
    """Uploads, releases, readers, collection, repack and sweep in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp())
        self.context = open_rig(self.directory, options=Options(pack_bytes=64 << 10, threads=1))
        self.rig: Rig = self.loop.run_until_complete(self.context.__aenter__())
        self.referenced: list[tuple[bytes, Content]] = []
        self.paused: list[Paused] = []
        self.readers: list[tuple[bytes, AsyncIterator[bytes]]] = []

    def teardown(self) -> None:
        self.the_books_are_right()
        for _, reader in self.readers:
            self.run(reader.aclose())  # type: ignore[attr-defined]
        for each in self.paused:
            each.lease.__exit__(None, None, None)  # type: ignore[attr-defined]
        self.run(self.context.__aexit__(None, None, None))
        self.loop.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, awaitable: object) -> object:
        return self.loop.run_until_complete(awaitable)  # type: ignore[arg-type]

    @rule(body=st.sampled_from(BODIES))
    def begin_upload(self, body: bytes) -> None:
        lease = self.rig.chunks.writing()
        lease.__enter__()

        async def whole() -> AsyncIterator[Buffer]:
            yield body

        content = self.run(self.rig.chunks.write(self.rig.keys, whole()))
        assert isinstance(content, Content)
        self.paused.append(Paused(body, content, lease))

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def commit_upload(self, data: st.DataObject) -> None:
        upload = self.paused.pop(data.draw(st.integers(0, len(self.paused) - 1)))
        self.run(self.rig.reference(upload.content))  # never ChunkVanished: the lease protects it
        upload.lease.__exit__(None, None, None)  # type: ignore[attr-defined]
        self.referenced.append((upload.body, upload.content))

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def abandon_upload(self, data: st.DataObject) -> None:
        upload = self.paused.pop(data.draw(st.integers(0, len(self.paused) - 1)))
        upload.lease.__exit__(None, None, None)  # type: ignore[attr-defined]

    @precondition(lambda self: self.referenced)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        _, content = self.referenced.pop(data.draw(st.integers(0, len(self.referenced) - 1)))
        self.run(self.rig.release(content))

    @precondition(lambda self: self.referenced)
    @rule(data=st.data())
    def begin_read(self, data: st.DataObject) -> None:
        body, content = self.referenced[data.draw(st.integers(0, len(self.referenced) - 1))]

        async def held() -> AsyncIterator[bytes]:
            with self.rig.chunks.leases.hold():
                yield b""
                async for part in self.rig.chunks.read(self.rig.keys, content.manifest):
                    yield part

        reader = held()
        self.run(anext(reader))
        self.readers.append((body, reader))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def finish_read(self, data: st.DataObject) -> None:
        body, reader = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))

        async def rest() -> bytes:
            return b"".join([part async for part in reader])

        assert self.run(rest()) == body  # released and collected since, perhaps: the lease protects it

    @rule()
    def collect(self) -> None:
        self.run(self.rig.collector.step())

    @rule()
    def collect_all(self) -> None:
        self.run(self.rig.collector.run())

    @rule()
    def repack(self) -> None:
        self.run(self.rig.repacker.run())

    @rule()
    def sweep(self) -> None:
        assert self.run(self.rig.sweeper.run()) == 0  # nothing is garbage that no row knows

    @invariant()
    def everything_referenced_reads_back(self) -> None:
        for body, content in self.referenced:
            assert self.run(self.rig.get(content)) == body

    @rule()
    def the_books_are_right(self) -> None:
        checker = Checker(self.rig.db, self.rig.chunks, self.rig.clock, self.rig.uses)
        report = self.run(checker.run())
        assert report.clean, report.findings  # type: ignore[attr-defined]


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase


def test_an_empty_hive_is_empty(tmp_path: Path) -> None:
    """After the last release and a collection no shard is left."""

    async def story() -> None:
        async with open_rig(tmp_path) as rig:
            contents = [await rig.put(body) for body in BODIES]
            await rig.repacker.run()
            await rig.release(*contents)
            await rig.collector.run()
            assert await rig.keys_in_stores() == [[]]

    asyncio.run(story())
