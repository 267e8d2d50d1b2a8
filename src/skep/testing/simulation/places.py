"""Stores that outlive the hive, and what can happen on the way to them and in them.

A call is a request that travels, takes effect at the store in one instant, and is answered. Chance and the store's mood
say how long each way takes, whether the request or the answer is lost, and what the store makes of it. A request whose
sender is gone (cancelled, or dead) may be lost, take effect at once, or arrive late: puts of it are harmless, as keys
name immutable values; a late delete counts as harm (world.Bound).

What always holds: a key is only ever given one value; ``truth`` is the digest of it.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from skep.base.errors import (
    ObjectNotFound,
    SkepError,
    StoreFull,
    StoreOffline,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)
from skep.base.ids import Id
from skep.stores.identity import StoreIdentity, settle_claim
from skep.stores.keys import check_key
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage
from skep.testing.simulation.loop import SimulatedLoop
from skep.testing.simulation.world import Bound, Broken, World

OBJECT_MAX_BYTES = 1 << 30
LATE_MAX_S = 600.0
"""How late a request may arrive."""
LISTED_AFTER_S = 30.0
"""How late a listing may show what has changed."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How a store treats those who call it: a chance for each mishap, from 0 to 1."""

    name: str = "calm"
    refuse: float = 0.0
    lose_answer: float = 0.0
    hang: float = 0.0
    slow_down: float = 0.0
    """Answers 429 with Retry-After."""
    slow_s: float = 0.0
    double: float = 0.0
    lie: float = 0.0
    """Says that it has stored what it has not, gives wrong or old bytes, does not find what it has."""
    lists_late: bool = False
    refusal: type[SkepError] = StoreUnavailable
    writes_only: bool = False


CALM = Mood()
MOODS = (
    Mood("flaky", refuse=0.15, lose_answer=0.15, double=0.1),
    Mood("slow", slow_s=3.0),
    Mood("hanging", hang=0.3),
    Mood("limiting", slow_down=0.5),
    Mood("away", refuse=1.0),
    Mood("offline", refuse=1.0, refusal=StoreOffline),
    Mood("full", refuse=1.0, refusal=StoreFull, writes_only=True),
    Mood("read only", refuse=1.0, refusal=StoreReadOnly, writes_only=True),
    Mood("token expired", refuse=1.0, refusal=StoreRefused),
    Mood("lying", lie=0.2),
    Mood("listing late", lists_late=True, double=0.3),
    Mood("bad day", refuse=0.1, lose_answer=0.1, hang=0.03, slow_down=0.1, slow_s=0.5, double=0.1, lists_late=True),
)


@dataclass(eq=False, slots=True)
class Request:
    """One call on its way. ``effect`` happens at most once, unless the network doubles it."""

    place: Place
    verb: str
    key: str
    effect: Callable[[], object]
    freeze: Callable[[], Callable[[], object]]
    """The same effect, free of the sender's buffers."""
    answered: asyncio.Future[object]
    timer: asyncio.TimerHandle | None = None
    arrived: bool = False

    def arrive(self) -> None:
        """Take effect; the answer starts its way back."""
        self.arrived = True
        self.place.on_the_way.pop(self, None)
        try:
            result = self.effect()
        except SkepError as error:
            if not self.answered.done():
                self.answered.set_exception(error)
                self.answered.exception()
            return
        if not self.answered.done():
            self.answered.set_result(result)

    def abandon(self, chance: random.Random) -> None:
        """The sender is gone before the request has arrived."""
        if self.arrived:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.place.on_the_way.pop(self, None)
        fate = chance.random()
        if self.verb not in ("put", "delete") or fate < 0.4:
            return
        frozen = self.freeze()
        if fate < 0.7:
            self.place.happen(self.verb, self.key, frozen, late=False)
        else:
            self.place.later(chance.random() * LATE_MAX_S, self.verb, self.key, frozen)


