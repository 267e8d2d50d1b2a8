from __future__ import annotations

import asyncio
import hashlib
import random
import zlib

import pytest
import sqlalchemy as sa

from skep.base.errors import (
    AlreadyExists,
    BodyTooLarge,
    ChecksumMismatch,
    ClientGone,
    LengthMismatch,
    NameClash,
    OffsetMismatch,
    PreconditionFailed,
    QuotaExceeded,
    SpaceNotFound,
    TooManyUploads,
    UploadExpired,
    UploadFinished,
    UploadLocked,
    UploadNotFound,
    UploadUnfinished,
)
from skep.base.workers import Progress
from skep.chunks.manifest import Manifest
from skep.db import prepared
from skep.db import schema as s
from skep.filesystem import Conditions, Draft, Expected, Limits, UploadExpiry
from skep.filesystem.uploads import growing
from skep.server.uses import uses_of_chunks
from skep.testing.files import admin, open_files, pieces

MIB = 1 << 20
DOOR = "tus"
CHUNKS = prepared(sa.select(s.chunks.c.domain_id, s.chunks.c.id, s.chunks.c.refs))


def noise(size_bytes, seed=1):
    return random.Random(seed).randbytes(size_bytes)


async def torn(body, error=None):
    """A body whose connection breaks at its end."""
    async for piece in pieces(body):
        yield piece
    raise error or ClientGone("the client is gone")


@pytest.fixture
async def bench(tmp_path):
    async with open_files(tmp_path, Limits(step_bytes=4 * MIB, uploads_max=5)) as opened:
        yield opened
        assert await opened.findings() == []
        await references_add_up(opened)


@pytest.fixture
async def ada(bench):
    return await bench.user("ada")


async def references_add_up(bench):
    """Every chunk row has as many references as the manifests say."""

    def look(tx):
        counted = {}
        for domain_id, encoded in uses_of_chunks(tx):
            for ref in Manifest.decode(encoded).chunks:
                counted[domain_id, ref.id] = counted.get((domain_id, ref.id), 0) + 1
        rows = tx.rows(CHUNKS)
        return counted, {(bytes(row[0]), bytes(row[1])): row[2] for row in rows if row[2]}

    counted, refs = await bench.read(look)
    assert counted == refs


async def used(bench, who):
    return (await bench.filesystem.home(who)).used_bytes


async def opened(bench, who, path="/f", **more):
    return await bench.filesystem.open_upload(who, None, Draft(door=DOOR, path=path, **more))


async def append(bench, who, upload, offset, body, **more):
    stream = body if hasattr(body, "__anext__") else pieces(body)
    return await bench.filesystem.append(who, DOOR, upload.id, offset, stream, **more)


async def test_an_upload_in_pieces_becomes_a_file(bench, ada):
    body = noise(3 * MIB)
    upload = await opened(bench, ada, "/a/b.bin", length_bytes=len(body), modified_us=5, mime="text/x-odd")
    first = await append(bench, ada, upload, 0, body[:MIB])
    assert (first.upload.offset_bytes, first.written) == (MIB, None)
    assert await used(bench, ada) == MIB
    second = await append(bench, ada, upload, MIB, body[MIB:])
    assert second.written is not None
    node = second.written.node
    assert (node.path, node.mime, node.modified_us, node.size_bytes) == ("/a/b.bin", "text/x-odd", 5, len(body))
    assert await bench.get(ada, "/a/b.bin") == body
    assert await used(bench, ada) == len(body)
    after = await bench.filesystem.upload(ada, DOOR, upload.id)
    assert (after.state, after.offset_bytes, after.node_id, after.version_number) == ("done", len(body), node.id, 1)


