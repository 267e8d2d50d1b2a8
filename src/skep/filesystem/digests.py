"""Fills in the digests that a large upload did without: reads the content back and hashes it.

The worker walks once over all versions in the order they were made, well behind the newest: the uploads that go on now
need the disks more, much of what is new is soon replaced, and on PostgreSQL a transaction that began earlier may commit
later. It rests after every few megabytes that it reads. What cannot be read now is tried again; what is lost is
passed over: scrub and repair deal with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import msgspec
import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import Integrity
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.manifest import Manifest
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.filesystem import marks, versions
from skep.filesystem.ports import ContentStore

MARK = "filesystem-digests"
AFTER_S_MIN = 60.0
"""Longer than any transaction takes."""
STEP_VERSIONS = 500
HOP_BYTES = 1 << 20
REST_BYTES = 8 << 20
"""Read at one go."""

_v = s.versions.c
_NEXT = prepared(
    sa.select(_v.created_us, _v.id, _v.sha256.is_(None), s.spaces.c.domain_id)
    .select_from(s.versions)
    .join(s.nodes, s.nodes.c.id == _v.node_id)
    .join(s.spaces, s.spaces.c.id == s.nodes.c.space_id)
    .where(
        _v.created_us >= sa.bindparam("since_us"),
        sa.or_(_v.created_us > sa.bindparam("since_us"), _v.id > sa.bindparam("after")),
        _v.created_us <= sa.bindparam("until_us"),
    )
    .order_by(_v.created_us, _v.id)
    .limit(sa.bindparam("count"))
)


class Mark(msgspec.Struct, frozen=True):
    """The last version that was looked at."""

    version_us: int = 0
    version_id: bytes = b""


class Digests:
    """The worker that hashes what was not hashed while it came in."""

    name = "digests"
    description = "Computes MD5, SHA-1 and SHA-256 of large files in the background."

    def __init__(
        self, db: Database, chunks: ContentStore, clock: Clock, *, after_s: float, tranquility: float = 0.0
    ) -> None:
        """``after_s``: how old a version must be; ``tranquility``: seconds of rest for each second of reading."""
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._behind_us = int(max(after_s, AFTER_S_MIN) * 1e6)
        self._tranquility = tranquility

    async def run_once(self, progress: Progress) -> Outcome:
        """Pass over versions up to and with the next that has to be hashed."""
        passed, wanted = await self._db.read(self._look)
        if wanted is None and passed is None:
            return Outcome(more_work=False)
        if wanted is None:
            await self._db.write(lambda tx: marks.write(tx, MARK, passed or Mark()))
            return Outcome(more_work=True)
        version_id, domain_id, mark = wanted
        digests = await self._hash(version_id, domain_id)

        def work(tx: Transaction) -> None:
            if digests is not None:
                versions.set_digests(tx, version_id, digests)
            marks.write(tx, MARK, mark)

        await self._db.write(work)
        return Outcome(more_work=True, done_units=1 if digests else 0)

    def _look(self, tx: Transaction) -> tuple[Mark | None, tuple[Id, Id, Mark] | None]:
        """The mark behind versions that need nothing, and the first that does."""
        mark = marks.read(tx, MARK, Mark)
        span = {"since_us": mark.version_us, "after": mark.version_id, "until_us": tx.now_us - self._behind_us}
        passed: Mark | None = None
        for created_us, version_id, unknown, domain_id in tx.rows(_NEXT, {**span, "count": STEP_VERSIONS}):
            passed = Mark(created_us, version_id)
            if unknown:
                return passed, (version_id, domain_id, passed)
        return passed, None

    async def _hash(self, version_id: Id, domain_id: Id) -> dict[str, bytes] | None:
        """The digests of a version; None if it is gone or cannot be read any more."""
        found = await self._db.read(lambda tx: versions.by_ids(tx, [version_id]).get(version_id))
        if found is None:
            return None
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256")}
        domain = await self._chunks.domain(domain_id)
        content = self._chunks.read(domain, Manifest.decode(found.manifest))
        try:
            async for parts in _gathered(self._at_ease(content)):
                await asyncio.to_thread(_update, hashes, parts)
        except Integrity:
            return None
        return {name: one.digest() for name, one in hashes.items()}

    async def _at_ease(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same parts, with a rest after every ``REST_BYTES`` and at the end."""
        size_bytes, began_s = 0, self._clock.monotonic_s()
        async for part in content:
            yield part
            size_bytes += len(part)
            if size_bytes >= REST_BYTES:
                await self._rest(began_s)
                size_bytes, began_s = 0, self._clock.monotonic_s()
        await self._rest(began_s)

    async def _rest(self, began_s: float) -> None:
        if self._tranquility:
            await self._clock.sleep((self._clock.monotonic_s() - began_s) * self._tranquility)


async def _gathered(parts: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Parts in lists of about ``HOP_BYTES``, each worth a way to a thread."""
    waiting: list[bytes] = []
    size_bytes = 0
    async for part in parts:
        waiting.append(part)
        size_bytes += len(part)
        if size_bytes >= HOP_BYTES:
            yield waiting
            waiting, size_bytes = [], 0
    if waiting:
        yield waiting


def _update(hashes: dict[str, hashlib._Hash], parts: list[bytes]) -> None:
    for one in hashes.values():
        for part in parts:
            one.update(part)