@dataclass(eq=False)
class Place:
    """One store's content and character."""

    name: str
    world: World
    bound: Bound
    capacity_bytes: int | None = None
    mood: Mood = CALM
    dead: bool = False
    given_up: bool = False
    """The operator has told the hive that it is lost."""
    identity: StoreIdentity | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    backup: dict[str, bytes] | None = None
    """What it held some time ago, to come back to."""
    recent: list[tuple[float, str, bool]] = field(default_factory=list)
    """When, which key, whether it was put or deleted: of the last LISTED_AFTER_S."""
    on_the_way: dict[Request, None] = field(default_factory=dict)
    late: list[tuple[float, str, str, Callable[[], object]]] = field(default_factory=list)
    """Requests that arrive when nobody waits for them any more: when, what, on which key."""
    given: set[str] = field(default_factory=set)
    """Keys that were ever put here, whatever it made of them."""
    removed: set[str] = field(default_factory=set)
    """Keys that the hive itself has deleted here and not put again."""
    truth: dict[str, bytes] = field(default_factory=dict)
    """Of all places: the digest of the one value of each key."""
    scheme: str = "memory"
    """Of its URL. What is neither a directory nor memory is not on the hive's machine: its blocks are cached."""
    owner: str | None = None
    """The user whose store it is; None: the hive's."""

    @property
    def url(self) -> str:
        """Where the hive finds it."""
        return f"{self.scheme}:{self.name}"

    @property
    def used_bytes(self) -> int:
        """Room taken."""
        return sum(map(len, self.objects.values()))

    def set(self, key: str, value: bytes) -> None:
        """Hold a value."""
        if key not in self.objects:
            bisect.insort(self.keys, key)
        self.objects[key] = value
        self.given.add(key)
        self.removed.discard(key)
        self.recent.append((self.world.monotonic_s, key, True))

    def drop(self, key: str) -> None:
        """Hold it no longer."""
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect.bisect_left(self.keys, key)]
            self.recent.append((self.world.monotonic_s, key, False))

    def remove(self, key: str) -> None:
        """The effect of a delete that the hive asked for."""
        if key in self.objects:
            self.removed.add(key)
        self.drop(key)

    def rot(self, key: str, chance: random.Random) -> None:
        """Flip one bit of what it holds."""
        self.set(key, _flipped(self.objects[key], chance))

    def intact(self, key: str) -> bool:
        """Whether it holds what was put under the key, bit by bit."""
        value = self.objects.get(key)
        return value is not None and _digest(value) == self.truth.get(key)

    def happen(self, verb: str, key: str, effect: Callable[[], object], *, late: bool) -> None:
        """What an abandoned or doubled request does at last. A delete that comes late is harm, or does not come."""
        if self.dead or (verb == "delete" and late and key in self.objects and not self.bound.may_harm([key])):
            return
        self.world.note(self.name, "late" if late else "unheard", verb, key)
        try:
            effect()
        except SkepError:
            pass

    def later(self, after_s: float, verb: str, key: str, effect: Callable[[], object]) -> None:
        """Let something arrive late, in this life of the hive or another."""
        self.late.append((self.world.monotonic_s + after_s, verb, key, effect))

    def deliver_late(self) -> None:
        """Let happen what is due."""
        due = [each for each in self.late if each[0] <= self.world.monotonic_s]
        self.late = [each for each in self.late if each[0] > self.world.monotonic_s]
        for _, verb, key, effect in due:
            self.happen(verb, key, effect, late=True)

    def put(self, key: str, value: bytes) -> None:
        """The effect of a put. Raises StoreFull, and Broken for a key that has another value."""
        digest = _digest(value)
        if self.truth.setdefault(key, digest) != digest:
            raise Broken(f"{key} was given other bytes than before ({len(value)} of them, to {self.name})")
        room = None if self.capacity_bytes is None else self.capacity_bytes - self.used_bytes
        if room is not None and len(value) > room:
            raise StoreFull(f"{self.name} is full")
        self.set(key, value)

    def get(self, key: str, offset: int, length: int | None) -> bytes:
        """The effect of a get. Raises ObjectNotFound."""
        value = self.objects.get(key)
        if value is None:
            raise ObjectNotFound(f"there is no object {key} on {self.name}")
        return value[offset:] if length is None else value[offset : offset + length]

    def listing(self, prefix: str, after: str) -> list[ObjectInfo]:
        """What a listing shows now."""
        shown = set(self.keys)
        if self.mood.lists_late:
            since_s = self.world.monotonic_s - LISTED_AFTER_S
            for when_s, key, put in self.recent:
                if when_s >= since_s:
                    shown.discard(key) if put else shown.add(key)
        keys = sorted(key for key in shown if key.startswith(prefix) and key > after)
        return [ObjectInfo(key, len(self.objects.get(key, b""))) for key in keys]