@pytest.mark.parametrize("sizes", [[1] * 7, [100 << 10] * 30, [3 * MIB, 1, 3 * MIB], [5 * MIB, 5 * MIB]])
async def test_however_it_is_cut_the_content_is_that_of_one_write(bench, ada, sizes):
    body = noise(sum(sizes))
    whole = await bench.put(ada, "/whole", body)
    upload = await opened(bench, ada, length_bytes=len(body))
    offset = 0
    for size in sizes:
        got = await append(bench, ada, upload, offset, body[offset : offset + size])
        offset = got.upload.offset_bytes
    assert got.written.node.etag == whole.node.etag
    assert got.upload.part_count == 0


async def test_small_bodies_of_known_length_do_not_write_large_chunks_again(bench, ada):
    body = noise(2 * MIB)
    upload = await opened(bench, ada, length_bytes=len(body) + 3)
    await append(bench, ada, upload, 0, body)
    stored = bench.chunks.counters.stored_bytes
    for number in range(3):
        got = await append(bench, ada, upload, len(body) + number, b"x", body_bytes=1)
    assert bench.chunks.counters.stored_bytes - stored < 3 * (320 << 10)  # its last chunk may be a short one
    assert await bench.get(ada, got.written.node.path) == body + b"xxx"


async def test_many_chunks_take_several_rows(bench, ada, monkeypatch):
    monkeypatch.setattr(growing, "ROW_CHUNKS", 3)
    body = noise(12 * MIB)
    upload = await opened(bench, ada, length_bytes=len(body))
    for offset in range(0, len(body), MIB):
        got = await append(bench, ada, upload, offset, body[offset : offset + MIB])
        if offset == 10 * MIB:
            assert got.upload.part_count > 2
            assert await bench.findings() == []
    whole = await bench.put(ada, "/whole", body)
    assert got.written.node.etag == whole.node.etag


@pytest.mark.parametrize("error", [ClientGone("x"), LengthMismatch("x")])
async def test_a_broken_connection_keeps_what_arrived(bench, ada, error):
    body = noise(6 * MIB)
    upload = await opened(bench, ada, length_bytes=len(body))
    got = await append(bench, ada, upload, 0, torn(body[: 5 * MIB], error))
    assert got.broken is error
    assert got.upload.offset_bytes == 5 * MIB
    got = await append(bench, ada, upload, 5 * MIB, body[5 * MIB :])
    assert await bench.get(ada, got.written.node.path) == body


async def test_a_broken_body_that_is_whole_all_the_same_is_not_the_end_of_an_upload(bench, ada):
    upload = await opened(bench, ada, length_bytes=10)
    got = await append(bench, ada, upload, 0, torn(b"0123456789"))
    assert (got.upload.offset_bytes, got.written) == (10, None)
    got = await append(bench, ada, upload, 10, b"")
    assert await bench.get(ada, got.written.node.path) == b"0123456789"


async def test_a_long_body_is_committed_on_its_way(bench, ada):
    body = noise(20 * MIB)
    upload = await opened(bench, ada, length_bytes=len(body))
    go_on = asyncio.Event()

    async def halting():
        async for piece in pieces(body[: 16 * MIB]):
            yield piece
        await go_on.wait()
        async for piece in pieces(body[16 * MIB :]):
            yield piece

    task = asyncio.create_task(append(bench, ada, upload, 0, halting()))
    now = upload
    for _ in range(2000):
        now = await bench.filesystem.upload(ada, DOOR, upload.id)
        if now.offset_bytes >= 8 * MIB:
            break
        await asyncio.sleep(0.005)  # the commit comes from another thread
    assert 8 * MIB <= now.offset_bytes <= 16 * MIB
    go_on.set()
    assert (await task).written.node.etag == (await bench.put(ada, "/whole", body)).node.etag


