"""Quorum writes: put the shards of one pack on stores in distinct zones.

Each shard goes to the store that placement chose; where a store fails, the shard goes to the
next best one that has not failed. The write stands once the scheme's quorum of shards is
durable (`thresholds.wanted`): stragglers get a moment more, then the pack is recorded without them, as degraded, and
repair makes them good. Below the quorum the write fails and what was put is garbage, which the
sweep of unknown shards collects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from skep.base.errors import (
    QuorumNotReached,
    SkepError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.chunks.shard import Shard
from skep.durability.placement import Candidate, Placement, place
from skep.durability.policies import Pools
from skep.durability.pools import Pool
from skep.durability.recording import WrittenShard
from skep.durability.records import shard_key
from skep.durability.storeset import StoreSet
from skep.durability.thresholds import ThresholdBook


@dataclass(frozen=True, slots=True)
class PutShards:
    """What became of the shards of a pack."""

    shards: tuple[WrittenShard, ...]
    spread: bool
    """Whether the durable shards lie in distinct zones."""
    late: tuple[asyncio.Task[WrittenShard], ...] = ()
    """Puts that still run, counted as missing: the shards' buffers may not be released until they end."""


class ShardWriter:
    """Writes packs' shards to the stores of a hive."""

    def __init__(
        self, stores: StoreSet, pools: Pools, thresholds: ThresholdBook, *, straggler_s: float, put_timeout_s: float
    ) -> None:
        self._stores = stores
        self._pools = pools
        self._thresholds = thresholds
        self._straggler_s = straggler_s
        self._put_timeout_s = put_timeout_s

    async def put(self, pack_id: bytes, scheme: Scheme, shards: Sequence[Shard], pool: Pool) -> PutShards:
        """Make the shards durable at quorum or better, on stores of the pool.

        Raises QuorumNotReached (too few stores took theirs), StoreFull (none has room) or StoreReadOnly.
        """
        size_bytes = max(shard.size_bytes for shard in shards)
        candidates = await self._stores.candidates(self._pools.tiers(pool))
        placement = place(pack_id, len(shards), size_bytes, candidates)
        self._check_reachable(scheme, candidates, placement, pool)
        if len(shards) == 1:
            alone = set(placement.stores) if pool.members else None
            written = [
                await self._put_one(pack_id, shards[0], placement.stores[0], candidates, placement.stores, alone)
            ]
            late: tuple[asyncio.Task[WrittenShard], ...] = ()
        else:
            written, late = await self._put_all(pack_id, scheme, shards, placement, candidates, pool)
        try:
            spread = self._check_stored(scheme, written, pool)
        except SkepError:
            await _end(late)
            raise
        return PutShards(tuple(written), spread, late)

    def _check_stored(self, scheme: Scheme, written: Sequence[WrittenShard], pool: Pool) -> bool:
        """Whether the stored shards lie in distinct zones. Raises QuorumNotReached when they are too few."""
        stored = [shard for shard in written if shard.stored]
        wanted = self._thresholds.of(scheme).wanted
        if len(stored) < wanted:
            refusals = {shard.refused for shard in written if not shard.stored}
            if refusals == {StoreFull}:
                raise StoreFull("the stores are full: add one with `skep store add`, or free some")
            if refusals == {StoreReadOnly}:
                raise StoreReadOnly("the stores can only be read now: see `skep store ls`")
            raise QuorumNotReached(
                f"only {len(stored)} of {len(written)} shards could be stored and {scheme.name} needs "
                f"{wanted}: see `skep store ls` for the stores that fail",
                stored=len(stored),
                needed=wanted,
            )
        zones = [member.zone for shard in stored if (member := self._stores.get(shard.store_id)) is not None]
        self._check_zones(scheme, set(zones), pool)
        return len(set(zones)) == len(zones)

    def _check_reachable(
        self, scheme: Scheme, candidates: Sequence[Candidate], placement: Placement, pool: Pool
    ) -> None:
        if not candidates:
            raise QuorumNotReached(self._why_none(pool), stored=0, needed=scheme.total)
        if pool.members and len(candidates) < scheme.total:
            raise QuorumNotReached(
                f"{len(candidates)} members take writes now and {scheme.total} replicas are asked for: ask for fewer, "
                "or add members with `skep store add --mine` or `skep agent invite --mine`",
                stored=0,
                needed=scheme.total,
            )
        if len(placement.stores) < scheme.total or (pool.members and len(set(placement.stores)) < scheme.total):
            raise StoreFull("the stores have no room for another pack: add one with `skep store add`, or free some")
        self._check_zones(scheme, {each.zone for each in candidates}, pool)

    def _why_none(self, pool: Pool) -> str:
        tier_of = self._pools.tiers(pool)
        if any(tier_of(member) is not None for member in self._stores):
            return "no store takes writes now: see `skep store ls`"
        if pool.members:
            return "there are no members for this: add one with `skep store add --mine` or `skep agent invite --mine`"
        return (
            "no store may hold this content: see `skep placement show`, and `skep store add --mine` for one of your own"
        )

    def _check_zones(self, scheme: Scheme, zones: Collection[str], pool: Pool) -> None:
        """A pack over fewer than k zones does not outlive one of them: only a pool that has no more may do that."""
        tier_of = self._pools.tiers(pool)
        there_are = len({each.zone for each in self._stores if each.state != "lost" and tier_of(each) is not None})
        if len(zones) < min(scheme.data_shards, there_are):
            raise QuorumNotReached(
                f"{len(zones)} zones take writes now and {scheme.name} needs {scheme.data_shards}: see `skep store ls`",
                stored=0,
                needed=scheme.data_shards,
            )

    async def _put_all(
        self,
        pack_id: bytes,
        scheme: Scheme,
        shards: Sequence[Shard],
        placement: Placement,
        candidates: Sequence[Candidate],
        pool: Pool,
    ) -> tuple[list[WrittenShard], tuple[asyncio.Task[WrittenShard], ...]]:
        alone = set(placement.stores) if pool.members else None
        tasks = [
            asyncio.create_task(self._put_one(pack_id, shard, store_id, candidates, placement.stores, alone))
            for shard, store_id in zip(shards, placement.stores, strict=True)
        ]
        try:
            return await self._gather(scheme, shards, placement, tasks)
        except BaseException:
            await _end(tasks)
            raise

    async def _gather(
        self,
        scheme: Scheme,
        shards: Sequence[Shard],
        placement: Placement,
        tasks: Sequence[asyncio.Task[WrittenShard]],
    ) -> tuple[list[WrittenShard], tuple[asyncio.Task[WrittenShard], ...]]:
        """Wait for all; once the quorum stands, for the straggler time only."""
        waiting, wanted = set(tasks), self._thresholds.of(scheme).wanted
        timeout_s: float | None = None
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            stored = sum(task.done() and task.result().stored for task in tasks)
            if timeout_s is not None and not done:
                break
            if stored >= wanted:
                timeout_s = self._straggler_s
        written = [
            task.result() if task.done() else WrittenShard(shard.number, store_id, shard.size_bytes, False)
            for task, shard, store_id in zip(tasks, shards, placement.stores, strict=True)
        ]
        return written, tuple(waiting)

    async def _put_one(
        self,
        pack_id: bytes,
        shard: Shard,
        first: Id,
        candidates: Sequence[Candidate],
        placed: Sequence[Id],
        alone: set[Id] | None = None,
    ) -> WrittenShard:
        """Put one shard, on another store if its own fails, a spare one first. Never raises SkepError.

        ``alone``: the stores that have, or get, a shard of the pack, where none may get a second one.
        """
        taken = [each.zone for each in candidates if each.store_id in placed]
        tried: list[Id] = []
        store_id = first
        while True:
            tried.append(store_id)
            refused = await self._try_put(pack_id, shard, store_id)
            if refused is None:
                return WrittenShard(shard.number, store_id, shard.size_bytes, True)
            rest = [each for each in candidates if each.store_id not in tried and each.store_id not in (alone or ())]
            other = place(pack_id, 1, shard.size_bytes, rest, kept_zones=taken, kept_stores=placed)
            if not other.stores:
                return WrittenShard(shard.number, first, shard.size_bytes, False, refused)
            store_id = other.stores[0]
            if alone is not None:
                alone.add(store_id)

    async def _try_put(self, pack_id: bytes, shard: Shard, store_id: Id) -> type[SkepError] | None:
        """Put it on this store; None when it is there, else how the store said no."""
        member = self._stores.get(store_id)
        store = member.store if member is not None else None
        if member is None or store is None:
            return StoreUnavailable
        key = shard_key(pack_id, shard.number)
        try:
            await self._stores.call(
                member, lambda: store.put(key, shard.parts), timed=False, timeout_s=self._put_timeout_s
            )
        except SkepError as error:
            return type(error)
        member.wrote(shard.size_bytes)
        return None


async def _end(tasks: Sequence[asyncio.Task[WrittenShard]]) -> None:
    """Cancel puts and wait until none uses its buffers any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
