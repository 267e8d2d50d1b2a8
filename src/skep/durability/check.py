"""``skep fsck``: do the rows agree with each other and with what the stores hold?

Checks, each in bounded pages:

1. every use that a version or object makes of a chunk has a chunk row, and ``refs`` is their number;
2. every chunk row points at a pack row, and the packs' sums are right;
3. every shard row that claims to be good is on its store with the right size;
   A pack that is retired while it is looked at is garbage: what is wrong with it is not told;
4. with ``read_data``: every block of every shard is verified, every pack's index is read, and every
   chunk is opened and has its id.

What can be mended by repair is queued for it; the rest is reported. Nothing else is changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import CorruptChunk, CorruptPack, CorruptRecord, ObjectNotFound, SkepError
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.chunks.pack import TRAILER_BYTES, index_tail_size, read_index
from skep.chunks.seal import chunk_id, open_sealed
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.catalog import locate
from skep.durability.records import PackPlaces, shard_key
from skep.durability.scrub import Scrubber
from skep.durability.service import ChunkService

PAGE = 500
FINDINGS_MAX = 10_000
COUNTED_CHUNKS_MAX = 1_000_000
"""Chunk uses counted in memory at once; a larger hive is looked through several times."""

Kind = Literal["lost", "damaged", "bookkeeping"]

_c, _p = s.chunks.c, s.packs.c
_CHUNK_COUNT = prepared(sa.select(sa.func.count()).select_from(s.chunks))
_CHUNKS = prepared(
    sa.select(_c.domain_id, _c.id, _c.refs)
    .where(
        sa.or_(
            _c.domain_id > sa.bindparam("domain"),
            sa.and_(_c.domain_id == sa.bindparam("same_domain"), _c.id > sa.bindparam("after")),
        )
    )
    .order_by(_c.domain_id, _c.id)
    .limit(PAGE)
)
_PACKS = prepared(sa.select(_p.id, _p.retired_us).where(_p.id > sa.bindparam("after")).order_by(_p.id).limit(PAGE))
_PACK_ONE = prepared(sa.select(_p.live_bytes, _p.chunk_count).where(_p.id == sa.bindparam("pack")))
_RETIRED = prepared(sa.select(_p.retired_us).where(_p.id == sa.bindparam("pack")))
_PACK_COUNT = prepared(sa.select(sa.func.count()).select_from(s.packs))
_SUMS = prepared(
    sa.select(sa.func.coalesce(sa.func.sum(_c.size_bytes), 0), sa.func.count()).where(
        _c.pack_id == sa.bindparam("pack")
    )
)
_STRAY = prepared(
    sa.select(_c.pack_id)
    .distinct()
    .where(~sa.exists(sa.select(_p.id).where(_p.id == _c.pack_id)), _c.pack_id > sa.bindparam("after"))
    .order_by(_c.pack_id)
    .limit(PAGE)
)
_STRANGERS = prepared(
    sa.select(_p.id, sa.func.count())
    .join_from(s.packs, s.chunks, _c.pack_id == _p.id)
    .join(s.domains, s.domains.c.id == _c.domain_id)
    .where(
        _p.owner_id.is_not(None),
        sa.or_(s.domains.c.owner_id.is_(None), s.domains.c.owner_id != _p.owner_id),
        _p.id > sa.bindparam("after"),
    )
    .group_by(_p.id)
    .order_by(_p.id)
    .limit(PAGE)
)
_CHUNKS_OF = prepared(
    sa.select(_c.domain_id, _c.id, _c.offset, _c.size_bytes, _c.plain_bytes)
    .where(_c.pack_id == sa.bindparam("pack"))
    .order_by(_c.offset)
)
_SHARD_SIZES = prepared(
    sa.select(s.shards.c.number, s.shards.c.size_bytes).where(s.shards.c.pack_id == sa.bindparam("pack"))
)

Uses = Callable[[Transaction], Iterator[tuple[Id, bytes]]]
"""Goes through every encoded manifest that references chunks, with its domain; may be called several times."""
Pages = Callable[[Transaction, "tuple[str, Id]"], "tuple[list[tuple[Id, bytes]], tuple[str, Id] | None]"]
"""Some encoded manifests with their domains, from a place on, and the next place; None: that was all."""
Report = Callable[[str, int, int], None]
"""Told of (step, done, total)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: Kind
    """``lost``: content cannot be read; ``damaged``: it can, and repair is queued; ``bookkeeping``: numbers."""
    subject: str
    message: str


