"""Which store gets which shard: a pure function of the pack, the stores and their room.

Stores are ranked per pack by weighted rendezvous hashing (Thaler and Ravishankar 1998; weights
as in Schindelhauer and Schomaker 2005): each store's score depends only on the pack's id, the
store's id and the store's weight, so that adding or losing one store moves only the shards that
it gains or loses, and over many packs each store is used in proportion to its capacity.

What always holds: the same input gives the same places; while enough zones have room, shards lie
in distinct zones; otherwise zones are reused as evenly as they can be, and the result says so.
Of zones that hold equally many shards of the pack those with a store of the lowest tier are taken first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from skep.base.ids import Id
from skep.crypto.hashing import digest

_SCALE = float(1 << 64)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A store that may take a shard."""

    store_id: Id
    zone: str
    weight: float
    """Relative capacity, above 0."""
    free_bytes: int | None = None
    """What it can still take; None: unknown, taken as enough."""
    tier: int = 0
    """How willingly it is used, the lower the more: one's own stores before the hive's."""


@dataclass(frozen=True, slots=True)
class Placement:
    """An answer: ``stores[i]`` gets the i-th wanted shard."""

    stores: tuple[Id, ...]
    spread: bool
    """Whether all shards, kept ones included, lie in distinct zones."""


def score(pack_id: bytes, candidate: Candidate) -> float:
    """The rank of a store for a pack; higher is better."""
    draw = int.from_bytes(digest(pack_id, candidate.store_id)[:8], "big")
    return -candidate.weight / math.log((draw + 0.5) / _SCALE)


def rank(pack_id: bytes, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates from best to worst for this pack."""
    return sorted(candidates, key=lambda each: (-score(pack_id, each), each.store_id))


def place(
    pack_id: bytes,
    count: int,
    shard_bytes: int,
    candidates: Sequence[Candidate],
    *,
    kept_zones: Collection[str] = (),
    kept_stores: Collection[Id] = (),
) -> Placement:
    """Choose stores for ``count`` shards of ``shard_bytes`` each.

    ``kept_zones`` and ``kept_stores`` hold the pack's other shards already (repair, drain): a
    zone without one is preferred, then a store without one, then the one with the fewest.
    Returns fewer than ``count`` places only when no candidate has room for one more.
    """
    ranked = rank(pack_id, candidates)
    room = {each.store_id: math.inf if each.free_bytes is None else each.free_bytes for each in ranked}
    zone_load = dict.fromkeys((each.zone for each in ranked), 0)
    store_load = dict.fromkeys((each.store_id for each in ranked), 0)
    for zone in kept_zones:
        zone_load[zone] = zone_load.get(zone, 0) + 1
    for store_id in kept_stores:
        store_load[store_id] = store_load.get(store_id, 0) + 1
    chosen: list[Id] = []
    for _ in range(count):
        fitting = [each for each in ranked if room[each.store_id] >= shard_bytes]
        if not fitting:
            break
        best = min(fitting, key=lambda each: (zone_load[each.zone], each.tier, store_load[each.store_id]))
        chosen.append(best.store_id)
        room[best.store_id] -= shard_bytes
        zone_load[best.zone] += 1
        store_load[best.store_id] += 1
    return Placement(tuple(chosen), spread=max(zone_load.values(), default=0) <= 1)
