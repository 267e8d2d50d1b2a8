"""Balancing as a pure function: shares, zones, and the least that must move."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.ids import Id
from skep.durability.balance import TOLERANCE, Balancing, Bin, Placed, shares

SHARD = 100


def sid(number: int) -> Id:
    return bytes(15) + bytes([number])


def a_bin(number: int, used: int, *, weight: float = 1.0, zone: str | None = None, free: int | None = None) -> Bin:
    return Bin(sid(number), zone or f"z{number}", weight, used, free)


def test_shares_are_by_weight() -> None:
    bins = [a_bin(0, 900, weight=1), a_bin(1, 0, weight=2)]
    assert shares(bins, 10_000) == {sid(0): 300.0, sid(1): 600.0}


def test_a_zone_gets_no_more_than_the_packs_can_put_there() -> None:
    """A store ten times as large as two others: of packs of two shards it can hold one each."""
    bins = [a_bin(0, 600, weight=1), a_bin(1, 600, weight=1), a_bin(2, 0, weight=10)]
    assert shares(bins, 600) == {sid(0): 300.0, sid(1): 300.0, sid(2): 600.0}


def packs_on(stores: int, count: int, shards: int, seed: int) -> list[Placed]:
    """Packs of so many shards, each on distinct ones of the stores."""
    chance = random.Random(seed)
    return [
        Placed(chance.randbytes(32), SHARD, tuple(map(sid, chance.sample(range(stores), shards)))) for _ in range(count)
    ]


def held(packs: list[Placed], stores: int) -> list[int]:
    return [sum(SHARD for pack in packs for store in pack.stores if store == sid(number)) for number in range(stores)]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 6), st.integers(1, 3), st.integers(1, 4), st.lists(st.floats(0.5, 4), min_size=9, max_size=9),
    st.integers(0, 1000), st.integers(2, 9),
)  # fmt: skip
def test_any_plan_keeps_zones_apart_and_moves_the_least(
    stores: int, new: int, shards: int, weights: list[float], seed: int, zones: int
) -> None:
    shards = min(shards, stores)
    packs = packs_on(stores, 120, shards, seed)
    used = held(packs, stores + new)
    bins = [a_bin(n, used[n], weight=weights[n], zone=f"z{n % (zones + shards)}") for n in range(stores + new)]
    zone_of = {each.store_id: each.zone for each in bins}
    balancing = Balancing(bins, 120 * SHARD, 10_000)
    balancing.show(packs)
    where = {pack.pack_id: list(pack.stores) for pack in packs}
    for move in balancing.moves:
        before = len({zone_of[each] for each in where[move.pack_id]})
        assert where[move.pack_id][move.shard] == move.source
        where[move.pack_id][move.shard] = move.target
        assert len(set(where[move.pack_id])) == shards
        assert len({zone_of[each] for each in where[move.pack_id]}) >= before
    surplus = sum(max(0.0, each.used_bytes - balancing.share(each.store_id)) for each in bins)
    assert sum(move.size_bytes for move in balancing.moves) <= surplus + SHARD * len(bins)
    after = [sum(SHARD for places in where.values() for place in places if place == each.store_id) for each in bins]
    assert after == [balancing.holds[each.store_id] for each in bins]
    sources = {move.source for move in balancing.moves}
    assert sources.isdisjoint(move.target for move in balancing.moves)


def test_a_new_store_is_filled_to_its_share_and_nothing_moves_twice() -> None:
    packs = packs_on(3, 400, 2, seed=5)
    bins = [a_bin(n, used) for n, used in enumerate(held(packs, 4))]
    balancing = Balancing(bins, 400 * SHARD, 10_000)
    balancing.show(packs)
    share = 400 * 2 * SHARD / 4
    for each in bins:
        assert abs(balancing.holds[each.store_id] - share) <= TOLERANCE * share + SHARD
    again = Balancing([a_bin(n, balancing.holds[sid(n)]) for n in range(4)], 400 * SHARD, 10_000)
    assert again.done
    assert not again.moves


def test_a_full_store_gets_nothing_and_a_plan_has_a_length() -> None:
    packs = packs_on(2, 100, 1, seed=1)
    used = held(packs, 3)
    full = Balancing([a_bin(0, used[0]), a_bin(1, used[1]), a_bin(2, 0, free=SHARD * 3)], 100 * SHARD, 10_000)
    full.show(packs)
    assert len([move for move in full.moves if move.target == sid(2)]) == 3
    short = Balancing([a_bin(0, used[0]), a_bin(1, used[1]), a_bin(2, 0)], 100 * SHARD, 5)
    short.show(packs)
    assert len(short.moves) == 5
    assert short.done
