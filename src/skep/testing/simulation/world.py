"""What outlives the hive's process: the number that all comes from, time, what was seen, and the bound of harm."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import Sequence

from skep.base.ids import IdMaker
from skep.chunks.scheme import Scheme
from skep.durability.records import parse_shard_key

START_US = 1_700_000_000_000_000
TAIL_LINES = 400


class Broken(AssertionError):
    """The hive did what it must never do."""


class World:
    """One run's surroundings. Everything random in it comes from ``seed``."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.seed = seed
        self.monotonic_s = 0.0
        """Of all lives together."""
        self.jumped_us = 0
        """How far the wall clock was set forward or back."""
        self.jumped_max_us = 0
        self.plan = self.chance_of("plan")
        self.turns = self.chance_of("turns")
        self.luck = self.chance_of("luck")
        self.house = self.chance_of("house")
        """What lies in the data directory, and whose stores they are."""
        self._secrets = self.chance_of("secrets")
        self._seen = hashlib.blake2b(digest_size=16)
        self.events = 0
        self.tail: deque[str] = deque(maxlen=None if keep_trace else TAIL_LINES)

    def chance_of(self, name: str) -> random.Random:
        """A generator of its own for one part of the world, so that one part's draws do not move another's."""
        return random.Random(f"{self.seed} {name}")  # noqa: S311 - repeatable on purpose

    def random_bytes(self, count: int) -> bytes:
        """What the hive gets for the system's randomness."""
        return self._secrets.randbytes(count)

    def now_us(self) -> int:
        """The wall clock: microseconds since 1970."""
        return START_US + round(self.monotonic_s * 1e6) + self.jumped_us

    def jump(self, by_s: float) -> None:
        """Set the wall clock."""
        self.jumped_us += round(by_s * 1e6)
        self.jumped_max_us = max(self.jumped_max_us, self.jumped_us)

    def id_maker(self) -> IdMaker:
        """For one life of the process."""
        return IdMaker(lambda: self.now_us() // 1000)

    def note(self, *what: object) -> None:
        """Add a line to what happened; the digest of all lines tells two runs apart."""
        line = f"{self.monotonic_s:.6f} " + " ".join(map(str, what))
        self._seen.update(line.encode())
        self.events += 1
        self.tail.append(line)

    @property
    def digest(self) -> str:
        """Of all that was noted so far."""
        return self._seen.hexdigest()


class WorldClock:
    """The hive's clock."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_us(self) -> int:
        return self._world.now_us()

    def monotonic_s(self) -> float:
        return self._world.monotonic_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Bound:
    """How much of the scheme's loss bound has been used up, pack by pack.

    Whatever takes a shard away for good (a disk that dies, rot, a lie) must ask here first. A pack is promised its
    write quorum when it is acknowledged, so it may lose quorum - k shards, and m once it was found whole. What was
    harmed counts as harmed until then, even if the hive has repaired it: never more than the hive must bear.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.fresh = scheme.write_quorum - scheme.data_shards
        self.whole = scheme.parity_shards
        self.closed = False
        """Nothing more may be harmed: the hive is being looked at."""
        self._harmed: dict[bytes, set[int]] = {}
        self._whole: set[bytes] = set()

    def allows(self, keys: Sequence[str]) -> bool:
        """Whether all these objects may be lost together."""
        if self.closed:
            return False
        hit: dict[bytes, set[int]] = {}
        for key in keys:
            if (parsed := parse_shard_key(key)) is not None:
                hit.setdefault(parsed[0], set()).add(parsed[1])
        return all(
            len(numbers | self._harmed.get(pack, set())) <= (self.whole if pack in self._whole else self.fresh)
            for pack, numbers in hit.items()
        )

    def harm(self, keys: Sequence[str]) -> None:
        """Note that they are lost, on whatever store."""
        for key in keys:
            if (parsed := parse_shard_key(key)) is not None:
                self._harmed.setdefault(parsed[0], set()).add(parsed[1])

    def may_harm(self, keys: Sequence[str]) -> bool:
        """``harm`` them if that is allowed; whether it was."""
        if not self.allows(keys):
            return False
        self.harm(keys)
        return True

    def renew(self, whole: Sequence[bytes]) -> None:
        """These packs have all their shards in truth: each may lose m again."""
        for pack in whole:
            self._harmed.pop(pack, None)
            self._whole.add(pack)

    def rested(self, whole: Sequence[bytes]) -> None:
        """Everything was healed, repaired and found good: these packs are whole."""
        self._harmed.clear()
        self._whole = set(whole)
