"""Uploads that were left alone for too long go, and what they held with them, a few parts in one transaction."""

from __future__ import annotations

from skep.base.workers import Outcome, Progress
from skep.db import Database
from skep.filesystem.books import Books
from skep.filesystem.uploads import growing, rows


class UploadExpiry:
    """The worker that purges uploads whose time ran out, or that were given up and not purged to the end."""

    name = "uploads"
    description = "Removes uploads that were left unfinished for too long."

    def __init__(self, db: Database, books: Books) -> None:
        self._db = db
        self._books = books

    async def run_once(self, progress: Progress) -> Outcome:
        """One step of one upload."""
        row = await self._db.read(rows.any_expired)
        if row is None:
            return Outcome(more_work=False)
        is_gone = await self._db.write(lambda tx: growing.purge_step(tx, self._books, row))
        return Outcome(more_work=True, done_units=1 if is_gone else 0)
