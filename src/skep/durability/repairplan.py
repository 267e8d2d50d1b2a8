"""What a pack needs to be whole again: a pure function of its shards, the stores and their room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skep.base.errors import QuorumNotReached
from skep.base.ids import Id
from skep.durability.placement import Candidate, place
from skep.durability.records import PackPlaces, ShardPlace
from skep.durability.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Standing:
    """How repair sees a store."""

    zone: str
    leaving: bool = False
    """Draining or lost: its shards move elsewhere."""
    gone: bool = False
    """Lost, or unreachable for so long that it is taken as lost: its shards cannot be read."""


def readable(pack: PackPlaces, stores: Mapping[Id, Standing]) -> bool:
    """Whether enough good shards lie on stores that are not gone."""
    there = sum(
        shard.state == "ok" and (store := stores.get(shard.store_id)) is not None and not store.gone
        for shard in pack.shards
    )
    return there >= pack.scheme.data_shards


def waits(pack: PackPlaces, stores: Mapping[Id, Standing], thresholds: Thresholds) -> bool:
    """Whether a pack that lacks shards can wait: enough are good, no two of those share a zone, none has to leave.

    One that lacks nothing does not wait: there is only its place in the queue to be given up.
    """
    if any((store := stores.get(shard.store_id)) is not None and store.leaving for shard in pack.shards):
        return False
    keep, crowded, _ = _sorted(pack, stores)
    return not crowded and len(keep) < thresholds.total and thresholds.enough(len(keep))


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a pack needs: pure data, made by ``plan``."""

    rewrite: tuple[int, ...]
    """Shard numbers to be put anew."""
    targets: tuple[Id, ...]
    """Their stores, in the same order."""
    whole: bool
    """Whether the pack is as it should be afterwards: all shards, distinct zones, good stores."""


def plan(
    pack: PackPlaces, stores: Mapping[Id, Standing], candidates: Sequence[Candidate], shard_bytes: int
) -> RepairPlan:
    """Which shards to put where. A shard stays where it is good and alone in its zone.

    Of several shards in one zone all but the first are moved if another zone has room. Raises
    QuorumNotReached when shards must be put and no store takes them.
    """
    keep, crowded, must = _sorted(pack, stores)
    free_zones = {each.zone for each in candidates} - {stores[each.store_id].zone for each in keep}
    moving = [shard.number for shard in crowded[: max(0, len(free_zones) - len(must))]]
    kept = [*keep, *(shard for shard in crowded if shard.number not in moving)]
    rewrite = [*must, *moving]
    placed = place(
        pack.pack_id,
        len(rewrite),
        shard_bytes,
        candidates,
        kept_zones=[stores[each.store_id].zone for each in kept],
        kept_stores=[each.store_id for each in kept],
    )
    if len(placed.stores) < len(rewrite):
        raise QuorumNotReached(
            f"pack {pack.pack_id.hex()} has {len(rewrite)} shards to put and the stores have room for "
            f"{len(placed.stores)}: add a store with `skep store add`",
            stored=len(placed.stores),
            needed=len(rewrite),
        )
    return RepairPlan(tuple(rewrite), placed.stores, placed.spread)


def _sorted(pack: PackPlaces, stores: Mapping[Id, Standing]) -> tuple[list[ShardPlace], list[ShardPlace], list[int]]:
    """Shards that are good, one for each zone; further good ones of those zones; numbers to be put anew."""
    keep: list[ShardPlace] = []
    crowded: list[ShardPlace] = []
    zones: set[str] = set()
    for shard in pack.shards:
        store = stores.get(shard.store_id)
        if shard.state != "ok" or store is None or store.leaving or store.gone:
            continue
        (crowded if store.zone in zones else keep).append(shard)
        zones.add(store.zone)
    good = {shard.number for shard in (*keep, *crowded)}
    return keep, crowded, [number for number in range(pack.scheme.total) if number not in good]
