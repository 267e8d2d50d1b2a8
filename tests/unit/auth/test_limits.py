from __future__ import annotations

import pytest

from skep.auth import Principal
from skep.auth.buckets import Buckets, address_key
from skep.auth.verdicts import Verdicts
from skep.base.errors import RateLimited
from skep.testing.clock import FakeClock


async def test_a_bucket_empties_and_refills():
    clock = FakeClock()
    buckets = Buckets(clock, capacity=3, refill_s=10)
    for _ in range(3):
        buckets.take("ada")
    with pytest.raises(RateLimited) as failed:
        buckets.take("ada")
    assert failed.value.details["retry_after_s"] == 10
    buckets.take("bob")
    await clock.advance(10)
    buckets.take("ada")
    with pytest.raises(RateLimited):
        buckets.take("ada")
    buckets.give_back("ada")
    buckets.take("ada")


async def test_a_bucket_never_holds_more_than_its_size():
    clock = FakeClock()
    buckets = Buckets(clock, capacity=2, refill_s=1)
    buckets.take("ada")
    await clock.advance(1000)
    buckets.give_back("ada")
    assert len(buckets) == 0
    buckets.take("ada")
    buckets.take("ada")
    with pytest.raises(RateLimited):
        buckets.take("ada")


def test_a_clock_that_jumps_gives_no_attempts():
    clock = FakeClock()
    buckets = Buckets(clock, capacity=1, refill_s=60)
    buckets.take("ada")
    clock.jump(10**6)
    with pytest.raises(RateLimited):
        buckets.take("ada")


def test_memory_is_bounded_and_the_newest_are_kept():
    buckets = Buckets(FakeClock(), capacity=1, refill_s=60, keys_max=100)
    for number in range(10_000):
        buckets.take(f"key {number}")
    assert len(buckets) == 100
    with pytest.raises(RateLimited):
        buckets.take("key 9999")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix socket" * 100, ("unix socket" * 100)[:64]),
    ],
)
def test_addresses_of_one_customer_share_a_key(address, key):
    assert address_key(address) == key


def _principal(user: bytes) -> Principal:
    return Principal(user, "x", False, frozenset(), frozenset(), "token")


async def test_verdicts_are_believed_for_their_time():
    clock = FakeClock()
    verdicts = Verdicts(clock)
    verdicts.put(b"k", _principal(b"u"), for_s=60, voids=0)
    clock.jump(10**9)
    assert verdicts.get(b"k")
    await clock.advance(60)
    assert verdicts.get(b"k") is None
    assert len(verdicts) == 0
    verdicts.put(b"k", _principal(b"u"), for_s=0, voids=0)
    assert verdicts.get(b"k") is None


def test_a_verdict_from_before_a_void_is_not_stored_after_it():
    verdicts = Verdicts(FakeClock())
    noted = verdicts.voids
    verdicts.void_user(b"u")
    verdicts.put(b"k", _principal(b"u"), for_s=60, voids=noted)
    assert verdicts.get(b"k") is None


def test_voiding_takes_all_of_one_user_and_only_those():
    verdicts = Verdicts(FakeClock())
    for key, user in [(b"1", b"u"), (b"2", b"u"), (b"3", b"v")]:
        verdicts.put(key, _principal(user), for_s=60, voids=0)
    verdicts.void_user(b"u")
    assert [verdicts.get(key) is not None for key in (b"1", b"2", b"3")] == [False, False, True]


def test_verdicts_are_bounded():
    verdicts = Verdicts(FakeClock(), entries_max=10)
    for number in range(100):
        verdicts.put(bytes([number]), _principal(bytes([number % 7])), for_s=60, voids=0)
    assert len(verdicts) == 10
    assert verdicts.get(bytes([99]))
    assert not verdicts.get(bytes([89]))
