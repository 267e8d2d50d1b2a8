"""A store that fails as told, for tests: what each outward call can do to its caller.

store = FaultStore(MemoryStore(), clock=clock)
store.script(Fault("put", Kind.FAIL_AFTER), Fault("get", Kind.SLOW, delay_s=2.0, times=3))
store.script(Fault("any", Kind.GONE, times=None))    # until heal()
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from skep.base.clock import Clock, SystemClock
from skep.base.errors import StoreFull, StoreReadOnly, StoreUnavailable
from skep.stores.protocol import Buffer, ObjectInfo, Store, Usage
from skep.stores.wrappers.forward import ForwardingStore

T = TypeVar("T")


class Kind(enum.Enum):
    """What happens to a call. A put that is SHORT or CORRUPT stores such a value and says that all is well."""

    FAIL_BEFORE = "failed and not done"
    FAIL_AFTER = "done and reported as failed"
    SLOW = "done after delay_s"
    SHORT = "done by half: half of the value, or of the listing"
    CORRUPT = "done with one bit flipped in the middle"
    CANCELLED = "not done, and unanswered until the caller gives up"
    CANCELLED_AFTER = "done, and unanswered until the caller gives up"
    FULL = "refused with StoreFull"
    READ_ONLY = "refused with StoreReadOnly"
    GONE = "refused with StoreUnavailable"


_BEFORE = {Kind.FAIL_BEFORE, Kind.FULL, Kind.READ_ONLY, Kind.GONE}
_WRITES = ("put", "delete")


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a script."""

    verb: str
    """``put``, ``get``, ``stat``, ``delete``, ``list``, ``usage`` or ``any``."""
    kind: Kind
    times: int | None = 1
    """How many matching calls it strikes; None for all until ``heal``."""
    skip: int = 0
    """How many matching calls pass before."""
    key_prefix: str = ""
    delay_s: float = 1.0
    """For SLOW."""


@dataclass(slots=True)
class _Line:
    fault: Fault
    seen: int = 0
    struck: int = 0

    def strikes(self, verb: str, key: str) -> bool:
        fault = self.fault
        if fault.verb not in (verb, "any") or not key.startswith(fault.key_prefix):
            return False
        if fault.kind in (Kind.FULL, Kind.READ_ONLY) and verb not in _WRITES:
            return False
        if fault.times is not None and self.struck >= fault.times:
            return False
        self.seen += 1
        if self.seen <= fault.skip:
            return False
        self.struck += 1
        return True


class FaultStore(ForwardingStore):
    """Each call meets the first line of the script that strikes it, or goes through.

    ``calls`` lists verb and key of every call; ``struck`` those that met a fault, with its kind.
    """

    def __init__(self, inner: Store, *, clock: Clock | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(inner)
        self._clock = clock or SystemClock()
        self._script = [_Line(fault) for fault in faults]
        self.calls: list[tuple[str, str]] = []
        self.struck: list[tuple[str, str, Kind]] = []

    def script(self, *faults: Fault) -> None:
        """Add lines at the end."""
        self._script.extend(_Line(fault) for fault in faults)

    def heal(self) -> None:
        """Forget the script: from now on every call goes through."""
        self._script.clear()

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        fault = self._meet("put", key)
        if fault is not None and fault.kind in (Kind.SHORT, Kind.CORRUPT):
            parts = [_damaged(b"".join(parts), fault.kind)]
        await self._suffer(fault, lambda: self.inner.put(key, parts))

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        fault = self._meet("get", key)
        value = await self._suffer(fault, lambda: self.inner.get(key, offset, length))
        return _damaged(value, fault.kind) if fault is not None else value

    async def stat(self, key: str) -> ObjectInfo:
        fault = self._meet("stat", key)
        info = await self._suffer(fault, lambda: self.inner.stat(key))
        short = fault is not None and fault.kind is Kind.SHORT
        return ObjectInfo(key, info.size_bytes // 2) if short else info

    async def delete(self, key: str) -> None:
        await self._suffer(self._meet("delete", key), lambda: self.inner.delete(key))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """One call, which ``calls`` has under its first key."""
        forward = super().delete_many
        await self._suffer(self._meet("delete", keys[0] if keys else ""), lambda: forward(keys))

    async def usage(self) -> Usage:
        return await self._suffer(self._meet("usage", ""), self.inner.usage)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        """FAIL_AFTER breaks after half of the listing; SHORT ends there as if that were all."""
        fault = self._meet("list", prefix)
        if fault is None:
            async for info in self.inner.list(prefix, after):
                yield info
            return
        found = await self._suffer(fault, lambda: self._listed(prefix, after), late_failure=False)
        half = fault.kind in (Kind.FAIL_AFTER, Kind.SHORT)
        for info in found[: len(found) // 2] if half else found:
            yield info
        if fault.kind is Kind.FAIL_AFTER:
            raise _failure("list")

    async def _listed(self, prefix: str, after: str) -> Sequence[ObjectInfo]:
        return [info async for info in self.inner.list(prefix, after)]

    def _meet(self, verb: str, key: str) -> Fault | None:
        self.calls.append((verb, key))
        for line in self._script:
            if line.strikes(verb, key):
                self.struck.append((verb, key, line.fault.kind))
                return line.fault
        return None

    async def _suffer(self, fault: Fault | None, call: Callable[[], Awaitable[T]], *, late_failure: bool = True) -> T:
        if fault is None:
            return await call()
        if fault.kind in _BEFORE:
            raise _refusal(fault)
        if fault.kind is Kind.CANCELLED:
            await _until_cancelled()
        if fault.kind is Kind.SLOW:
            await self._clock.sleep(fault.delay_s)
        value = await call()
        if fault.kind is Kind.CANCELLED_AFTER:
            await _until_cancelled()
        if fault.kind is Kind.FAIL_AFTER and late_failure:
            raise _failure(fault.verb)
        return value


async def _until_cancelled() -> None:
    await asyncio.get_running_loop().create_future()


def _failure(verb: str) -> StoreUnavailable:
    return StoreUnavailable(f"scripted fault: this {verb} fails")


def _refusal(fault: Fault) -> StoreFull | StoreReadOnly | StoreUnavailable:
    if fault.kind is Kind.FULL:
        return StoreFull("scripted fault: the store is full")
    if fault.kind is Kind.READ_ONLY:
        return StoreReadOnly("scripted fault: the store takes no writes")
    return StoreUnavailable("scripted fault: the store is gone") if fault.kind is Kind.GONE else _failure(fault.verb)


def _damaged(value: bytes, kind: Kind) -> bytes:
    if kind is Kind.SHORT:
        return value[: len(value) // 2]
    if kind is Kind.CORRUPT and value:
        flipped = bytearray(value)
        flipped[len(value) // 2] ^= 0x10
        return bytes(flipped)
    return value
