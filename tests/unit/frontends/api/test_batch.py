from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from skep.base.errors import BodyTooLarge, MalformedRequest
from skep.frontends.api.batch_frames import BATCH_TYPE, MAGIC, Frame, FrameHead, encode_batch, encode_frame, read_batch

BATCH = "/api/filesystem/batch"
KIND = {"content-type": BATCH_TYPE}


def files(count: int, size: int = 100) -> list[tuple[FrameHead, bytes]]:
    return [
        (FrameHead(path=f"/d{n % 7}/f{n}", size_bytes=size, modified_us=n), bytes([n % 256]) * size)
        for n in range(count)
    ]


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(
    body: bytes, size: int = 1 << 16, items: int = 100, item: int = 1000, total: int = 10_000
) -> list[Frame]:
    stream = read_batch(pieces(body, size), items_max=items, item_bytes_max=item, batch_bytes_max=total)
    return [frame async for frame in stream]


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 16])
async def test_frames_come_out_however_the_body_is_cut(size: int) -> None:
    sent = [*files(5), (FrameHead(path="/empty", size_bytes=0), b"")]
    assert [(frame.head, frame.body) for frame in await read(encode_batch(sent), size)] == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"XXXX\0\0\0\0",
        MAGIC,
        MAGIC + b"\0\0\0\x05{}",
        MAGIC + b"\0\0\0\x02[]",
        encode_batch(files(2))[:-4],
        encode_batch(files(2))[:-5],
        encode_batch(files(2)) + b"more",
        MAGIC + encode_frame(FrameHead(path="/a", size_bytes=0), b"").replace(b":0", b":-1") + b"\0\0\0\0",
    ],
)
async def test_torn_or_malformed_batches_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        await read(body)


async def test_limits_of_a_batch() -> None:
    with pytest.raises(BodyTooLarge):
        await read(encode_batch(files(101)))
    with pytest.raises(BodyTooLarge):
        await read(encode_batch(files(1, 1001)))
    with pytest.raises(BodyTooLarge):
        await read(encode_batch(files(11, 1000)))
    with pytest.raises(BodyTooLarge):
        await read(MAGIC + b"\x7f\0\0\0")


async def test_many_files_in_one_call(ada: httpx.AsyncClient) -> None:
    sent = files(300)
    answer = await ada.post(BATCH, content=encode_batch(sent), headers=KIND)
    assert answer.status_code == 200
    result = answer.json()
    assert (result["stored"], result["failed"]) == (300, 0)
    assert [one["path"] for one in result["results"]] == [head.path for head, _ in sent]
    assert {one["status"] for one in result["results"]} == {201}
    back = await ada.get("/api/filesystem/data", params={"path": "/d3/f10"})
    assert back.content == sent[10][1]
    again = (await ada.post(BATCH, content=encode_batch(sent[:2]), headers=KIND)).json()
    assert [one["status"] for one in again["results"]] == [200, 200]


async def test_one_bad_file_fails_alone(ada: httpx.AsyncClient) -> None:
    sent = [
        (FrameHead(path="/ok", size_bytes=1), b"1"),
        (FrameHead(path="/../bad", size_bytes=1), b"2"),
        (FrameHead(path="/ok/below", size_bytes=1), b"3"),
        (FrameHead(path="/new", size_bytes=1, if_match=("*",)), b"4"),
        (FrameHead(path="/sum", size_bytes=1, md5=hashlib.md5(b"other").hexdigest()), b"5"),
        (FrameHead(path="/fine", size_bytes=1, if_none_match=("*",), md5=hashlib.md5(b"6").hexdigest()), b"6"),
    ]
    result = (await ada.post(BATCH, content=encode_batch(sent), headers=KIND)).json()
    codes = [one.get("problem", {}).get("code") for one in result["results"]]
    assert codes == [None, "invalid-name", "name-clash", "precondition-failed", "checksum-mismatch", None]
    assert [one["status"] for one in result["results"]] == [201, 400, 409, 412, 422, 201]
    assert (result["stored"], result["failed"]) == (2, 4)


async def test_a_torn_batch_stores_nothing(ada: httpx.AsyncClient) -> None:
    answer = await ada.post(BATCH, content=encode_batch(files(50))[:-10], headers=KIND)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert (await ada.get("/api/filesystem/info")).json()["dirs"] == []
    assert (await ada.post(BATCH, content=b"{}")).status_code == 400
