from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.errors import BodyTooLarge, MalformedRequest
from skep.frontends.common.form import PARTS_MAX, FormReader

TYPE = "multipart/form-data; boundary=foo"


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read_all(
    body: bytes, size: int = 1 << 16, kind: str = TYPE, *, tolerant: bool = False
) -> list[tuple[str, str | None, bytes]]:
    form = FormReader(kind, pieces(body, size), tolerant=tolerant)
    found = []
    while (part := await form.next_part()) is not None:
        found.append((part.name, part.filename, await form.value(1 << 20)))
    return found


def part(name: str, data: bytes, filename: str | None = None, boundary: str = "foo") -> bytes:
    extra = f'; filename="{filename}"' if filename is not None else ""
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"


@given(
    st.lists(st.tuples(st.text("abc", max_size=3), st.binary(max_size=200)), min_size=1, max_size=5),
    st.integers(1, 50),
)
async def test_parts_come_out_however_the_body_is_cut(parts: list[tuple[str, bytes]], size: int) -> None:
    parts = [(name, data) for name, data in parts if b"\r\n--foo" not in data]
    body = b"".join(part(name, data) for name, data in parts) + b"--foo--\r\n"
    assert await read_all(body, size) == [(name, None, data) for name, data in parts]


@pytest.mark.parametrize("data", [b"\r\n--fo", b"\r\n--foX", b"--foo", b"\r\n", b"\r", b"x\r\n--foo-x" * 3])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_data_that_looks_like_a_delimiter_stays_data(data: bytes, size: int) -> None:
    assert await read_all(part("f", data, "a.bin") + b"--foo--\r\n", size) == [("f", "a.bin", data)]


async def test_names_are_utf8() -> None:
    assert (await read_all(part("näme", b"1", "日本.txt") + b"--foo--"))[0][:2] == ("näme", "日本.txt")


SAMPLE = (
    b'--foo\r\nContent-Disposition: name="encryption"\r\n\r\naes256-md5\r\n'
    b'--foo\r\nContent-Disposition: name="durability"\r\n\r\nraid1(3)\r\n'
    b"--foo\r\n\r\n<<data>>\r\n\r\n"
)


@pytest.mark.parametrize("end", [b"--foo", b"--foo\r\n", b"--foo--", b"--foo--\r\n"])
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_the_malformed_sample_is_taken_where_it_is_expected(end: bytes, size: int) -> None:
    found = await read_all(SAMPLE + end, size, 'multipart/form-data; boundary="--foo"', tolerant=True)
    assert found == [
        ("encryption", None, b"aes256-md5"),
        ("durability", None, b"raid1(3)"),
        ("", None, b"<<data>>\r\n"),
    ]


async def test_without_any_delimiter_at_the_end_all_bytes_are_data() -> None:
    found = await read_all(b"--foo\r\n\r\n<<data>>\r\n", 4, tolerant=True)
    assert found == [("", None, b"<<data>>\r\n")]


async def test_a_form_without_its_end_is_refused_elsewhere() -> None:
    with pytest.raises(MalformedRequest):
        await read_all(part("f", b"data", "x"))
    with pytest.raises(MalformedRequest):
        await read_all(b"")


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300]
)
async def test_other_types_are_refused(kind: str | None) -> None:
    with pytest.raises(MalformedRequest):
        FormReader(kind, pieces(b"", 1))


async def test_garbage_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        await read_all(b"this is no form at all")
    with pytest.raises(MalformedRequest):
        await read_all(b"--foo\r\nno header\x00\r\n\r\n")


async def test_limits_on_parts_fields_and_headers() -> None:
    with pytest.raises(BodyTooLarge):
        await read_all(part("a", b"1") * (PARTS_MAX + 1) + b"--foo--")
    form = FormReader(TYPE, pieces(part("a", b"x" * 100) + b"--foo--", 1000))
    await form.next_part()
    with pytest.raises(BodyTooLarge):
        await form.value(99)
    with pytest.raises(MalformedRequest):
        await read_all(b"--foo\r\nx: " + b"y" * 10_000 + b"\r\n\r\n\r\n--foo--")


async def test_a_field_that_is_no_text_is_refused() -> None:
    form = FormReader(TYPE, pieces(part("a", b"\xff") + b"--foo--", 1000))
    await form.next_part()
    with pytest.raises(MalformedRequest):
        await form.text()
