"""Small files that become durable in the same turn of the event loop are committed together.

Group commit makes many small bodies durable with one write; their writers wake in the same turn. Each could commit
alone, and would then number its change, update every directory above and the space by itself. Joined, the files of one
principal in one space share all of that, as a batch does, and each keeps its own result or refusal. When the joined
commit fails as a whole, each file is committed by itself, so that nobody suffers for another's trouble.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from skep.base.errors import Forbidden, NotFound, SkepError
from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.db import Transaction
from skep.filesystem import access, writing
from skep.filesystem.books import Books
from skep.filesystem.records import WriteResult
from skep.filesystem.writing import Incoming

if TYPE_CHECKING:
    from skep.auth.records import Principal

SMALL_BYTES = 256 << 10
"""Bodies of at most this size are taken without looking first: what the commit refuses was little work."""
JOINED_MAX = 256
HOMES_MAX = 10_000

Outcomes = list[WriteResult | SkepError]
Commit = Callable[[Callable[[Transaction], Outcomes]], Awaitable[Outcomes]]


class Home(NamedTuple):
    """What seldom changes of a space that a principal has used."""

    domain_id: Id
    scheme: Scheme | None
    """Of its new packs; forgotten with the rest when its owner chooses another."""
    kind: str
    owner_id: Id


class Key(NamedTuple):
    """What files must have in common to be joined."""

    principal: Principal
    space_id: Id | None
    """As it was asked for: a space, a share, or none for the own space."""
    parents: bool


class _Joined(NamedTuple):
    """Files that are committed together, what becomes of each, and the end of it all."""

    items: list[Incoming]
    outcomes: list[asyncio.Future[WriteResult]]
    """Cancelled ones are those of cancelled callers."""
    over: asyncio.Future[None]


class Joiner:
    """Joins commits of small files. Lives on one event loop."""

    def __init__(self, books: Books, commit: Commit) -> None:
        self._books = books
        self._commit = commit
        self._waiting: dict[Key, _Joined] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._homes: OrderedDict[tuple[Id, Id | None], Home] = OrderedDict()

    def home(self, principal: Principal, space_id: Id | None) -> Home | None:
        """The space of an earlier write; whether it still may be written to is for the commit to say."""
        return self._homes.get((principal.user_id, space_id))

    def remember(self, principal: Principal, space_id: Id | None, home: Home) -> None:
        """Note a space that a principal may write to."""
        self._homes[principal.user_id, space_id] = home
        if len(self._homes) > HOMES_MAX:
            self._homes.popitem(last=False)

    def forget(self) -> None:
        """Look all spaces up anew."""
        self._homes.clear()

    async def put(self, key: Key, item: Incoming) -> WriteResult:
        """Commit a durable file with those that are ready now. Raises its own refusal.

        A cancelled caller leaves only when the commit has ended, because of the lease it holds.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[WriteResult] = loop.create_future()
        joined = self._waiting.get(key)
        if joined is None:
            joined = self._waiting[key] = _Joined([], [], loop.create_future())
            loop.call_soon(self._start, key, joined)
        joined.items.append(item)
        joined.outcomes.append(outcome)
        if len(joined.items) >= JOINED_MAX:
            self._start(key, joined)
        try:
            return await outcome
        except asyncio.CancelledError:
            await asyncio.wait([joined.over])
            raise

    def _start(self, key: Key, joined: _Joined) -> None:
        if self._waiting.get(key) is joined:
            del self._waiting[key]
            task = asyncio.get_running_loop().create_task(self._run(key, joined), name="joined-commit")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Key, joined: _Joined) -> None:
        try:
            outcomes = await self._put(key, joined.items)
        except BaseException as error:
            for future in joined.outcomes:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        finally:
            joined.over.set_result(None)
        for future, outcome in zip(joined.outcomes, outcomes, strict=True):
            if future.done():
                continue  # its caller was cancelled
            if isinstance(outcome, SkepError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _put(self, key: Key, items: Sequence[Incoming]) -> Outcomes:
        try:
            return await self._commit(lambda tx: self._work(tx, key, items))
        except SkepError as error:
            if isinstance(error, NotFound | Forbidden):
                self._homes.clear()  # a space is gone, or not ours any more
            if len(items) == 1:
                return [error]
        outcomes: Outcomes = []
        for item in items:
            outcomes += await self._put(key, [item])
        return outcomes

    def _work(self, tx: Transaction, key: Key, items: Sequence[Incoming]) -> Outcomes:
        space = access.space(tx, key.principal, key.space_id, "create")
        return writing.put_files(
            tx, self._books.of(key.principal), space, key.principal.user_id, items, parents=key.parents
        )
