"""Which shards to move so that stores fill evenly: a pure function of the stores and the packs.

Each store's share is in proportion to its weight, as far as zones allow: a pack puts one shard into a zone, so that
a zone can hold no more than one shard of every pack. What such a zone cannot hold is shared among the others
(water-filling). Shards move from stores that hold more than their share to stores that hold less, and stop at the
share: nothing moves twice, nothing moves between two stores that are both above or both below, so that the bytes
moved are the least that lead there. (Garage reaches the same with a flow over fixed partitions; packs are many and
small, so that taking them one by one comes as close.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skep.base.ids import Id

TOLERANCE = 0.05
"""Nothing moves while every store is within this part of its share."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A store, as balancing sees it."""

    store_id: Id
    zone: str
    weight: float
    used_bytes: int
    free_bytes: int | None
    """None: unknown, taken as enough."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One pack: where its shards lie, and how large each is."""

    pack_id: bytes
    shard_bytes: int
    stores: tuple[Id | None, ...]
    """By shard number; None: missing, damaged, or on a store that takes no part."""
    allowed: frozenset[Id] | None = None
    """The stores that its shards may move to; None: all."""


@dataclass(frozen=True, slots=True)
class Move:
    """One shard from one store to another."""

    pack_id: bytes
    shard: int
    source: Id
    target: Id
    size_bytes: int


def shares(bins: Sequence[Bin], zone_max_bytes: int) -> dict[Id, float]:
    """How many bytes each store should hold. ``zone_max_bytes`` is the most that the packs can put into one zone."""
    left = float(sum(each.used_bytes for each in bins))
    open_bins = list(bins)
    result: dict[Id, float] = {}
    while open_bins:
        weight = sum(each.weight for each in open_bins)
        capped = [zone for zone, part in _zone_weights(open_bins).items() if left * part / weight > zone_max_bytes + 1]
        if not capped or len(capped) == len(_zone_weights(open_bins)):
            return result | {each.store_id: left * each.weight / weight for each in open_bins}
        for zone in capped:
            members = [each for each in open_bins if each.zone == zone]
            inside = sum(each.weight for each in members)
            result |= {each.store_id: zone_max_bytes * each.weight / inside for each in members}
            left -= zone_max_bytes
        open_bins = [each for each in open_bins if each.zone not in capped]
    return result


def _zone_weights(bins: Sequence[Bin]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for each in bins:
        weights[each.zone] = weights.get(each.zone, 0.0) + each.weight
    return weights


class Balancing:
    """Moves found so far; packs are shown to it one after the other."""

    def __init__(
        self, bins: Sequence[Bin], zone_max_bytes: int, moves_max: int, zones: Mapping[Id, str] | None = None
    ) -> None:
        """``zones``: of all stores, those that take no part in this too."""
        self._zones = zones or {each.store_id: each.zone for each in bins}
        self._bins: Mapping[Id, Bin] = {each.store_id: each for each in bins}
        self._share = shares(bins, zone_max_bytes)
        self._holds = {each.store_id: each.used_bytes for each in bins}
        self._room = {each.store_id: each.free_bytes for each in bins}
        self._moves_max = moves_max
        self._uneven = any(self._is_off(store_id) for store_id in self._bins)
        self.moves: list[Move] = []

    @property
    def done(self) -> bool:
        """Whether no store holds much more than its share, or the plan is as long as it may be."""
        return len(self.moves) >= self._moves_max or not any(self.surplus(store_id) >= 1 for store_id in self._bins)

    @property
    def holds(self) -> Mapping[Id, int]:
        """What each store holds once all moves are made, in bytes."""
        return self._holds

    def share(self, store_id: Id) -> float:
        """What a store should hold, in bytes."""
        return self._share[store_id]

    def surplus(self, store_id: Id) -> float:
        """Bytes that a store holds over its share; 0 where all stores were within the tolerance to begin with."""
        return max(0.0, self._holds[store_id] - self._share[store_id]) if self._uneven else 0.0

    def _is_off(self, store_id: Id) -> bool:
        return abs(self._holds[store_id] - self._share[store_id]) > TOLERANCE * self._share[store_id]

    def show(self, packs: Iterable[Placed]) -> None:
        """Look at packs and plan the moves that they offer."""
        for pack in packs:
            if self.done:
                return
            self._look_at(pack)

    def _look_at(self, pack: Placed) -> None:
        for number, source in enumerate(pack.stores):
            if source is None or source not in self._bins or self.surplus(source) < pack.shard_bytes / 2:
                continue
            target = self._target(pack, number, source)
            if target is not None:
                self._take(Move(pack.pack_id, number, source, target, pack.shard_bytes))
                return  # a pack gives one shard a plan: its other places stay as they were read

    def _target(self, pack: Placed, number: int, source: Id) -> Id | None:
        """The store that lacks most for its size, in a zone that the pack's other shards leave free."""
        others = [store for at, store in enumerate(pack.stores) if at != number and store is not None]
        zones = {self._zones[store] for store in others if store in self._zones}
        best, best_lack = None, 0.0
        for store_id, each in self._bins.items():
            room = self._room[store_id]
            lack = self._share[store_id] - self._holds[store_id]
            taken = store_id == source or store_id in others or each.zone in zones
            taken = taken or (pack.allowed is not None and store_id not in pack.allowed)
            full = room is not None and room < pack.shard_bytes
            if taken or full or lack < pack.shard_bytes / 2:
                continue
            if lack / max(1.0, self._share[store_id]) > best_lack:
                best, best_lack = store_id, lack / max(1.0, self._share[store_id])
        return best

    def _take(self, move: Move) -> None:
        self.moves.append(move)
        self._holds[move.source] -= move.size_bytes
        self._holds[move.target] += move.size_bytes
        room = self._room[move.target]
        if room is not None:
            self._room[move.target] = room - move.size_bytes
