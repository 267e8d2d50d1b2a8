"""Placement: deterministic, spread over zones, proportional to weight, moving little."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.crypto.hashing import digest
from skep.durability.placement import Candidate, place, rank

PACKS = [digest(str(number).encode()) for number in range(2000)]


def store(number: int, zone: str | None = None, weight: float = 1.0, free_bytes: int | None = None) -> Candidate:
    return Candidate(bytes(15) + bytes([number]), zone or f"zone{number}", weight, free_bytes)


def test_distinct_zones_while_there_are_enough() -> None:
    stores = [store(0, "a"), store(1, "a"), store(2, "b"), store(3, "c")]
    zone_of = {each.store_id: each.zone for each in stores}
    for pack in PACKS[:200]:
        placed = place(pack, 3, 100, stores)
        assert sorted(zone_of[each] for each in placed.stores) == ["a", "b", "c"]
        assert placed.spread


def test_too_few_zones_are_used_evenly_and_said_so() -> None:
    placed = place(PACKS[0], 5, 100, [store(0), store(1)])
    assert sorted(Counter(placed.stores).values()) == [2, 3]
    assert not placed.spread


def test_a_full_store_is_passed_by() -> None:
    stores = [store(0, free_bytes=99), store(1, free_bytes=100), store(2, free_bytes=None)]
    for pack in PACKS[:50]:
        assert stores[0].store_id not in place(pack, 2, 100, stores).stores
    assert len(place(PACKS[0], 3, 100, stores[:2]).stores) == 1


def test_kept_shards_repel_new_ones() -> None:
    stores = [store(0, "a"), store(1, "a"), store(2, "b")]
    for pack in PACKS[:50]:
        placed = place(pack, 1, 100, stores, kept_zones=["a"], kept_stores=[stores[0].store_id])
        assert placed.stores == (stores[2].store_id,)
        crowded = place(pack, 1, 100, stores[:2], kept_zones=["a"], kept_stores=[stores[0].store_id])
        assert crowded.stores == (stores[1].store_id,)
        assert not crowded.spread


def test_shares_follow_the_weights() -> None:
    stores = [store(0, weight=1), store(1, weight=2), store(2, weight=5)]
    first = Counter(place(pack, 1, 100, stores).stores[0] for pack in PACKS)
    shares = [first[each.store_id] / len(PACKS) for each in stores]
    assert shares == [pytest.approx(want, abs=0.04) for want in (1 / 8, 2 / 8, 5 / 8)]


@given(st.integers(2, 8), st.integers(0, 7))
def test_losing_a_store_moves_only_its_own_shards(count: int, gone: int) -> None:
    stores = [store(number) for number in range(count)]
    gone %= count
    rest = [each for number, each in enumerate(stores) if number != gone]
    for pack in PACKS[:40]:
        before, after = place(pack, 1, 1, stores).stores, place(pack, 1, 1, rest).stores
        assert after == before or before == (stores[gone].store_id,)


def test_the_order_of_candidates_does_not_matter() -> None:
    stores = [store(number) for number in range(6)]
    assert rank(PACKS[1], stores) == rank(PACKS[1], stores[::-1])
    assert place(PACKS[1], 4, 1, stores) == place(PACKS[1], 4, 1, stores[::-1])