@dataclass(slots=True)
class CheckReport:
    """What was looked at and what was found."""

    manifests: int = 0
    chunks: int = 0
    packs: int = 0
    shards: int = 0
    unreachable_shards: int = 0
    opened_chunks: int = 0
    read_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0
    lost_chunks: set[tuple[Id, bytes]] = field(default_factory=set)
    """Chunks that cannot be read, by domain and id."""

    @property
    def clean(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.findings

    def add(self, kind: Kind, subject: str, message: str) -> None:
        """Note a finding; past the limit they are only counted."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(kind, subject, message))
        else:
            self.more_findings += 1

    def absorb(self, part: CheckReport, *, findings: bool) -> None:
        """Add what was looked at in a part, and what was found there if it counts."""
        self.shards += part.shards
        self.unreachable_shards += part.unreachable_shards
        self.opened_chunks += part.opened_chunks
        self.read_bytes += part.read_bytes
        if findings:
            self.lost_chunks |= part.lost_chunks
            self.more_findings += part.more_findings
            for finding in part.findings:
                self.add(finding.kind, finding.subject, finding.message)


class Checker:
    """fsck over the durability side, one run after the other."""

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, uses: Uses) -> None:
        self._db = db
        self._chunks = chunks
        self._uses = uses
        self._scrubber = Scrubber(db, chunks, clock, 0.0)
        self.report = CheckReport()

    async def run(self, *, read_data: bool = False, progress: Report = lambda step, done, total: None) -> CheckReport:
        """Check everything. Users may go on meanwhile: a lease keeps what they use from collection."""
        self.report = CheckReport()
        with self._chunks.leases.hold():
            await self._check_uses(progress)
            await self._check_stray_chunks()
            await self._check_owners()
            await self._check_packs(read_data, progress)
        await self._chunks.flush_damage()
        return self.report

    async def run_quick(self, pages: Pages, progress: Report = lambda step, done, total: None) -> CheckReport:
        """Read contents as a download would, each chunk once, and open it: can what is asked for be had?

        Spare shards are not looked at, and what is found damaged on the way is queued for repair.
        """
        self.report = CheckReport()
        seen: set[tuple[Id, bytes]] = set()
        after: tuple[str, Id] | None = ("", b"")
        with self._chunks.leases.hold():
            while after is not None:
                contents, after = await self._db.read(lambda tx, a=after: pages(tx, a))  # type: ignore[misc]
                for domain_id, encoded in contents:
                    await self._read_content(domain_id, encoded, seen)
                    progress("contents", self.report.manifests, 0)
        await self._chunks.flush_damage()
        return self.report

    async def _read_content(self, domain_id: Id, encoded: bytes, seen: set[tuple[Id, bytes]]) -> None:
        self.report.manifests += 1
        try:
            refs = Manifest.decode(encoded).chunks
        except CorruptRecord as error:
            self.report.add("lost", "manifest", error.message)
            return
        if len(seen) > COUNTED_CHUNKS_MAX:
            seen.clear()  # then some are read twice
        fresh = [ref.id for ref in dict.fromkeys(refs) if (domain_id, ref.id) not in seen]
        seen.update((domain_id, id_) for id_ in fresh)
        for id_ in fresh:
            await self._read_chunk(domain_id, id_)

    async def _read_chunk(self, domain_id: Id, id_: bytes) -> None:
        self.report.chunks += 1
        try:
            location = (await self._db.read(lambda tx: locate(tx, domain_id, [id_])))[id_]
            sealed = await self._chunks.packs.sealed(location)
            await self._open(domain_id, id_, sealed, location.plain_bytes)
            self.report.opened_chunks += 1
            self.report.read_bytes += location.size_bytes
        except SkepError as error:
            self.report.lost_chunks.add((domain_id, id_))
            self.report.add("lost", id_.hex(), f"chunk {id_.hex()} cannot be read: {error.message}")

    async def _check_uses(self, progress: Report) -> None:
        """Recount the uses of chunks in one snapshot, so that writers meanwhile do not matter."""
        progress("uses", 0, 1)
        findings = await self._db.read(self._recount)
        for kind, subject, message in findings:
            self.report.add(kind, subject, message)
        progress("uses", 1, 1)

    def _recount(self, tx: Transaction) -> list[tuple[Kind, str, str]]:
        """A slice of the chunk ids at a time, if there are very many."""
        findings: list[tuple[Kind, str, str]] = []
        slices = 1 + int(tx.value(_CHUNK_COUNT) or 0) // COUNTED_CHUNKS_MAX
        self.report.chunks = 0
        for number in range(slices):
            counted: Counter[tuple[Id, bytes]] = Counter()
            self.report.manifests = 0
            for domain_id, encoded in self._uses(tx):
                self.report.manifests += 1
                try:
                    refs = Manifest.decode(encoded).chunks
                except CorruptRecord as error:
                    findings.append(("lost", "manifest", error.message))
                    continue
                counted.update((domain_id, ref.id) for ref in refs if ref.id[0] % slices == number)
            findings += self._compare(tx, counted, number, slices)
        return findings

    def _compare(
        self, tx: Transaction, counted: Counter[tuple[Id, bytes]], number: int, slices: int
    ) -> list[tuple[Kind, str, str]]:
        findings: list[tuple[Kind, str, str]] = []
        domain, after = b"", b""
        while rows := tx.rows(_CHUNKS, {"domain": domain, "same_domain": domain, "after": after}):
            for domain_id, id_, refs in rows:
                if id_[0] % slices == number:
                    self.report.chunks += 1
                    uses = counted.pop((domain_id, id_), 0)
                    if uses != refs:
                        text = f"chunk {id_.hex()} is used {uses} times and its row says {refs}"
                        findings.append(("bookkeeping", id_.hex(), text))
            domain, after = rows[-1][0], rows[-1][1]
        for (domain_id, id_), uses in counted.items():
            self.report.lost_chunks.add((domain_id, id_))
            findings.append(("lost", id_.hex(), f"chunk {id_.hex()} is used {uses} times and has no row"))
        return findings

    async def _check_stray_chunks(self) -> None:
        after = b""
        while rows := await self._db.read(lambda tx, a=after: tx.rows(_STRAY, {"after": a})):  # type: ignore[misc]
            for (pack_id,) in rows:
                chunks = await self._db.read(lambda tx, p=pack_id: tx.rows(_CHUNKS_OF, {"pack": p}))  # type: ignore[misc]
                for domain_id, id_, *_ in chunks:
                    self.report.lost_chunks.add((domain_id, id_))
                    text = f"chunk {id_.hex()} lies in pack {pack_id.hex()}, which has no row"
                    self.report.add("lost", id_.hex(), text)
            after = bytes(rows[-1][0])

    async def _check_owners(self) -> None:
        """A pack with an owner holds nothing of others."""
        after = b""
        while rows := await self._db.read(lambda tx, a=after: tx.rows(_STRANGERS, {"after": a})):  # type: ignore[misc]
            for pack_id, count in rows:
                text = f"pack {pack_id.hex()} has an owner and {count} chunks of others"
                self.report.add("bookkeeping", pack_id.hex(), text)
            after = bytes(rows[-1][0])

    async def _check_packs(self, read_data: bool, progress: Report) -> None:
        total = int(await self._db.read(lambda tx: tx.value(_PACK_COUNT)) or 0)
        after = b""
        while rows := await self._db.read(lambda tx, a=after: tx.rows(_PACKS, {"after": a})):  # type: ignore[misc]
            for pack_id, retired in rows:
                await self._check_sums(bytes(pack_id), retired)
                if retired is None:  # else its shards are being deleted, perhaps
                    await self._check_pack(bytes(pack_id), read_data)
                self.report.packs += 1
                progress("packs", self.report.packs, max(total, self.report.packs))
            after = bytes(rows[-1][0])

    async def _check_pack(self, pack_id: bytes, read_data: bool) -> None:
        """Check one pack; what is wrong with one that was retired meanwhile is of no concern to anybody."""
        whole, self.report = self.report, CheckReport()
        try:
            await self._check_shards(pack_id)
            if read_data:
                await self._read_pack(pack_id)
        finally:
            here, self.report = self.report, whole
        retired = bool(here.findings) and await self._is_retired(pack_id)
        whole.absorb(here, findings=not retired)

    async def _is_retired(self, pack_id: bytes) -> bool:
        row = await self._db.read(lambda tx: tx.one(_RETIRED, {"pack": pack_id}))
        return row is None or row[0] is not None

    async def _check_sums(self, pack_id: bytes, retired_us: int | None) -> None:
        """Row and sums are read in one snapshot, so that writers meanwhile do not matter."""
        row, sums = await self._db.read(
            lambda tx: (tx.one(_PACK_ONE, {"pack": pack_id}), tx.rows(_SUMS, {"pack": pack_id})[0])
        )
        name, actual = pack_id.hex(), (int(sums[0]), int(sums[1]))
        if row is not None and actual != tuple(row):
            self.report.add("bookkeeping", name, f"pack {name} holds {actual} (bytes, chunks) and its row says {row}")
        elif retired_us is not None and actual[1]:
            self.report.add("bookkeeping", name, f"pack {name} is retired and {actual[1]} chunks lie in it")

    async def _check_shards(self, pack_id: bytes) -> None:
        self._chunks.packs.forget(pack_id)
        try:
            pack, _ = await self._chunks.packs.places(pack_id)
        except SkepError:
            return  # collected meanwhile
        sizes = dict(await self._db.read(lambda tx: tx.rows(_SHARD_SIZES, {"pack": pack_id})))
        outcomes = await asyncio.gather(
            *(self._stat(pack, place.number, place.store_id, place.state, sizes) for place in pack.shards)
        )
        self.report.shards += len(pack.shards)
        bad = [text for text in outcomes if text]
        good = len(outcomes) - len(bad)
        lost = good < pack.scheme.data_shards
        if lost:
            chunks = await self._db.read(lambda tx: tx.rows(_CHUNKS_OF, {"pack": pack_id}))
            self.report.lost_chunks.update((row[0], row[1]) for row in chunks)
        if bad:
            bad[-1] += f" ({self._chunks.thresholds.of(pack.scheme).standing(good)})"
        for text in bad:
            self.report.add("lost" if lost else "damaged", pack_id.hex(), f"pack {pack_id.hex()}: {text}")
        if len(pack.shards) != pack.scheme.total:
            self.report.add("bookkeeping", pack_id.hex(), f"pack {pack_id.hex()} has {len(pack.shards)} shard rows")

    async def _stat(self, pack: PackPlaces, number: int, store_id: Id, state: str, sizes: dict[int, int]) -> str | None:
        """What is wrong with a shard; None if nothing is, or if its store cannot be asked."""
        member = self._chunks.stores.get(store_id)
        if state != "ok":
            return f"shard {number} is {state}"
        if member is None or member.store is None or member.resting:
            self.report.unreachable_shards += 1
            return f"shard {number} is on a store that does not answer"
        store, key = member.store, shard_key(pack.pack_id, number)
        try:
            info = await self._chunks.stores.call(
                member, lambda: store.stat(key), timed=False, timeout_s=self._chunks.options.read_timeout_s
            )
        except ObjectNotFound:
            self._chunks.note_damage(pack.pack_id, number, store_id, "missing")
            return f"shard {number} is not on store {member.name!r}"
        except SkepError as error:
            self.report.unreachable_shards += 1
            return f"shard {number}: {error.message}"
        if info.size_bytes != sizes.get(number):
            self._chunks.note_damage(pack.pack_id, number, store_id, "corrupt")
            return f"shard {number} has {info.size_bytes} bytes and should have {sizes.get(number)}"
        return None

    async def _read_pack(self, pack_id: bytes) -> None:
        verdict = await self._scrubber.scrub(pack_id, mark=False)
        if verdict.corrupt:
            self.report.add("damaged", pack_id.hex(), f"pack {pack_id.hex()} has {verdict.corrupt} corrupt shards")
        await self._check_index(pack_id)
        rows = await self._db.read(lambda tx: tx.rows(_CHUNKS_OF, {"pack": pack_id}))
        for domain_id, id_, offset, size, plain_bytes in rows:
            try:
                sealed = await self._chunks.packs.range(pack_id, offset, size)
                await self._open(domain_id, id_, sealed, plain_bytes)
                self.report.opened_chunks += 1
                self.report.read_bytes += size
            except SkepError as error:
                self.report.lost_chunks.add((domain_id, id_))
                self.report.add("lost", id_.hex(), f"chunk {id_.hex()} cannot be read: {error.message}")

    async def _check_index(self, pack_id: bytes) -> None:
        """The index is what a recovery reads; a pack that cannot be read at all is found by its chunks."""
        packs, key = self._chunks.packs, self._chunks.index_key
        try:
            pack, _ = await packs.places(pack_id)
            trailer = await packs.range(pack_id, pack.size_bytes - TRAILER_BYTES, TRAILER_BYTES)
            tail_bytes = index_tail_size(trailer)
            tail = await packs.range(pack_id, pack.size_bytes - tail_bytes, tail_bytes)
            await self._chunks.code(lambda: read_index(key, tail, pack.size_bytes))
        except CorruptPack as error:
            self.report.add("damaged", pack_id.hex(), f"the index of pack {pack_id.hex()}: {error.message}")
        except SkepError:
            return

    async def _open(self, domain_id: Id, id_: bytes, sealed: bytes | bytearray | memoryview, plain_bytes: int) -> None:
        keys = await self._chunks.domain(domain_id)

        def verify() -> None:
            plain = open_sealed(keys, id_, sealed)
            if len(plain) != plain_bytes or chunk_id(keys, plain) != id_:
                raise CorruptChunk(f"chunk {id_.hex()} opens to other bytes than its id stands for")

        await self._chunks.code(verify)
