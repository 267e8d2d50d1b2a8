from __future__ import annotations

import asyncio
import hashlib

import pytest

from skep.base.errors import (
    BodyTooLarge,
    ChecksumMismatch,
    ClientGone,
    InvalidPath,
    InvalidRange,
    LengthMismatch,
    NodeNotFound,
    PreconditionFailed,
    QuotaExceeded,
    UploadFinished,
    UploadNotFound,
)
from skep.filesystem import Conditions, Draft
from skep.testing.files import admin, pieces

from .test_uploads import MIB, ada, bench, noise, torn, used  # noqa: F401

DOOR = "s3"


async def opened(bench, who, path="/f", **more):  # noqa: F811
    return await bench.filesystem.open_upload(who, None, Draft(door=DOOR, path=path, **more))


async def put(bench, who, upload, number, body, **more):  # noqa: F811
    stream = body if hasattr(body, "__anext__") else pieces(body)
    return await bench.filesystem.put_part(who, DOOR, upload.id, number, stream, **more)


async def complete(bench, who, upload, **more):  # noqa: F811
    return await bench.filesystem.complete_upload(who, DOOR, upload.id, **more)


async def test_parts_in_any_order_become_a_file(bench, ada):  # noqa: F811
    bodies = {number: noise(MIB, number) for number in (3, 1, 10_000, 2)}
    upload = await opened(bench, ada)
    infos = await asyncio.gather(*(put(bench, ada, upload, number, body) for number, body in bodies.items()))
    assert {info.number: info.md5 for info in infos} == {n: hashlib.md5(body).digest() for n, body in bodies.items()}
    listed = await bench.filesystem.parts(ada, DOOR, upload.id)
    assert [part.number for part in listed] == [1, 2, 3, 10_000]
    assert [part.number for part in await bench.filesystem.parts(ada, DOOR, upload.id, after=2, limit=1)] == [3]
    assert await used(bench, ada) == 4 * MIB
    result = await complete(bench, ada, upload)
    assert await bench.get(ada, "/f") == b"".join(body for _, body in sorted(bodies.items()))
    assert (result.created, await used(bench, ada)) == (True, 4 * MIB)


