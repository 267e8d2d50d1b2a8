"""What the file service needs of the packages below it, as protocols.

``References`` is all that the synchronous functions need; the chunk service and the event log fill both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import Buffer
from skep.crypto.keys import DomainKeys
from skep.db import Transaction

if TYPE_CHECKING:
    from skep.auth.records import Principal


class References(Protocol):
    """Counts who needs a chunk; always inside the caller's transaction."""

    def reference(self, tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
        """One more reference for every occurrence of every chunk."""
        ...

    def release(self, tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
        """One reference less for every occurrence of every chunk."""
        ...


class Stored(Protocol):
    """Content that is durable but not referenced yet."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def digests(self) -> Mapping[str, bytes]: ...


class ContentStore(References, Protocol):
    """The part of the chunk service that keeps the contents of files."""

    async def write(
        self,
        domain: DomainKeys,
        stream: AsyncIterator[Buffer],
        *,
        scheme: Scheme | None = None,
        digests: Collection[str] = (),
        limit_bytes: int | None = None,
        step_bytes: int = 0,
        save: Callable[[Any], Awaitable[None]] | None = None,
    ) -> Stored:
        """Make a stream durable, under a scheme or else the hive's.

        ``save`` is given every ``step_bytes`` of it (a ``Stored``) as soon as they are.

        Hold ``writing()`` from before this until the chunks are referenced.
        """
        ...

    async def write_many(
        self,
        domain: DomainKeys,
        bodies: Sequence[Buffer],
        *,
        scheme: Scheme | None = None,
        digests: Collection[str] = (),
    ) -> Sequence[Stored]:
        """Make many small bodies durable with one write."""
        ...

    def writing(self) -> AbstractContextManager[Any]:
        """Keep the garbage collector off what is written inside."""
        ...

    def read(
        self, domain: DomainKeys, manifest: Manifest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The verified bytes of a content."""
        ...

    async def whole(self, domain: DomainKeys, manifest: Manifest, offset: int, length: int) -> bytes:
        """The verified bytes of a range that is small, in one piece."""
        ...

    async def domain(self, domain_id: Id) -> DomainKeys:
        """The keys of a domain."""
        ...

    def create_domain(self, tx: Transaction, owner_id: Id) -> Id:
        """The domain that a new space keeps its chunks in."""
        ...


class Passage(Protocol):
    """One transfer that is counted."""

    async def take(self, size_bytes: int) -> None:
        """So many bytes are about to pass. May wait; raises TrafficExceeded, CreditExhausted."""
        ...

    def end(self, *, counts: bool = True) -> None:
        """The transfer is over; ``counts`` False: it failed, and costs nothing."""
        ...


class Meter(Protocol):
    """Counts bytes where they flow, for the owner of the space; ``credit`` fills it."""

    @property
    def active(self) -> bool:
        """Whether anything is limited or charged: otherwise nobody is asked."""
        ...

    async def admit(self, kind: str, owner_id: Id, direction: Literal["in", "out"], size_bytes: int | None) -> Passage:
        """Let so many bytes in or out (None: not known yet). Raises TrafficExceeded, CreditExhausted."""
        ...


class Noting(Protocol):
    """Keeps in the audit log what was done to rights; ``auth`` fills it."""

    def __call__(
        self, tx: Transaction, action: str, by: Principal, about_id: Id, about_name: str, **facts: object
    ) -> None:
        """Write an entry in the transaction of what it tells of."""
        ...


class Note(NamedTuple):
    """One entry for the journal of a space, before it has its number."""

    kind: str
    node_id: Id
    node_kind: str
    path: str
    size_bytes: int
    old_path: str | None = None
    version_number: int | None = None
    etag: str | None = None
