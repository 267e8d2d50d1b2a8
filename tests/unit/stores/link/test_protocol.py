"""Liveness, pace, flow control and what breaks the protocol."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.clock import SystemClock
from skep.base.errors import LimitReached, MalformedRequest, ObjectNotFound, StoreUnavailable
from skep.stores.link.caller import LinkedStore
from skep.stores.link.failures import from_wire, to_wire
from skep.stores.link.frames import CONTROL_MAX_BYTES, DATA_BYTES, Kind, Slices, decode, encode, encode_window
from skep.stores.link.liveness import BUSY_DEAD_S, DEAD_S, PING_S, Liveness
from skep.stores.link.messages import Response, encode_message
from skep.stores.link.outbox import CONTROL_FRAMES_MAX, Outbox
from skep.stores.link.pace import Pacer
from skep.testing.clock import FakeClock
from skep.testing.links import linked_pair
from skep.testing.stores import memory_store


def test_a_silent_peer_is_asked_once_and_given_up_later() -> None:
    peer = Liveness(0.0)
    assert [peer.look(at, busy=False) for at in (0, PING_S - 1, PING_S, PING_S + 5)] == ["fine", "fine", "ask", "fine"]
    assert peer.look(DEAD_S - 1, busy=False) == "fine"
    assert peer.look(DEAD_S, busy=False) == "dead"
    peer.heard(DEAD_S)
    assert peer.look(DEAD_S + 1, busy=False) == "fine"


def test_while_requests_wait_silence_is_suspicious_sooner() -> None:
    peer = Liveness(0.0)
    assert peer.look(5, busy=True) == "ask"
    assert peer.look(BUSY_DEAD_S, busy=True) == "dead"


def test_a_request_after_a_long_silence_does_not_kill_the_link() -> None:
    peer = Liveness(0.0)
    assert peer.look(29, busy=True) == "ask"
    assert peer.look(30, busy=True) == "fine"


@given(st.binary(max_size=40))
def test_no_message_does_more_than_be_refused(raw: bytes) -> None:
    try:
        frame = decode(raw)
    except MalformedRequest:
        return
    assert encode(frame.kind, frame.payload, stream=frame.stream, end=frame.end) == raw


def test_frames_that_are_too_long_are_refused() -> None:
    decode(encode(Kind.DATA, bytes(DATA_BYTES), stream=1))
    for frame in (encode(Kind.DATA, bytes(DATA_BYTES + 1), stream=1), encode(Kind.PING, bytes(CONTROL_MAX_BYTES + 1))):
        with pytest.raises(MalformedRequest):
            decode(frame)


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 12))
def test_slices_are_the_parts_in_order(parts: list[bytes], step: int) -> None:
    slices, found = Slices(parts), []
    while taken := slices.take(step):
        assert sum(len(piece) for piece in taken) <= step
        found += [bytes(piece) for piece in taken]
    assert b"".join(found) == b"".join(parts)


async def test_a_pace_is_kept_over_time() -> None:
    clock = FakeClock()
    pacer = Pacer(clock, 1_000)
    waiting = asyncio.gather(*(pacer.spend(500) for _ in range(4)))
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(0.2)
    await asyncio.wait_for(waiting, 5)
    await Pacer(clock, None).spend(1 << 60)


async def test_limits_hold_for_shards_both_ways() -> None:
    clock = SystemClock()
    async with linked_pair(memory_store(), clock=clock, up=20_000_000, down=20_000_000) as (linked, _):
        started_s = clock.monotonic_s()
        await linked.put("a", [bytes(4_000_000)])
        await linked.get("a")
        assert clock.monotonic_s() - started_s >= 0.35  # 8 MB at 20 MB/s; never less


async def test_puts_that_do_not_fit_into_memory_wait_for_each_other() -> None:
    store = memory_store()
    async with linked_pair(store, memory_bytes=4_000_000) as (linked, _):
        await asyncio.gather(*(linked.put(f"k{number}", [bytes([number]) * 3_000_000]) for number in range(6)))
        for number in range(6):
            assert await linked.get(f"k{number}") == bytes([number]) * 3_000_000


async def test_many_calls_share_the_link() -> None:
    async with linked_pair(memory_store()) as (linked, _):
        big = bytes(20_000_000)
        putting = asyncio.create_task(linked.put("big", [big]))
        for number in range(50):
            await linked.put(f"small{number}", [b"x"])
            assert (await linked.stat(f"small{number}")).size_bytes == 1
        await putting
        assert await linked.get("big") == big


async def _nowhere(message: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "frame",
    [
        encode_message(Kind.RESPONSE, Response(), stream=9),
        encode(Kind.REQUEST, b"{}", stream=1),
        encode(Kind.RESPONSE, b"[", stream=1),
        encode(Kind.WINDOW, b"123", stream=1),
        encode(Kind.DATA, b"unasked", stream=1),
    ],
)
async def test_an_agent_that_breaks_the_protocol_is_found_out(frame: bytes) -> None:
    linked = LinkedStore(Outbox(_nowhere), "the agent")
    asking = asyncio.create_task(linked.stat("a"))
    await asyncio.sleep(0)
    with pytest.raises(MalformedRequest):
        linked.received(decode(frame))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_an_agent_that_sends_more_than_was_granted_is_found_out() -> None:
    linked = LinkedStore(Outbox(_nowhere), "the agent")
    asking = asyncio.create_task(linked.get("a", 0, 10))
    await asyncio.sleep(0)
    linked.received(decode(encode_message(Kind.RESPONSE, Response(size=10), stream=1, end=False)))
    linked.received(decode(encode(Kind.DATA, b"12345", stream=1)))
    with pytest.raises(MalformedRequest):
        linked.received(decode(encode(Kind.DATA, b"678901", stream=1)))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_hive_that_breaks_the_protocol_is_found_out() -> None:
    async with linked_pair(memory_store()) as (linked, answerer):
        await linked.put("a", [b"x"])
        for frame in (
            encode(Kind.REQUEST, b'{"verb":"put","length":5}', stream=1, end=True),
            encode(Kind.DATA, b"x", stream=99),
            encode_message(Kind.RESPONSE, Response(), stream=99),
            encode(Kind.REQUEST, b'{"verb":"format"}', stream=98, end=True),
        ):
            with pytest.raises(MalformedRequest):
                answerer.received(decode(frame))
        answerer.received(decode(encode(Kind.REQUEST, b'{"verb":"put","key":"b","length":9000000}', stream=100)))
        answerer.received(decode(encode(Kind.DATA, bytes(DATA_BYTES), stream=100)))  # the first window
        with pytest.raises(MalformedRequest):
            answerer.received(decode(encode(Kind.DATA, b"x", stream=100)))
        answerer.received(decode(encode_window(1, 5)))  # a stream that is over: dropped


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    outbox = Outbox(_nowhere)
    for _ in range(CONTROL_FRAMES_MAX):
        outbox.post(b"ping")
    with pytest.raises(LimitReached):
        outbox.post(b"ping")


def test_errors_cross_with_code_and_message_and_no_more() -> None:
    crossed = from_wire(to_wire(ObjectNotFound("there is no object a", secret="x")), "desk")
    assert (type(crossed), crossed.message, dict(crossed.details)) == (
        ObjectNotFound, "desk: there is no object a", {},
    )  # fmt: skip
    foreign = to_wire(LimitReached("odd"))
    assert type(from_wire(foreign, "desk")) is StoreUnavailable
