"""Retention: what is kept of trash, versions and journal, and for how long.

One unit of work is one small transaction of one of five tasks, in this order of need:

- purge: what was deleted for good and is not purged yet (a purge that was broken off);
- trash: entries older than ``trash_days``, and the oldest beyond ``trash_max`` of a space, are deleted for good;
- versions: a version goes ``versions_days`` after a newer one replaced it. The worker walks once over all versions in
  the order they were made, up to that age; when it passes a version, all older ones of that file have been replaced for
  long enough. So a version is looked at once, and nothing is searched through again;
- locks: rows of locks that have ended (nobody is held by one) are deleted;
- journal: entries older than ``journal_days`` go from the front, and ``spaces.first_change`` moves with them.

Versions beyond ``versions_max`` of a file go when a newer one is written.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.events import Journal
from skep.filesystem import locks, marks, spaces, trash, versions
from skep.filesystem.books import Books

DAY_US = 86_400 * 1_000_000
STEP_ENTRIES = 100
STEP_VERSIONS = 500
CHANGES_KEPT_MAX = 1 << 62
MARK = "filesystem-retention"

_t = s.trash.c
_TRASHED = prepared(
    sa.select(_t.node_id, _t.space_id)
    .where(_t.deleted_us >= sa.bindparam("since_us"), _t.deleted_us <= sa.bindparam("until_us"))
    .order_by(_t.deleted_us)
    .limit(sa.bindparam("count"))
)
_BEYOND = prepared(
    sa.select(_t.node_id)
    .where(_t.space_id == sa.bindparam("space"), _t.deleted_us > trash.GONE_US)
    .order_by(_t.deleted_us.desc(), _t.node_id.desc())
    .limit(sa.bindparam("count"))
    .offset(sa.bindparam("keep"))
)
_v = s.versions.c
_MADE = prepared(
    sa.select(_v.created_us, _v.id, _v.node_id, _v.number)
    .where(
        _v.created_us >= sa.bindparam("since_us"),
        sa.or_(_v.created_us > sa.bindparam("since_us"), _v.id > sa.bindparam("after")),
        _v.created_us <= sa.bindparam("until_us"),
    )
    .order_by(_v.created_us, _v.id)
    .limit(sa.bindparam("count"))
)
_SPACE_OF = prepared(sa.select(s.nodes.c.space_id).where(s.nodes.c.id == sa.bindparam("node")))


class Mark(msgspec.Struct, frozen=True):
    """How far the pass over all versions is, and which space comes next for trash by number and for the journal."""

    version_us: int = 0
    version_id: bytes = b""
    space_id: bytes = b""


class Retention:
    """The worker that lets go of what is kept no longer."""

    name = "retention"
    description = "Purges old trash, versions and locks and trims the change journals."

    def __init__(self, db: Database, books: Books, journal: Journal, clock: Clock) -> None:
        self._clock = clock
        self._db = db
        self._books = books
        self._journal = journal
        self._tasks: tuple[Callable[[Transaction], int], ...] = (
            self._purge,
            self._expire_trash,
            self._expire_versions,
            lambda tx: locks.drop_expired(tx, STEP_ENTRIES),
        )

    async def run_once(self, progress: Progress) -> Outcome:
        """One step of the first task that has something to do."""
        for task in self._tasks:
            done = await self._db.write(task)
            if done:
                return Outcome(more_work=True, done_units=done)
        return await self._look_after_space()

    def _purge(self, tx: Transaction) -> int:
        row = tx.one(_TRASHED, {"since_us": trash.GONE_US, "until_us": trash.GONE_US, "count": 1})
        if row is None:
            return 0
        trash.purge_step(tx, self._books, spaces.lock(tx, row[1]), row[0])
        return 1

    def _expire_trash(self, tx: Transaction) -> int:
        days = self._books.limits.trash_days
        if not days:
            return 0
        span = {"since_us": trash.GONE_US + 1, "until_us": tx.now_us - days * DAY_US, "count": STEP_ENTRIES}
        rows = tx.rows(_TRASHED, span)
        for node_id, space_id in sorted(rows, key=lambda row: row[1]):
            trash.forget(tx, self._books, spaces.lock(tx, space_id), node_id, None)
        return len(rows)

    def _expire_versions(self, tx: Transaction) -> int:
        days = self._books.limits.versions_days
        if not days:
            return 0
        mark = marks.read(tx, MARK, Mark)
        span = {"since_us": mark.version_us, "after": mark.version_id, "until_us": tx.now_us - days * DAY_US}
        rows = tx.rows(_MADE, {**span, "count": STEP_VERSIONS})
        if not rows:
            return 0
        newest: dict[Id, int] = {}
        for _, _, node_id, number in rows:
            newest[node_id] = max(number, newest.get(node_id, 0))
        last = rows[-1]
        if self._drop_replaced(tx, {node: number for node, number in newest.items() if number > 1}):
            marks.write(tx, MARK, msgspec.structs.replace(mark, version_us=last[0], version_id=last[1]))
        return len(rows)

    def _drop_replaced(self, tx: Transaction, newest: dict[Id, int]) -> bool:
        """Let go of versions older than these numbers; whether that was all of them."""
        all_gone = True
        of_space: dict[Id, list[Id]] = {}
        for node_id in newest:
            space_id = tx.value(_SPACE_OF, {"node": node_id})
            if space_id is not None:
                of_space.setdefault(space_id, []).append(node_id)
        for space_id in sorted(of_space):
            space = spaces.lock(tx, space_id)
            for node_id in of_space[space_id]:
                gone = versions.drop_before(tx, self._books, space, node_id, newest[node_id])
                all_gone = all_gone and gone < versions.PRUNE_MAX
        return all_gone

    async def _look_after_space(self) -> Outcome:
        """Trim one space after another; no more work when the round is over."""
        mark = await self._db.read(lambda tx: marks.read(tx, MARK, Mark))
        page = await self._db.read(lambda tx: spaces.page(tx, mark.space_id, 1))
        if not page:
            if mark.space_id:
                await self._go_on_after(b"")
            return Outcome(more_work=False)
        space_id = page[0].id
        done = await self._db.write(lambda tx: self._trim_trash(tx, spaces.lock(tx, space_id)))
        done += await self._trim_journal(space_id)
        if not done:
            await self._go_on_after(space_id)
        return Outcome(more_work=True, done_units=done)

    async def _go_on_after(self, space_id: Id) -> None:
        def work(tx: Transaction) -> None:
            marks.write(tx, MARK, msgspec.structs.replace(marks.read(tx, MARK, Mark), space_id=space_id))

        await self._db.write(work)

    async def _trim_journal(self, space_id: Id) -> int:
        limits = self._books.limits
        if not limits.journal_days:
            return 0
        before_us = self._clock.now_us() - limits.journal_days * DAY_US
        return await self._journal.trim(space_id, before_us=before_us, keep=CHANGES_KEPT_MAX)

    def _trim_trash(self, tx: Transaction, space: spaces.Space) -> int:
        keep = self._books.limits.trash_max
        if not keep:
            return 0
        rows = tx.rows(_BEYOND, {"space": space.id, "keep": keep, "count": STEP_ENTRIES})
        for (node_id,) in rows:
            trash.forget(tx, self._books, space, node_id, None)
        return len(rows)