async def test_a_cancelled_request_keeps_what_arrived(bench, ada):
    body = noise(3 * MIB)
    upload = await opened(bench, ada, length_bytes=len(body))
    reached = asyncio.Event()

    async def halting():
        async for piece in pieces(body[: 2 * MIB]):
            yield piece
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(append(bench, ada, upload, 0, halting()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 2 * MIB


async def test_two_bodies_at_once(bench, ada):
    upload = await opened(bench, ada, length_bytes=2 * MIB)
    reached = asyncio.Event()

    async def halting():
        yield noise(MIB)
        reached.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(append(bench, ada, upload, 0, halting()))
    await reached.wait()
    with pytest.raises(UploadLocked):
        await append(bench, ada, upload, 0, noise(MIB))
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 0
    await bench.clock.advance(3)  # its connection is dead by now, for all we know
    now = await bench.filesystem.upload(ada, DOOR, upload.id)
    assert now.offset_bytes == MIB
    assert isinstance((await first).broken, UploadLocked)
    assert (await append(bench, ada, upload, MIB, noise(MIB, 2))).written is not None


async def test_offsets(bench, ada):
    upload = await opened(bench, ada, length_bytes=10)
    await append(bench, ada, upload, 0, b"12345")
    for offset in (0, 4, 6, 10, 99):
        with pytest.raises(OffsetMismatch) as caught:
            await append(bench, ada, upload, offset, b"x")
        assert caught.value.details["offset"] == 5
    await append(bench, ada, upload, 5, b"67890")
    with pytest.raises(UploadFinished):
        await append(bench, ada, upload, 10, b"x")


async def test_lengths(bench, ada):
    upload = await opened(bench, ada, length_bytes=4)
    with pytest.raises(BodyTooLarge):
        await append(bench, ada, upload, 0, b"12345")
    with pytest.raises(BodyTooLarge):
        await append(bench, ada, upload, 0, b"", body_bytes=5)
    with pytest.raises(LengthMismatch):
        await append(bench, ada, upload, 0, b"12", length_bytes=5)
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 0
    deferred = await opened(bench, ada, "/g")
    await append(bench, ada, deferred, 0, b"12")
    with pytest.raises(LengthMismatch):
        await append(bench, ada, deferred, 2, b"", length_bytes=1)
    got = await append(bench, ada, deferred, 2, b"34", length_bytes=4)
    assert await bench.get(ada, got.written.node.path) == b"1234"
    with pytest.raises(BodyTooLarge):
        await opened(bench, ada, "/h", length_bytes=1 << 60)


async def test_the_end_can_be_said(bench, ada):
    upload = await opened(bench, ada)
    await append(bench, ada, upload, 0, b"12", last=False)
    got = await append(bench, ada, upload, 2, b"3", last=True)
    assert await bench.get(ada, got.written.node.path) == b"123"
    upload = await opened(bench, ada, "/g", length_bytes=5)
    with pytest.raises(LengthMismatch):
        await append(bench, ada, upload, 0, b"12", last=True)
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 0
    empty = await opened(bench, ada, "/empty", length_bytes=0)
    assert (await append(bench, ada, empty, 0, b"")).written.node.size_bytes == 0


async def test_what_the_end_is_refused_for_keeps_the_offset_honest(bench, ada):
    upload = await opened(bench, ada, length_bytes=4, conditions=Conditions(if_none_match=("*",)))
    await append(bench, ada, upload, 0, b"12")
    node = (await bench.put(ada, "/f", b"there first")).node
    with pytest.raises(PreconditionFailed):
        await append(bench, ada, upload, 2, b"34")
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 2
    assert await bench.get(ada, "/f") == b"there first"
    await bench.filesystem.delete(ada, node.id)
    assert (await append(bench, ada, upload, 2, b"34")).written.created
    with pytest.raises(PreconditionFailed):
        await opened(bench, ada, conditions=Conditions(if_none_match=("*",)))
    await bench.put(ada, "/d/x", b"")
    with pytest.raises(NameClash):
        await opened(bench, ada, "/d")


async def test_checksums_of_a_body(bench, ada):
    class Crc32:
        def __init__(self):
            self.value = 0

        def update(self, data):
            self.value = zlib.crc32(data, self.value)

        def digest(self):
            return self.value.to_bytes(4, "big")

    body = noise(5 * MIB)
    upload = await opened(bench, ada, length_bytes=2 * len(body))
    for hasher in (hashlib.sha1(), Crc32()):
        with pytest.raises(ChecksumMismatch):
            await append(bench, ada, upload, 0, body, expected=[Expected("x", hasher, b"no")])
        assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 0
    await append(bench, ada, upload, 0, body, expected=[Expected("sha1", hashlib.sha1(), hashlib.sha1(body).digest())])
    crc = Expected("crc32", Crc32(), zlib.crc32(body).to_bytes(4, "big"))
    got = await append(bench, ada, upload, len(body), body, expected=[crc])
    assert await bench.get(ada, got.written.node.path) == 2 * body


async def test_a_body_with_a_checksum_that_breaks_off_is_not_kept(bench, ada):
    upload = await opened(bench, ada, length_bytes=10)
    with pytest.raises(ClientGone):
        await append(bench, ada, upload, 0, torn(b"123"), expected=[Expected("md5", hashlib.md5(), b"")])
    assert (await bench.filesystem.upload(ada, DOOR, upload.id)).offset_bytes == 0


async def test_digests_of_the_whole(bench, ada):
    body = noise(2 * MIB)
    good = {"sha256": hashlib.sha256(body).digest(), "md5": hashlib.md5(body).digest()}
    upload = await opened(bench, ada, length_bytes=len(body), digests=good)
    await append(bench, ada, upload, 0, body[:MIB])
    with pytest.raises(ChecksumMismatch):
        await append(bench, ada, upload, MIB, noise(MIB, 7))
    got = await append(bench, ada, upload, MIB, body[MIB:])
    assert got.written.version.sha256 == good["sha256"]


async def test_quota(bench, ada):
    space = await bench.filesystem.home(ada)
    await bench.filesystem.set_quota(admin(), space.id, 10 * MIB)
    with pytest.raises(QuotaExceeded):
        await opened(bench, ada, length_bytes=11 * MIB)
    upload = await opened(bench, ada)
    with pytest.raises(QuotaExceeded):
        await append(bench, ada, upload, 0, noise(11 * MIB), body_bytes=11 * MIB)
    with pytest.raises(QuotaExceeded):
        await append(bench, ada, upload, 0, noise(11 * MIB))
    now = await bench.filesystem.upload(ada, DOOR, upload.id)
    assert 0 <= now.offset_bytes <= 10 * MIB
    assert await used(bench, ada) == now.offset_bytes
    other = await opened(bench, ada, "/g")
    await append(bench, ada, other, 0, noise(10 * MIB - now.offset_bytes))
    with pytest.raises(QuotaExceeded):
        await bench.put(ada, "/small", b"1")
    await bench.filesystem.abort_upload(ada, DOOR, upload.id)
    assert await used(bench, ada) == 10 * MIB - now.offset_bytes
    written = (await append(bench, ada, other, 10 * MIB - now.offset_bytes, b"", last=True)).written
    assert await used(bench, ada) == written.node.size_bytes


async def test_another_users_upload_does_not_exist(bench, ada):
    eve = await bench.user("eve")
    upload = await opened(bench, ada, length_bytes=4)
    for attempt in (
        bench.filesystem.upload(eve, DOOR, upload.id),
        append(bench, eve, upload, 0, b"1234"),
        bench.filesystem.put_part(eve, DOOR, upload.id, 1, pieces(b"1")),
        bench.filesystem.complete_upload(eve, DOOR, upload.id),
        bench.filesystem.parts(eve, DOOR, upload.id),
        bench.filesystem.abort_upload(eve, DOOR, upload.id),
        bench.filesystem.upload(ada, "s3", upload.id),
        bench.filesystem.upload(ada, DOOR, bytes(16)),
    ):
        with pytest.raises(UploadNotFound):
            await attempt
    with pytest.raises(SpaceNotFound):
        await bench.filesystem.open_upload(eve, upload.space_id, Draft(door=DOOR, path="/f"))
    assert await bench.filesystem.uploads(eve, DOOR, None) == []


async def test_who_leaves_a_group_cannot_go_on(bench, ada):
    group = await bench.group("club")
    member = await bench.user("bob", [group])
    space = (await bench.filesystem.spaces(member))[1]
    upload = await bench.filesystem.open_upload(member, space.id, Draft(door=DOOR, path="/f", length_bytes=4))
    await append(bench, member, upload, 0, b"12")
    outside = type(member)(member.user_id, "bob", False, frozenset(), member.scopes, "token")
    with pytest.raises(SpaceNotFound):
        await append(bench, outside, upload, 2, b"34")


async def test_only_so_many_unfinished(bench, ada):
    uploads = [await opened(bench, ada, f"/{n}", length_bytes=1) for n in range(5)]
    with pytest.raises(TooManyUploads):
        await opened(bench, ada)
    await append(bench, ada, uploads[0], 0, b"x")
    await opened(bench, ada)
    assert len(await bench.filesystem.uploads(ada, DOOR, None)) == 5


async def run(bench):
    worker = UploadExpiry(bench.db, bench.filesystem.books)
    for _ in range(100):
        if not (await worker.run_once(Progress())).more_work:
            return
    raise AssertionError("the worker never finds an end")


async def test_an_abandoned_upload_goes(bench, ada):
    old = await opened(bench, ada, "/old", length_bytes=9 * MIB)
    await append(bench, ada, old, 0, noise(8 * MIB))
    bench.clock.jump(6 * 86_400)
    young = await opened(bench, ada, "/young", length_bytes=3)
    await append(bench, ada, young, 0, b"12")
    bench.clock.jump(2 * 86_400)
    with pytest.raises(UploadExpired):
        await bench.filesystem.upload(ada, DOOR, old.id)
    with pytest.raises(UploadExpired):
        await append(bench, ada, old, 8 * MIB, b"x")
    await run(bench)
    with pytest.raises(UploadNotFound):
        await bench.filesystem.upload(ada, DOOR, old.id)
    assert await used(bench, ada) == 2
    assert (await append(bench, ada, young, 2, b"3")).written is not None
    bench.clock.jump(8 * 86_400)
    await run(bench)
    assert await bench.get(ada, "/young") == b"123"


async def test_bytes_that_come_late_keep_an_upload_alive(bench, ada):
    upload = await opened(bench, ada, length_bytes=20)
    for offset in range(20):
        bench.clock.jump(6 * 86_400)
        got = await append(bench, ada, upload, offset, b"x")
    assert got.written is not None


async def test_users_and_groups_go_with_their_uploads(bench, ada):
    group = await bench.group("club")
    member = await bench.user("bob", [group])
    space = (await bench.filesystem.spaces(member))[1]
    for space_id in (None, space.id):
        upload = await bench.filesystem.open_upload(member, space_id, Draft(door=DOOR, path="/f", length_bytes=90))
        await append(bench, member, upload, 0, b"12")
    await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, member.user_id, "bob"))
    assert list(await bench.read(lambda tx: list(uses_of_chunks(tx)))) == []
    await bench.db.write(lambda tx: bench.hooks.group_deleting(tx, group, "club"))