async def test_a_part_can_be_replaced(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    await put(bench, ada, upload, 1, noise(2 * MIB))
    await put(bench, ada, upload, 1, b"short")
    assert await used(bench, ada) == 5
    await complete(bench, ada, upload)
    assert await bench.get(ada, "/f") == b"short"


async def test_only_the_chosen_parts_are_used(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    for number in (1, 2, 3):
        await put(bench, ada, upload, number, noise(MIB, number))
    for wrong in ([1, 4], [3, 1], [1, 1]):
        with pytest.raises(UploadNotFound):
            await complete(bench, ada, upload, choose=lambda parts, wrong=wrong: wrong)

    def pick(parts):
        assert [part.number for part in parts] == [1, 2, 3]
        assert parts[0].md5 == hashlib.md5(noise(MIB, 1)).digest()
        return [1, 3]

    await complete(bench, ada, upload, choose=pick)
    assert await bench.get(ada, "/f") == noise(MIB, 1) + noise(MIB, 3)
    assert await used(bench, ada) == 2 * MIB


async def test_two_completes_make_one_version(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    await put(bench, ada, upload, 1, b"once")
    one, two = await asyncio.gather(complete(bench, ada, upload), complete(bench, ada, upload))
    assert one.version.id == two.version.id
    assert (await complete(bench, ada, upload)).version.number == 1
    with pytest.raises(UploadFinished):
        await put(bench, ada, upload, 2, b"late")
    await bench.filesystem.delete(ada, one.node.id)
    with pytest.raises(UploadFinished):
        await complete(bench, ada, upload)


async def test_a_part_that_breaks_off_is_not_kept(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    with pytest.raises(ClientGone):
        await put(bench, ada, upload, 1, torn(noise(2 * MIB)))
    with pytest.raises(LengthMismatch):
        await put(bench, ada, upload, 1, b"123", length=4)
    with pytest.raises(ChecksumMismatch):
        await put(bench, ada, upload, 1, b"123", expected_digests={"md5": b"0" * 16})
    for number in (0, 10_001, -1):
        with pytest.raises(BodyTooLarge):
            await put(bench, ada, upload, number, b"")
    assert await bench.filesystem.parts(ada, DOOR, upload.id) == []
    assert await used(bench, ada) == 0


async def test_conditions_at_the_end(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    await put(bench, ada, upload, 1, b"12")
    await bench.put(ada, "/f", b"there")
    with pytest.raises(PreconditionFailed):
        await complete(bench, ada, upload, conditions=Conditions(if_none_match=("*",)))
    with pytest.raises(NodeNotFound):
        await complete(bench, ada, upload, path="/none/f", parents=False)
    with pytest.raises(ChecksumMismatch):
        await complete(bench, ada, upload, digests={"md5": bytes(16)})
    result = await complete(bench, ada, upload, digests={"md5": hashlib.md5(b"12").digest()})
    assert (result.version.number, result.version.md5) == (2, hashlib.md5(b"12").digest())
    nowhere = await opened(bench, ada, None)
    with pytest.raises(InvalidPath):
        await complete(bench, ada, nowhere)


async def test_what_a_door_writes_with_the_version_comes_with_it_or_not_at_all(bench, ada):  # noqa: F811
    upload = await opened(bench, ada)
    await put(bench, ada, upload, 1, b"12")

    def refuse(tx, result):
        raise PreconditionFailed("no")

    with pytest.raises(PreconditionFailed):
        await complete(bench, ada, upload, also=refuse)
    seen = []
    await complete(bench, ada, upload, also=lambda tx, result: seen.append(result.node.path))
    assert seen == ["/f"]


async def test_no_parts_are_an_empty_file(bench, ada):  # noqa: F811
    assert (await complete(bench, ada, await opened(bench, ada))).node.size_bytes == 0


async def test_quota(bench, ada):  # noqa: F811
    await bench.filesystem.set_quota(admin(), (await bench.filesystem.home(ada)).id, 2 * MIB)
    upload = await opened(bench, ada)
    await put(bench, ada, upload, 1, noise(MIB))
    for more in ({}, {"length": 2 * MIB}):
        with pytest.raises(QuotaExceeded):
            await put(bench, ada, upload, 2, noise(2 * MIB, 2), **more)
    await put(bench, ada, upload, 2, noise(MIB, 2))
    with pytest.raises(QuotaExceeded):
        await bench.put(ada, "/other", b"1")
    await complete(bench, ada, upload)
    assert await used(bench, ada) == 2 * MIB


async def test_a_range_of_a_file_is_shared_not_copied(bench, ada):  # noqa: F811
    body = noise(12 * MIB)
    node = (await bench.put(ada, "/source", body)).node
    source = await bench.filesystem.open_file(ada, node.id)
    upload = await opened(bench, ada)
    stored = bench.chunks.counters.stored_bytes
    part = await bench.filesystem.copy_part(ada, DOOR, upload.id, 1, source)
    assert part.md5 == hashlib.md5(body).digest()
    assert bench.chunks.counters.stored_bytes == stored
    part = await bench.filesystem.copy_part(ada, DOOR, upload.id, 2, source, offset=1234, length=9 * MIB)
    assert part.md5 == hashlib.md5(body[1234 : 1234 + 9 * MIB]).digest()
    assert 0 < bench.chunks.counters.stored_bytes - stored < 9 * MIB
    for offset, length in ((0, len(body) + 1), (len(body) + 1, None), (-1, 2)):
        with pytest.raises(InvalidRange):
            await bench.filesystem.copy_part(ada, DOOR, upload.id, 3, source, offset=offset, length=length)
    await complete(bench, ada, upload)
    assert await bench.get(ada, "/f") == body + body[1234 : 1234 + 9 * MIB]


async def test_a_range_of_a_file_in_another_space(bench, ada):  # noqa: F811
    group = await bench.group("club")
    member = await bench.user("bob", [group])
    space = (await bench.filesystem.spaces(member))[1]
    node = (await bench.put(member, "/source", noise(MIB), space.id)).node
    source = await bench.filesystem.open_file(member, node.id)
    upload = await opened(bench, member)
    await bench.filesystem.copy_part(member, DOOR, upload.id, 1, source, offset=10, length=100)
    await complete(bench, member, upload)
    assert await bench.get(member, "/f") == noise(MIB)[10:110]
