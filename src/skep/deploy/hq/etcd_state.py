"""HQ's state in etcd, for several HQs of which one leads: records, the journal's rows and the grid's state.

Every write is one transaction under the condition that this HQ still leads, so that one that was cut off, paused or
taken for dead cannot write over what the next leader did.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import msgspec

from skep.base.errors import BodyTooLarge, CorruptRecord, PreconditionFailed, Unavailable
from skep.crypto.hashing import derive_key
from skep.crypto.sealing import open_record, seal_record
from skep.deploy.grid.state import VERSION, State, StateFile
from skep.deploy.hq.etcd import OPERATIONS_MAX, Etcd, Leadership, after_prefix, delete_of, put_of, revision_is
from skep.deploy.hq.state import VALUE_MAX_BYTES, Entry, checked

_CONTEXT = "skep deploy hq 2026 journal in etcd v1"


class Led:
    """Writes of a leading HQ below one prefix."""

    def __init__(self, etcd: Etcd, prefix: str, leadership: Leadership) -> None:
        self.etcd = etcd
        self.prefix = prefix.encode()
        self._leadership = leadership

    async def write(
        self, changes: Mapping[bytes, bytes | None], conditions: list[dict[str, object]] | None = None
    ) -> int:
        """Write these (None: delete) together; the revision. Raises Unavailable when this HQ leads no more.

        Raises PreconditionFailed when it leads and the conditions do not hold.
        """
        operations = [delete_of(key) if value is None else put_of(key, value) for key, value in changes.items()]
        guard = self._leadership.guard
        try:
            # without conditions the same write again does no harm
            done, revision = await self.etcd.transaction(
                [guard, *(conditions or ())], operations, once=bool(conditions)
            )
            if done:
                return revision
            if conditions:
                leading, _ = await self.etcd.transaction([guard], [], once=False)
                if leading:
                    raise PreconditionFailed("the record in HQ's state has changed meanwhile: look at it again")
            raise Unavailable("this HQ leads no more: another one does")
        except Unavailable:
            self._leadership.lost.set()  # what is there is not known: this HQ must read it anew
            raise


class EtcdState:
    """A StateStore in etcd."""

    def __init__(self, led: Led) -> None:
        self._led = led
        self._prefix = led.prefix + b"state/"

    async def get(self, key: str) -> Entry | None:
        found = await self._led.etcd.range(self._prefix + key.encode())
        return self._entry(found[0].key, found[0].value, found[0].revision) if found else None

    async def list(self, prefix: str) -> tuple[Entry, ...]:
        begin = self._prefix + prefix.encode()
        found = await self._led.etcd.range(begin, after_prefix(begin))
        return tuple(self._entry(one.key, one.value, one.revision) for one in found)

    def _entry(self, key: bytes, value: bytes, revision: int) -> Entry:
        return Entry(key.removeprefix(self._prefix).decode(), value, revision)

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        name = self._prefix + checked(key, value).encode()
        return await self._led.write({name: value}, _conditions(name, expected))

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        name = self._prefix + checked(key).encode()
        found = await self._led.etcd.range(name)
        await self._led.write({name: None}, _conditions(name, expected))
        return bool(found)

    async def close(self) -> None:
        """The connection is closed by whoever opened it."""


def _conditions(name: bytes, expected: int | None) -> list[dict[str, object]] | None:
    return None if expected is None else [revision_is(name, expected)]


class EtcdRows:
    """The journal's rows in etcd, sealed. What is too much for one transaction is written down whole first."""

    def __init__(self, led: Led, seal_key: bytes) -> None:
        self._led = led
        self._prefix = led.prefix + b"journal/"
        self._batch = led.prefix + b"batch"
        self._key = derive_key(_CONTEXT, seal_key)

    async def load(self) -> dict[str, bytes]:
        """All rows; what a crash left of a large change is completed first."""
        await self._complete()
        found = await self._led.etcd.range(self._prefix, after_prefix(self._prefix))
        return {
            one.key.removeprefix(self._prefix).decode(): open_record(self._key, one.value, one.key) for one in found
        }

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Write these together, None to delete. Raises Unavailable: whoever leads next finds all of it or nothing."""
        sealed = {
            (name := self._prefix + key.encode()): None if value is None else seal_record(self._key, value, name)
            for key, value in changes.items()
        }
        if len(sealed) < OPERATIONS_MAX:
            await self._led.write(sealed)
            return
        batch = msgspec.json.encode(list(sealed.items()))
        if len(batch) > VALUE_MAX_BYTES:
            raise BodyTooLarge(f"a change of {len(changes)} rows is too large for etcd: use fewer slices in one stack")
        await self._led.write({self._batch: batch})
        await self._write_batch(sealed)

    async def _complete(self) -> None:
        found = await self._led.etcd.range(self._batch)
        if found:
            pairs = msgspec.json.decode(found[0].value, type=list[tuple[bytes, bytes | None]])
            await self._write_batch(dict(pairs))

    async def _write_batch(self, sealed: Mapping[bytes, bytes | None]) -> None:
        pairs = list(sealed.items())
        step = OPERATIONS_MAX - 1
        for begin in range(0, len(pairs), step):
            await self._led.write(dict(pairs[begin : begin + step]))
        await self._led.write({self._batch: None})


class EtcdGridFile(StateFile):
    """The grid's state in etcd. ``fetch`` it before the grid is opened."""

    def __init__(self, led: Led) -> None:
        super().__init__(None)
        self._led = led
        self._name = led.prefix + b"grid"
        self._fetched = State()

    async def fetch(self) -> None:
        """Read what is there. Raises CorruptRecord."""
        found = await self._led.etcd.range(self._name)
        if not found:
            return
        try:
            state = msgspec.json.decode(zlib.decompress(found[0].value), type=State)
        except (zlib.error, msgspec.DecodeError) as error:
            raise CorruptRecord(f"the grid's state in etcd cannot be read: {error}") from None
        if state.version != VERSION:
            raise CorruptRecord(f"the grid's state in etcd has version {state.version}, this program knows {VERSION}")
        self._fetched = state

    def load(self) -> State:
        """What was fetched."""
        return self._fetched

    async def save(self, state: State) -> None:
        """Write it; of old decisions as many as etcd takes."""
        decisions = len(state.decisions)
        while True:
            shorter = msgspec.structs.replace(state, decisions=state.decisions[len(state.decisions) - decisions :])
            packed = zlib.compress(msgspec.json.encode(shorter), 1)
            if len(packed) <= VALUE_MAX_BYTES or not decisions:
                break
            decisions //= 2
        await self._led.write({self._name: packed})
