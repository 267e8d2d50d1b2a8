"""What all faces of the file service share: its parts, its limits, and how a change is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skep.base.clock import Clock
from skep.base.errors import BadInput, InvalidPath
from skep.base.waiting import to_the_end
from skep.chunks.scheme import Scheme
from skep.db import Database, Transaction
from skep.events import EventLog, Journal
from skep.filesystem.books import Books
from skep.filesystem.joining import Joiner
from skep.filesystem.known_spaces import KnownSpaces
from skep.filesystem.names import Segments, split_path
from skep.filesystem.ports import ContentStore, Meter
from skep.filesystem.prefixes import Prefix
from skep.filesystem.records import Limits
from skep.filesystem.shares import LINK
from skep.filesystem.spaces import Space
from skep.filesystem.taps import Inflow, Tap, tap_of
from skep.filesystem.uploads.arriving import Arrivals

T = TypeVar("T")
READ = "files:read"
WRITE = "files:write"


class Core:
    """The parts. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        chunks: ContentStore,
        log: EventLog,
        journal: Journal,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.books = Books(chunks, log, self.limits)
        self._db = db
        self._chunks = chunks
        self._journal = journal
        self._clock = clock
        self._joiner = Joiner(self.books, self._commit)
        self._arrivals = Arrivals(clock)
        self._whole_spaces = KnownSpaces()
        self._known_prefixes: dict[str, tuple[float, Prefix]] = {}
        self.meter: Meter | None = None
        """Counts what flows, for those who pay; the server plugs it in."""

    def _split(self, path: str) -> Segments:
        return split_path(path, path_bytes_max=self.limits.path_bytes_max, depth_max=self.limits.depth_max)

    def _file_segments(self, path: str) -> Segments:
        segments = self._split(path)
        if not segments:
            raise InvalidPath("the root of a space is a directory: give the path of a file", path=path)
        return segments

    def _count(self, limit: int | None) -> int:
        if limit is None:
            return self.limits.page_max
        if limit < 1:
            raise BadInput(f"a page of {limit} entries makes no sense: give 1 or more", limit=limit)
        return min(limit, self.limits.page_max)

    def _scheme(self, space: Space) -> Scheme | None:
        """How content that comes into a space is coded; None: as the hive says.

        What its owner once chose and may not choose any more does not count.
        """
        return Scheme.parse(space.scheme) if space.scheme in self.limits.schemes else None

    def _tap(self, space: Space) -> Tap | None:
        return tap_of(self.meter, self._payer(space), space.owner_id)

    def _payer(self, space: Space) -> str:
        """The kind of owner who pays for what flows; empty where nobody does: through links, if the hive says so."""
        free = space.seen is not None and space.seen.held.share.kind == LINK and not self.limits.links_metered
        return "" if free else space.kind

    def _inflow(self, space: Space, size_bytes: int | None) -> Inflow:
        """What counts a body that comes into a space; ``size_bytes``: its length, if that is known."""
        return Inflow(self._tap(space), size_bytes)

    async def _commit(self, work: Callable[[Transaction], T]) -> T:
        """One transaction that, once it is on its way, is waited for even if the caller is cancelled.

        So a lease on chunks is never given up while the commit that references them may still come.
        """
        return await to_the_end(self._db.write(work))
