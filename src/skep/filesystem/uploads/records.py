"""What goes in and out of uploads. All frozen; ids are 16 bytes, times UTC microseconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.crypto.hashing import Buffer
from skep.filesystem.records import ALWAYS, Conditions, Record, WriteResult

State = Literal["open", "done", "gone"]


class Draft(Record, frozen=True):
    """An upload that is to be opened."""

    door: str
    """Who gives it out: other doors do not find it."""
    path: str | None = None
    """Where the file goes; None: said at the end, or it becomes a piece of another upload."""
    length_bytes: int | None = None
    """Of the whole; None: not known yet."""
    key: str | None = None
    """The client's own name for it, where clients choose names: one of each user and door."""
    mime: str | None = None
    modified_us: int | None = None
    conditions: Conditions = ALWAYS
    """What must hold of the path when the upload is complete."""
    digests: Mapping[str, bytes] = {}
    """What the whole must have (``md5``, ``sha1``, ``sha256``); checked by reading it back at the end."""
    metadata: Mapping[str, Any] = {}
    """The door's own, as JSON."""


class Upload(Record, frozen=True):
    """An upload as it stands."""

    id: Id
    user_id: Id
    space_id: Id
    """The space or the share that it goes into."""
    door: str
    key: str | None
    path: str | None
    state: State
    length_bytes: int | None
    offset_bytes: int
    """What is durable: of a finished one all of it."""
    part_count: int
    mime: str | None
    modified_us: int | None
    metadata: Mapping[str, Any]
    node_id: Id | None
    """The file that it became."""
    version_number: int | None
    joined_id: Id | None
    """The upload that it became a piece of."""
    created_us: int
    expires_us: int

    @property
    def is_full(self) -> bool:
        """Whether all bytes of a known length are there."""
        return self.length_bytes is not None and self.offset_bytes == self.length_bytes


class PartInfo(Record, frozen=True):
    """One numbered part."""

    number: int
    size_bytes: int
    md5: bytes | None
    checksums: Mapping[str, bytes]
    created_us: int


class Appended(Record, frozen=True):
    """What a request that continued an upload came to."""

    upload: Upload
    written: WriteResult | None = None
    """The new version, if that was the end of it."""
    broken: SkepError | None = None
    """Why the body ended early; what came before is kept."""


class Hasher(Protocol):
    """A running checksum, such as of hashlib."""

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...


Choose = Callable[[Sequence[PartInfo]], Sequence[int]]
"""Picks the numbers of the parts that the whole is made of, in ascending order; raises what the door answers."""


class Expected(Record, frozen=True):
    """A checksum that a body must have, and what computes it."""

    name: str
    hasher: Any
    value: bytes
