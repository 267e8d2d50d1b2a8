"""Pools: whose packs lie on whose stores, for every placement; how policies of several levels add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.durability.placement import Candidate, place
from skep.durability.pools import (
    HIVE,
    PLACEMENTS,
    Members,
    Offer,
    Placement,
    Policy,
    Pool,
    Rule,
    combine,
    pool_of,
    tier,
)

ADA, BOB = bytes(15) + b"a", bytes(15) + b"b"
HIVES, ADAS, BOBS = Offer(None, "fs"), Offer(ADA, "s3"), Offer(BOB, "s3")


@pytest.mark.parametrize(
    ("placement", "on_hives", "on_own"),
    [("hive", 0, None), ("own-first", 1, 0), ("mixed", 0, 0), ("own", None, 0)],
)
def test_which_stores_take_whose_packs(placement: Placement, on_hives: int | None, on_own: int | None) -> None:
    rule = Rule(placement)
    assert tier(Pool(ADA), rule, HIVES) == on_hives
    assert tier(Pool(ADA), rule, ADAS) == on_own
    assert tier(Pool(ADA), rule, BOBS) is None


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_hives_own_pool_never_lies_with_users(placement: Placement) -> None:
    assert tier(HIVE, Rule(placement), HIVES) == 0
    assert tier(HIVE, Rule(placement), ADAS) is None


@pytest.mark.parametrize(
    ("placement", "own_stores", "alone"),
    [
        ("hive", True, False),
        ("own-first", False, False),
        ("own-first", True, True),
        ("mixed", False, False),
        ("mixed", True, True),
        ("own", False, True),
        ("own", True, True),
    ],
)
def test_who_has_a_pool_of_their_own(placement: Placement, own_stores: bool, alone: bool) -> None:
    offers = [HIVES, BOBS, *([ADAS] if own_stores else [])]
    assert pool_of(ADA, Rule(placement), Rule("hive"), offers) == (Pool(ADA) if alone else HIVE)


def test_other_jurisdictions_make_a_pool_of_ones_own() -> None:
    strict = Rule("hive", (frozenset({"de"}),))
    assert pool_of(ADA, strict, Rule("hive"), [HIVES]) == Pool(ADA)
    assert pool_of(ADA, strict, strict, [HIVES]) == HIVE


@pytest.mark.parametrize(
    ("members", "takes"), [("array", {"array"}), ("cloud", {"s3", "dropbox"}), ("both", {"array", "s3", "dropbox"})]
)
def test_services_use_stores_of_their_kind(members: Members, takes: set[str]) -> None:
    kinds = ["fs", "memory", "array", "s3", "dropbox"]
    found = {kind for kind in kinds if tier(Pool(ADA, members), Rule("own-first"), Offer(ADA, kind)) is not None}
    assert found == takes


def test_the_nearest_placement_counts() -> None:
    hive, group, other = Policy(placement="hive"), Policy(placement="mixed"), Policy(placement="own")
    assert combine(Policy(), [], Policy()).placement == "own-first"
    assert combine(hive, [], Policy()).placement == "hive"
    assert combine(hive, [group, other], Policy()).placement == "own"  # what leans least on the hive
    assert combine(hive, [group, Policy()], Policy()).placement == "mixed"
    assert combine(hive, [group], Policy(placement="own-first")).placement == "own-first"


def test_a_users_choice_counts_where_it_is_offered_and_nobody_said_more_of_them() -> None:
    chosen = Policy(chosen="own")
    assert combine(Policy(), [], chosen, ["own"]).placement == "own"
    assert combine(Policy(), [], chosen, ["mixed"]).placement == "own-first"
    assert combine(Policy(), [], Policy(chosen="own", placement="hive"), ["own"]).placement == "hive"


def test_jurisdictions_add_up() -> None:
    rule = combine(Policy(forbidden=("US",)), [Policy(allowed=("DE", "FR", "US"))], Policy(allowed=(" de", "US")))
    assert [name for name in ("DE", "de ", "FR", "US", "") if rule.permits(name)] == ["DE", "de "]
    assert combine(Policy(forbidden=("US",)), [], Policy()).permits("")  # only named ones are forbidden


stores = st.lists(
    st.tuples(
        st.sampled_from([None, ADA, BOB]), st.sampled_from(["fs", "s3", "array"]), st.sampled_from(["", "DE", "US"]),
        st.integers(0, 3),
    ),
    max_size=9,
)  # fmt: skip
policies = st.builds(
    Policy,
    placement=st.sampled_from([None, *PLACEMENTS]),
    allowed=st.lists(st.sampled_from(["DE", "US"]), max_size=1).map(tuple),
    forbidden=st.lists(st.sampled_from(["DE", "US"]), max_size=1).map(tuple),
)


@given(stores, policies, policies, st.integers(1, 6), st.integers(0, 1000))
def test_no_shard_ever_lies_where_it_must_not(
    offered: list[tuple[bytes | None, str, str, int]], hive: Policy, own: Policy, count: int, name: int
) -> None:
    """And: own first means that the hive's stores get one only in a zone where one's own hold as many already."""
    rule, hives = combine(hive, [], own), combine(hive, [], Policy(placement="hive"))
    offers = {bytes(15) + bytes([n]): (Offer(*each[:3]), f"zone{each[3]}") for n, each in enumerate(offered)}
    pool = pool_of(ADA, rule, hives, [offer for offer, _ in offers.values()])
    in_force = rule if pool.owner_id is not None else hives
    candidates = [
        Candidate(store_id, zone, 1.0, None, found)
        for store_id, (offer, zone) in offers.items()
        if (found := tier(pool, in_force, offer)) is not None
    ]
    placed = place(name.to_bytes(32, "big"), count, 100, candidates)
    for store_id in placed.stores:
        offer, _ = offers[store_id]
        assert offer.owner_id in (None, pool.owner_id)
        assert not (offer.owner_id is None and pool.owner_id is not None and rule.placement == "own")
        assert not (offer.owner_id is not None and rule.placement == "hive")
        assert rule.permits(offer.jurisdiction)
    if rule.placement == "own-first" and count == 1 and placed.stores:
        mine = [each for each in candidates if each.tier == 0]
        assert not mine or offers[placed.stores[0]][0].owner_id == pool.owner_id
