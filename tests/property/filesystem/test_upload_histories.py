"""Uploads against a plain model: histories of opening, sending, breaking, joining, giving up and waiting.

The collector runs in between without grace, so that what an upload forgets to reference is gone at once.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skep.base.errors import ClientGone, OffsetMismatch, UploadNotFound
from skep.base.workers import Progress
from skep.chunks.manifest import Manifest
from skep.db import prepared
from skep.db import schema as s
from skep.durability.collect import Collector
from skep.filesystem import Draft, Limits, UploadExpiry
from skep.server.uses import uses_of_chunks
from skep.testing.files import open_files, pieces

KIB = 1 << 10
NOISE = random.Random(11).randbytes(3 << 20)
SIZES = st.sampled_from([0, 1, 100, 300 * KIB, 700 * KIB])
STARTS = st.integers(0, 2 << 20)
CHUNKS = prepared(sa.select(s.chunks.c.domain_id, s.chunks.c.id, s.chunks.c.refs).where(s.chunks.c.refs > 0))
KEPT_S = 1_000


class Model:
    """One upload as it should be."""

    def __init__(self, upload, path):
        self.upload = upload
        self.path = path
        self.row = b""
        self.parts = {}
        self.opened = True

    @property
    def held(self):
        return len(self.row) + sum(map(len, self.parts.values()))


class UploadHistories(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.place = tempfile.TemporaryDirectory()
        limits = Limits(step_bytes=256 * KIB, upload_kept_us=KEPT_S * 1_000_000)
        self.bench = self.run(self.stack.enter_async_context(open_files(Path(self.place.name), limits)))
        self.ada = self.run(self.bench.user("ada"))
        self.files = {}
        self.models = []
        self.number = 0

    def teardown(self):
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
            self.loop.close()
            self.place.cleanup()

    def run(self, doing):
        return self.loop.run_until_complete(doing)

    @property
    def filesystem(self):
        return self.bench.filesystem

    @rule(in_parts=st.booleans(), has_path=st.booleans())
    def open(self, in_parts, has_path):
        self.number += 1
        path = f"/{self.number}" if has_path or in_parts else None
        draft = Draft(door="s3" if in_parts else "tus", path=path)
        model = Model(self.run(self.filesystem.open_upload(self.ada, None, draft)), path)
        model.in_parts = in_parts
        self.models.append(model)

    def choose(self, chance, *, in_parts):
        found = [one for one in self.models if one.opened and one.in_parts == in_parts]
        return found[chance % len(found)] if found else None

    @rule(chance=st.integers(0, 99), start=STARTS, size=SIZES, breaks=st.booleans(), last=st.booleans())
    def append(self, chance, start, size, breaks, last):
        model = self.choose(chance, in_parts=False)
        if model is None or (last and model.path is None):
            return
        body = NOISE[start : start + size]

        async def stream():
            async for piece in pieces(body, 100 * KIB):
                yield piece
            if breaks:
                raise ClientGone("gone")

        got = self.run(self.filesystem.append(self.ada, "tus", model.upload.id, len(model.row), stream(), last=last))
        model.row += body
        assert (got.broken is not None) == breaks
        assert got.upload.offset_bytes == len(model.row)
        if last and not breaks:
            self.ended(model, got.written)

    def ended(self, model, written):
        body = model.row if not model.in_parts else b"".join(body for _, body in sorted(model.parts.items()))
        self.files[written.node.path] = body
        model.row, model.parts, model.opened = b"", {}, False

    @rule(chance=st.integers(0, 99), wrong=st.integers(1, 1000))
    def append_elsewhere(self, chance, wrong):
        model = self.choose(chance, in_parts=False)
        if model is None:
            return
        elsewhere = len(model.row) + wrong
        with pytest.raises(OffsetMismatch) as caught:
            self.run(self.filesystem.append(self.ada, "tus", model.upload.id, elsewhere, pieces(b"x")))
        assert caught.value.details["offset"] == len(model.row)

    @rule(chance=st.integers(0, 99), number=st.integers(1, 4), start=STARTS, size=SIZES, breaks=st.booleans())
    def put_part(self, chance, number, start, size, breaks):
        model = self.choose(chance, in_parts=True)
        if model is None:
            return
        body = NOISE[start : start + size]

        async def stream():
            async for piece in pieces(body, 100 * KIB):
                yield piece
            if breaks:
                raise ClientGone("gone")

        try:
            self.run(self.filesystem.put_part(self.ada, "s3", model.upload.id, number, stream()))
        except ClientGone:
            assert breaks
        else:
            model.parts[number] = body

    @rule(chance=st.integers(0, 99), leave_out=st.integers(0, 4))
    def complete(self, chance, leave_out):
        model = self.choose(chance, in_parts=True)
        if model is None:
            return
        model.parts.pop(leave_out, None)
        written = self.run(
            self.filesystem.complete_upload(
                self.ada, "s3", model.upload.id, choose=lambda found: [p.number for p in found if p.number != leave_out]
            )
        )
        self.ended(model, written)
        again = self.run(self.filesystem.complete_upload(self.ada, "s3", model.upload.id))
        assert again.version.id == written.version.id

    @precondition(lambda self: sum(one.opened and one.path is None for one in self.models) > 1)
    @rule(chance=st.randoms(use_true_random=False))
    def join(self, chance):
        found = [one for one in self.models if one.opened and one.path is None]
        chosen = chance.sample(found, chance.randint(1, len(found)))
        for one in chosen:
            self.run(
                self.filesystem.append(
                    self.ada, "tus", one.upload.id, len(one.row), pieces(b""), length_bytes=len(one.row)
                )
            )
        self.number += 1
        draft = Draft(door="tus", path=f"/{self.number}")
        ids = [one.upload.id for one in chosen]
        _, written = self.run(self.filesystem.join_uploads(self.ada, None, draft, ids))
        self.files[written.node.path] = b"".join(one.row for one in chosen)
        for one in chosen:
            one.row, one.opened = b"", False

    @rule(chance=st.integers(0, 99), in_parts=st.booleans())
    def give_up(self, chance, in_parts):
        model = self.choose(chance, in_parts=in_parts)
        if model is None:
            return
        self.run(self.filesystem.abort_upload(self.ada, model.upload.door, model.upload.id))
        self.models.remove(model)

    @rule()
    def wait_until_all_expire(self):
        self.bench.clock.jump(KEPT_S + 1)
        worker = UploadExpiry(self.bench.db, self.filesystem.books)
        while self.run(worker.run_once(Progress())).more_work:
            pass
        for model in self.models:
            try:
                self.run(self.filesystem.upload(self.ada, model.upload.door, model.upload.id))
            except UploadNotFound:
                continue
            raise AssertionError("an upload outlived its time")
        self.models.clear()

    @rule()
    def collect(self):
        collector = Collector(self.bench.db, self.bench.chunks, self.bench.clock, 0)
        self.run(collector.run(lambda so_far: None, grace_s=0))

    @rule(chance=st.integers(0, 99))
    def read(self, chance):
        if self.files:
            path = sorted(self.files)[chance % len(self.files)]
            assert self.run(self.bench.get(self.ada, path)) == self.files[path]

    @invariant()
    def nothing_is_lost_and_nothing_leaks(self):
        if not hasattr(self, "bench"):
            return
        held = sum(one.held for one in self.models)
        space = self.run(self.filesystem.home(self.ada))
        assert space.used_bytes == held + sum(map(len, self.files.values()))
        assert self.run(self.bench.findings()) == []

        def look(tx):
            used = Counter(
                (domain, ref.id) for domain, text in uses_of_chunks(tx) for ref in Manifest.decode(text).chunks
            )
            return used, {(bytes(row[0]), bytes(row[1])): row[2] for row in tx.rows(CHUNKS)}

        used, refs = self.run(self.bench.read(look))
        assert dict(used) == refs


TestUploadHistories = UploadHistories.TestCase
TestUploadHistories.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