class SimulatedStore:
    """See ``Store``: one life's connection to a place."""

    def __init__(self, place: Place, loop: SimulatedLoop) -> None:
        self._place = place
        self._loop = loop
        self._chance = place.world.luck
        self._properties = Properties("simulated", True, OBJECT_MAX_BYTES, listing_is_consistent=False)

    @property
    def properties(self) -> Properties:
        return self._properties

    async def _ask(
        self,
        verb: str,
        key: str,
        effect: Callable[[], object],
        freeze: Callable[[], Callable[[], object]] | None = None,
    ) -> object:
        place, chance, loop = self._place, self._chance, self._loop
        mood = place.mood
        way_s = 0.001 + chance.random() ** 4 * 0.2 + mood.slow_s * chance.random() * 2
        if chance.random() < mood.hang:
            place.world.note(place.name, "hangs", verb, key)
            if chance.random() < 0.5:
                place.happen(verb, key, freeze() if freeze else effect, late=False)
            await loop.create_future()
        self._refuse(mood, verb, key)
        request = Request(place, verb, key, effect, freeze or (lambda: effect), loop.create_future())
        request.timer = loop.call_later(way_s, request.arrive)
        place.on_the_way[request] = None
        try:
            result = await request.answered
        except asyncio.CancelledError:
            request.abandon(chance)
            raise
        if freeze is not None and chance.random() < mood.double:
            place.later(chance.random() * LATE_MAX_S, verb, key, freeze())
        await asyncio.sleep(chance.random() ** 4 * 0.2)
        if chance.random() < mood.lose_answer:
            place.world.note(place.name, "loses the answer to", verb, key)
            raise StoreUnavailable(f"{place.name} broke off")
        place.world.note(place.name, verb, key)
        return result

    def _refuse(self, mood: Mood, verb: str, key: str) -> None:
        place, chance = self._place, self._chance
        if place.dead:
            raise StoreUnavailable(f"{place.name} does not answer")
        if chance.random() < mood.slow_down:
            wait_s = chance.choice((1.0, 5.0, 60.0))
            raise StoreUnavailable(f"{place.name} asks to slow down (status 429)", retry_after_s=wait_s)
        if chance.random() < mood.refuse and (verb in ("put", "delete") or not mood.writes_only):
            if verb == "delete" and mood.refusal is StoreFull:
                return
            place.world.note(place.name, mood.name, "refuses", verb, key)
            raise mood.refusal(f"{place.name} is {mood.name}")

    def _lies(self, keys: Sequence[str]) -> bool:
        """Whether to lie now about an object: only where the loss bound covers it."""
        return self._chance.random() < self._place.mood.lie and self._place.bound.may_harm(keys)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        place = self._place

        def effect() -> None:
            value = b"".join(parts)
            if key in place.objects or not self._lies([key]):
                place.put(key, value)
                return
            place.truth.setdefault(key, _digest(value))
            place.given.add(key)
            kept = self._chance.choice((None, value[: len(value) // 2], _flipped(value, self._chance)))
            place.world.note(place.name, "lies about", key, "none" if kept is None else len(kept))
            if kept is not None:
                place.set(key, kept)

        def freeze() -> Callable[[], object]:
            value = b"".join(parts)
            return lambda: place.put(key, value)

        await self._ask("put", key, effect, freeze)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)

        def effect() -> bytes:
            value = self._place.get(key, offset, length)
            if value and self._lies([key]):
                self._place.world.note(self._place.name, "gives wrong bytes of", key)
                return self._chance.choice((_flipped(value, self._chance), value[: len(value) // 2]))
            return value

        result = await self._ask("get", key, effect)
        assert isinstance(result, bytes)
        return result

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        result = await self._ask("stat", key, lambda: ObjectInfo(key, len(self._place.get(key, 0, None))))
        assert isinstance(result, ObjectInfo)
        return result

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._ask("delete", key, lambda: self._place.remove(key), lambda: lambda: self._place.drop(key))

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        found = await self._ask("list", prefix, lambda: self._place.listing(prefix, after))
        assert isinstance(found, list)
        for number, info in enumerate(found):
            if number % 20 == 19:
                await asyncio.sleep(self._chance.random() * 0.01)
            yield info

    async def usage(self) -> Usage:
        place = self._place

        def effect() -> Usage:
            used = place.used_bytes
            return Usage(used, None if place.capacity_bytes is None else max(0, place.capacity_bytes - used))

        result = await self._ask("usage", "", effect)
        assert isinstance(result, Usage)
        return result

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        place = self._place

        def effect() -> StoreIdentity:
            wanted = StoreIdentity(hive_id, store_id, place.world.now_us())
            place.identity = settle_claim(place.identity, wanted, place.name) or wanted
            return place.identity

        result = await self._ask("claim", "", effect)
        assert isinstance(result, StoreIdentity)
        return result

    async def identity(self) -> StoreIdentity | None:
        result = await self._ask("identity", "", lambda: self._place.identity)
        assert result is None or isinstance(result, StoreIdentity)
        return result

    async def close(self) -> None:
        pass


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _flipped(value: bytes, chance: random.Random) -> bytes:
    if not value:
        return b"?"
    raw = bytearray(value)
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw)