async def test_names_that_clients_choose(bench, ada):
    upload = await bench.filesystem.open_upload(ada, None, Draft(door="nextcloud", key="4711"))
    assert (await bench.filesystem.upload_by_key(ada, "nextcloud", "4711")).id == upload.id
    with pytest.raises(AlreadyExists):
        await bench.filesystem.open_upload(ada, None, Draft(door="nextcloud", key="4711"))
    with pytest.raises(UploadNotFound):
        await bench.filesystem.upload_by_key(ada, "other", "4711")
    await bench.filesystem.put_part(ada, "nextcloud", upload.id, 1, pieces(b"ab"))
    result = await bench.filesystem.complete_upload(ada, "nextcloud", upload.id, path="/there")
    assert result.node.path == "/there"
    await bench.filesystem.open_upload(ada, None, Draft(door="nextcloud", key="4711"))


async def test_joining(bench, ada):
    body = noise(3 * MIB)
    halves = [await opened(bench, ada, None, length_bytes=len(half)) for half in (body[:MIB], body[MIB:])]
    await append(bench, ada, halves[1], 0, body[MIB:])
    draft = Draft(door=DOOR, path="/joined", metadata={"kind": "final"})
    ids = [half.id for half in halves]
    with pytest.raises(UploadUnfinished):
        await bench.filesystem.join_uploads(ada, None, draft, ids)
    got = await append(bench, ada, halves[0], 0, body[:MIB])
    assert got.written is None
    eve = await bench.user("eve")
    with pytest.raises(UploadNotFound):
        await bench.filesystem.join_uploads(eve, None, draft, ids)
    whole, result = await bench.filesystem.join_uploads(ada, None, draft, ids)
    assert await bench.get(ada, "/joined") == body
    assert (whole.state, whole.offset_bytes, whole.metadata) == ("done", len(body), {"kind": "final"})
    again, same = await bench.filesystem.join_uploads(ada, None, draft, ids)
    assert (again.id, same.version.id) == (whole.id, result.version.id)
    with pytest.raises(UploadFinished):
        await bench.filesystem.join_uploads(ada, None, draft, [ids[0], (await opened(bench, ada, None)).id])
    assert await used(bench, ada) == len(body)


