from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skep.base.errors import BodyTooLarge, ClientGone, LengthMismatch, TimedOut
from skep.frontends.common.answers import send_bytes, send_stream
from skep.frontends.common.body import Body


def receiving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    queue = list(messages)

    async def receive() -> dict[str, Any]:
        if not queue:
            await asyncio.Event().wait()
        return queue.pop(0)

    return receive


def piece(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


def body(*messages: dict[str, Any], declared: int | None = None, limit: int = 1000, idle: float = 60) -> Body:
    return Body(receiving(*messages), declared=declared, limit_bytes=limit, idle_timeout_s=idle)


async def test_pieces_come_in_order_and_empty_ones_are_passed_over() -> None:
    stream = body(piece(b"ab"), piece(b""), piece(b"c", False), declared=3)
    assert [part async for part in stream] == [b"ab", b"c"]
    assert stream.finished
    assert stream.received_bytes == 3


async def test_a_body_as_long_as_declared_is_whole_before_the_server_says_so() -> None:
    stream = body(piece(b"ab"), piece(b"c"), declared=3)  # a further message would be waited for in vain
    async with asyncio.timeout(5):
        assert await stream.read(10) == b"abc"
    assert stream.finished


async def test_an_empty_body_is_empty() -> None:
    assert await body(piece(b"", False), declared=0).read(10) == b""


async def test_a_client_that_goes_makes_the_stream_raise() -> None:
    with pytest.raises(ClientGone):
        await body(piece(b"ab"), GONE, declared=10).read(100)


@pytest.mark.parametrize("declared", [1, 5])
async def test_another_length_than_declared_makes_the_stream_raise(declared: int) -> None:
    with pytest.raises(LengthMismatch) as caught:
        await body(piece(b"ab"), piece(b"c", False), declared=declared).read(100)
    assert caught.value.details["declared_bytes"] == declared


async def test_a_declared_length_over_the_limit_is_refused_before_reading() -> None:
    with pytest.raises(BodyTooLarge):
        body(declared=1001).check_declared()


async def test_an_undeclared_body_over_the_limit_is_cut_off() -> None:
    stream = body(piece(b"x" * 600), piece(b"x" * 600), piece(b"", False))
    with pytest.raises(BodyTooLarge):
        await stream.read(1000)
    assert stream.received_bytes == 1200


async def test_a_body_that_stalls_is_ended() -> None:
    with pytest.raises(TimedOut):
        await body(piece(b"a"), idle=0.01).read(100)


async def test_draining_takes_the_rest_quietly() -> None:
    stream = body(piece(b"a" * 400), piece(b"b" * 400), piece(b"", False))
    await anext(stream)
    await stream.drain(10_000, 1)
    assert stream.finished


async def test_draining_stops_at_its_limit_and_when_the_client_goes() -> None:
    stream = body(piece(b"a" * 400), piece(b"b" * 400), piece(b"", False))
    await stream.drain(100, 1)
    assert not stream.finished
    gone = body(GONE)
    await gone.drain(100, 1)
    assert gone.finished


class Sent(list[dict[str, Any]]):
    async def __call__(self, message: Any) -> None:
        self.append(dict(message))


async def test_head_answers_keep_the_length_and_leave_the_body_out() -> None:
    sent = Sent()
    await send_bytes(sent, 200, b"abc", [("X-Y", "z")], head_only=True)
    assert (b"content-length", b"3") in sent[0]["headers"]
    assert sent[1]["body"] == b""


async def test_a_stream_that_fails_at_once_sends_no_head() -> None:
    async def broken():  # type: ignore[no-untyped-def]
        raise TimedOut("no")
        yield b""

    sent = Sent()
    with pytest.raises(TimedOut):
        await send_stream(sent, 200, [], broken(), stall_timeout_s=1)
    assert sent == []


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    async def parts():  # type: ignore[no-untyped-def]
        yield b"a"

    async def stuck(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ClientGone):
        await send_stream(stuck, 200, [], parts(), stall_timeout_s=0.01)


async def test_a_header_with_a_line_break_is_never_sent() -> None:
    with pytest.raises(ValueError, match="line break"):
        await send_bytes(Sent(), 200, b"", [("location", "a\r\nb")])
