"""What HQ remembers, as small records under names, and the protocol of what keeps them.

    people/<name>             a Person
    servers/<id>              a Server
    hooks/<stack>             a Hook
    env/<scope>/<variable>    a sealed value
    pushes/<stack>            a push whose verdict the branch does not show yet
    deliveries/<digest>       a webhook that was taken already

Two keep them: ``SqliteState`` for one HQ, ``EtcdState`` for several of which one leads.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from skep.base.errors import BadInput, CorruptRecord

VALUE_MAX_BYTES = 1 << 20
KEY_MAX_BYTES = 512
LIST_MAX = 100_000
R = TypeVar("R", bound=msgspec.Struct)


class Entry(msgspec.Struct, frozen=True):
    """A record as it is kept. ``revision`` grows with every change of this key and is never 0."""

    key: str
    value: bytes
    revision: int


class StateStore(Protocol):
    """Names and values. Safe for concurrent calls from one event loop.

    What a call returned from is durable. Every call may raise Unavailable when what keeps the state does not answer, or
    this HQ leads no more: whether a write was done is then not known.
    """

    async def get(self, key: str) -> Entry | None:
        """The record of that name, as it was written last by anybody; None: there is none."""
        ...

    async def list(self, prefix: str) -> tuple[Entry, ...]:
        """All records whose names begin so, by name."""
        ...

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write a record and return its new revision.

        ``expected`` is the revision that it must have now, 0: it must not be there; else PreconditionFailed is raised
        and nothing is written.
        """
        ...

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Forget a record; whether it was there. ``expected`` as for ``put``."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def checked(key: str, value: bytes = b"") -> str:
    """The key. Raises BadInput when the key or the value is larger than any store takes."""
    if not 0 < len(key.encode()) <= KEY_MAX_BYTES:
        raise BadInput(f"a name in HQ's state has 1 to {KEY_MAX_BYTES} bytes, not {len(key.encode())}")
    if len(value) > VALUE_MAX_BYTES:
        raise BadInput(f"{key} has {len(value)} bytes; HQ's state takes {VALUE_MAX_BYTES} in one record")
    return key


def decoded(entry: Entry, kind: type[R]) -> R:
    """The record of an entry. Raises CorruptRecord when it is none of that kind."""
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRecord(f"{entry.key} in HQ's state cannot be read ({error}): restore it from a copy") from None


async def load(store: StateStore, key: str, kind: type[R]) -> R | None:
    """The record under a key, read as ``kind``; None when it is not there."""
    entry = await store.get(key)
    return None if entry is None else decoded(entry, kind)


async def load_all(store: StateStore, prefix: str, kind: type[R]) -> tuple[R, ...]:
    """All records under a prefix, read as ``kind``, by name."""
    return tuple(decoded(entry, kind) for entry in await store.list(prefix))


async def save(store: StateStore, key: str, record: msgspec.Struct, *, expected: int | None = None) -> int:
    """Write a record under a key; see ``StateStore.put``."""
    return await store.put(key, msgspec.json.encode(record), expected=expected)