async def test_giving_up_an_upload_that_is_being_sent(bench, ada):
    upload = await opened(bench, ada, length_bytes=2 * MIB)
    reached = asyncio.Event()

    async def halting():
        yield noise(MIB)
        reached.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(append(bench, ada, upload, 0, halting()))
    await reached.wait()
    await bench.filesystem.abort_upload(ada, DOOR, upload.id)
    assert (await first).broken is not None
    with pytest.raises(UploadNotFound):
        await bench.filesystem.upload(ada, DOOR, upload.id)
    assert await used(bench, ada) == 0


async def test_on_every_database(tmp_path, database_url):
    async with open_files(tmp_path, Limits(step_bytes=2 * MIB), url=database_url) as bench:
        ada = await bench.user("ada")
        body = noise(5 * MIB)
        upload = await opened(bench, ada, length_bytes=len(body), conditions=Conditions(if_none_match=("*",)))
        got = await append(bench, ada, upload, 0, torn(body[: 4 * MIB]))
        both = [append(bench, ada, upload, got.upload.offset_bytes, body[4 * MIB :]) for _ in range(2)]
        ends = await asyncio.gather(*both, return_exceptions=True)
        assert sum(isinstance(end, UploadLocked | UploadFinished | OffsetMismatch) for end in ends) == 1
        assert await bench.get(ada, "/f") == body
        parts = await bench.filesystem.open_upload(ada, None, Draft(door="s3", path="/g"))
        await asyncio.gather(
            *(bench.filesystem.put_part(ada, "s3", parts.id, n, pieces(noise(MIB, n))) for n in (1, 2, 2, 3))
        )
        ends = await asyncio.gather(*(bench.filesystem.complete_upload(ada, "s3", parts.id) for _ in range(3)))
        assert len({end.version.id for end in ends}) == 1
        assert await bench.get(ada, "/g") == b"".join(noise(MIB, n) for n in (1, 2, 3))
        gone = await opened(bench, ada, "/h")
        await append(bench, ada, gone, 0, body)
        bench.clock.jump(8 * 86_400)
        await run(bench)
        assert await bench.findings() == []
        await references_add_up(bench)
