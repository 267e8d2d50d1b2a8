"""What repair would do, as a pure function."""

from __future__ import annotations

import pytest

from skep.base.errors import QuorumNotReached
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import digest
from skep.durability.placement import Candidate
from skep.durability.records import PackPlaces, ShardPlace
from skep.durability.repairplan import RepairPlan, Standing, plan, readable

PACK = digest(b"pack")


def store_id(number: int) -> bytes:
    return bytes(15) + bytes([number])


def pack(*places: tuple[int, str], scheme: str = "ec(2,1)") -> PackPlaces:
    """A pack whose i-th shard is on the store of that number, in that state."""
    shards = tuple(ShardPlace(number, store_id(at), state) for number, (at, state) in enumerate(places))
    return PackPlaces(PACK, Scheme.parse(scheme), 1000, shards)


def planned(of: PackPlaces, zones: dict[int, str], **states: tuple[int, ...]) -> RepairPlan:
    """``zones`` by store number; ``leaving``, ``gone`` and ``full`` name the stores that are so."""
    leaving, gone, full = (states.get(name, ()) for name in ("leaving", "gone", "full"))
    stores = {store_id(n): Standing(zone, n in leaving or n in gone, n in gone) for n, zone in zones.items()}
    candidates = [
        Candidate(store_id(n), zone, 1.0, 0 if n in full else None)
        for n, zone in zones.items()
        if n not in leaving and n not in gone
    ]
    return plan(of, stores, candidates, 100)


ABC = {0: "a", 1: "b", 2: "c"}


def test_a_whole_pack_is_left_alone() -> None:
    assert planned(pack((0, "ok"), (1, "ok"), (2, "ok")), ABC) == RepairPlan((), (), True)


@pytest.mark.parametrize("state", ["missing", "corrupt"])
def test_a_bad_shard_goes_to_the_zone_that_is_free(state: str) -> None:
    found = planned(pack((0, "ok"), (1, state), (2, "ok")), {**ABC, 3: "a"})
    assert found == RepairPlan((1,), (store_id(1),), True)


def test_a_drained_store_is_emptied_and_not_written_to() -> None:
    found = planned(pack((0, "ok"), (1, "ok"), (2, "ok")), {**ABC, 3: "d"}, leaving=(1,))
    assert found == RepairPlan((1,), (store_id(3),), True)


def test_a_lost_store_and_one_that_has_no_row_are_replaced() -> None:
    found = planned(pack((0, "ok"), (1, "ok"), (9, "ok")), {**ABC, 3: "d"}, gone=(1,))
    assert found.rewrite == (1, 2)
    assert set(found.targets) == {store_id(2), store_id(3)}
    assert found.whole


def test_a_shard_without_a_row_is_made_anew() -> None:
    found = planned(pack((0, "ok"), (1, "ok")), ABC)
    assert found == RepairPlan((2,), (store_id(2),), True)


def test_crowded_shards_move_when_a_zone_is_free() -> None:
    found = planned(pack((0, "ok"), (1, "ok"), (1, "ok")), {**ABC, 3: "a"})
    assert found == RepairPlan((2,), (store_id(2),), True)


def test_crowded_shards_stay_when_none_is() -> None:
    two_zones = {0: "a", 1: "b", 2: "b"}
    assert planned(pack((0, "ok"), (1, "ok"), (2, "ok")), two_zones) == RepairPlan((), (), False)
    found = planned(pack((0, "ok"), (1, "ok"), (2, "missing")), two_zones)
    assert found == RepairPlan((2,), found.targets, False)


def test_a_free_zone_goes_to_the_lost_shard_before_the_crowded_one() -> None:
    found = planned(pack((0, "ok"), (0, "ok"), (1, "missing")), {0: "a", 1: "b", 2: "b"}, leaving=(2,))
    assert found == RepairPlan((2,), (store_id(1),), False)


def test_a_readonly_store_keeps_its_shards() -> None:
    stores = {store_id(n): Standing(zone) for n, zone in ABC.items()}
    candidates = [Candidate(store_id(n), ABC[n], 1.0) for n in (0, 1)]
    assert plan(pack((0, "ok"), (1, "ok"), (2, "ok")), stores, candidates, 100) == RepairPlan((), (), True)


def test_without_room_it_says_so() -> None:
    with pytest.raises(QuorumNotReached, match="skep store add"):
        planned(pack((0, "ok"), (1, "missing"), (2, "ok")), ABC, full=(0, 1, 2))


def test_a_pack_is_readable_from_what_is_not_gone() -> None:
    stores = {
        store_id(0): Standing("a"),
        store_id(1): Standing("b", leaving=True),
        store_id(2): Standing("c", True, True),
    }
    assert readable(pack((0, "ok"), (1, "ok"), (2, "ok")), stores)
    assert not readable(pack((0, "ok"), (1, "corrupt"), (2, "ok")), stores)
    assert not readable(pack((0, "ok"), (9, "ok"), (2, "ok")), stores)
