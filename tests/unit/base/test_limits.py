"""Limits: who gets in, who waits, who is turned away, and that everything is given back."""

from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import RateLimited, TimedOut
from skep.base.limits import ByteBudget, FairGate, Gate, Pool, RateLimit, Shares, TokenBucket
from skep.testing.clock import FakeClock, settle


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_waiters_are_served_in_the_order_they_came(clock: FakeClock) -> None:
    pool = Pool("memory", 10, clock, wait_s=60)
    await pool.take(8)
    order: list[int] = []

    async def hold(number: int, amount: int) -> None:
        async with pool.hold(amount):
            order.append(number)

    large = asyncio.create_task(hold(1, 9))
    await settle()
    small = asyncio.create_task(hold(2, 1))
    await settle()
    assert (order, pool.waiting, pool.held) == ([], 2, 8)
    pool.give_back(8)
    await asyncio.gather(large, small)
    assert (order, pool.waiting, pool.held) == ([1, 2], 0, 0)


async def test_more_than_all_gets_all(clock: FakeClock) -> None:
    budget = ByteBudget("memory", 10, clock, wait_s=1)
    async with budget.hold(1000):
        assert budget.held == 10
    assert budget.held == 0


async def test_a_wait_has_an_end(clock: FakeClock) -> None:
    gate = Gate("uploads", 1, clock, wait_s=5, error=RateLimited)
    await gate.take(1)
    waiting = asyncio.create_task(gate.take(1))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    with pytest.raises(RateLimited, match="uploads: all 1 are in use"):
        await waiting
    assert gate.waiting == 0
    gate.give_back(1)
    assert gate.held == 0


async def test_the_queue_has_an_end(clock: FakeClock) -> None:
    gate = Gate("uploads", 1, clock, wait_s=5, queue_max=1)
    await gate.take(1)
    waiting = asyncio.create_task(gate.take(1))
    await settle()
    with pytest.raises(TimedOut, match="1 others are waiting"):
        await gate.take(1)
    gate.give_back(1)
    assert await waiting == 1


async def test_a_waiter_that_leaves_lets_those_behind_it_in(clock: FakeClock) -> None:
    pool = Pool("memory", 10, clock, wait_s=60)
    await pool.take(5)
    large = asyncio.create_task(pool.take(10))
    await settle()
    small = asyncio.create_task(pool.take(5))
    await settle()
    assert not small.done()
    large.cancel()
    await settle()
    assert small.done()
    assert (pool.held, pool.waiting) == (10, 0)


async def test_a_waiter_cancelled_as_its_turn_comes_holds_nothing(clock: FakeClock) -> None:
    pool = Pool("memory", 1, clock, wait_s=60)
    await pool.take(1)
    waiting = asyncio.create_task(pool.take(1))
    await settle()
    pool.give_back(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (pool.held, pool.waiting) == (0, 0)


async def test_what_is_held_is_given_back_when_the_block_fails(clock: FakeClock) -> None:
    gate = Gate("uploads", 1, clock, wait_s=60)

    async def fail() -> None:
        async with gate.enter():
            assert gate.held == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert gate.held == 0


async def test_a_bucket_fills_with_time_and_never_over_its_rim(clock: FakeClock) -> None:
    bucket = TokenBucket(clock, rate_per_s=2, burst=4)
    assert [bucket.wait_s() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    await clock.advance(0.5)
    assert bucket.wait_s() == 0
    await clock.advance(1000)
    assert bucket.is_full()
    assert [bucket.wait_s() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert bucket.wait_s(5) == float("inf")


def test_a_rate_of_zero_is_without_limit(clock: FakeClock) -> None:
    bucket = TokenBucket(clock, rate_per_s=0, burst=1)
    assert {bucket.wait_s() for _ in range(1000)} == {0.0}


async def test_each_caller_has_its_own_rate_and_is_told_how_long_to_wait(clock: FakeClock) -> None:
    limit = RateLimit("logins", clock, rate_per_s=0.1, burst=2)
    limit.check("a")
    limit.check("a")
    limit.check("b")
    with pytest.raises(RateLimited) as caught:
        limit.check("a")
    assert caught.value.details["retry_after_s"] == 10
    await clock.advance(10)
    limit.check("a")
    limit.forget("a")
    limit.check("a")
    limit.check("a")


def test_only_so_many_callers_are_remembered(clock: FakeClock) -> None:
    limit = RateLimit("logins", clock, rate_per_s=0.1, burst=1, callers_max=2)
    for caller in ("a", "b", "a", "c"):
        if caller == "a" and limit._buckets.get("a"):
            with pytest.raises(RateLimited):
                limit.check("a")
        else:
            limit.check(caller)
    assert list(limit._buckets) == ["a", "c"]


def test_a_pool_of_nothing_is_refused(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Pool("memory", 0, clock, wait_s=1)


def test_no_caller_takes_more_than_its_share_and_all_together_no_more_than_there_is() -> None:
    shares = Shares("waits", 3, each_max=2)
    with shares.enter("ada"), shares.enter("ada"):
        with pytest.raises(RateLimited, match="waits"), shares.enter("ada"):
            pass
        with shares.enter("bob"), pytest.raises(RateLimited), shares.enter("eve"):
            pass
        with shares.enter("eve"):
            pass
    with shares.enter("ada"):
        pass


async def test_one_caller_cannot_have_all_places(clock: FakeClock) -> None:
    gate = FairGate("uploads", 4, clock, each_max=2, wait_s=5)
    inside: list[str] = []
    leave = asyncio.Event()

    async def upload(who: str) -> None:
        async with gate.enter_as(who):
            inside.append(who)
            await leave.wait()

    greedy = [asyncio.create_task(upload("mallory")) for _ in range(5)]
    await settle()
    others = [asyncio.create_task(upload(who)) for who in ("ada", "ben")]
    await settle()
    assert inside == ["mallory", "mallory", "ada", "ben"]
    assert (gate.held, gate.waiting) == (4, 0)
    await clock.advance(5.1)
    outcomes = await asyncio.gather(*greedy[2:], return_exceptions=True)
    assert [type(one) for one in outcomes] == [TimedOut] * 3
    assert "of one user: all 2 are in use" in str(outcomes[0])
    leave.set()
    await asyncio.gather(*greedy[:2], *others)
    assert (gate.held, gate._own) == (0, {})
