"""The rows of the launches' journal in one SQLite file, each sealed under HQ's key and bound to its name."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from skep.base.errors import CorruptRecord, DatabaseTooNew, LocalFailure
from skep.crypto.hashing import derive_key
from skep.crypto.sealing import open_record, seal_record

VERSION = 1
_CONTEXT = "skep deploy hq 2026 journal rows v1"


class SealedRows:
    """``journal_rows.Rows`` in a file: write-ahead log, every change on the disk before a call returns."""

    def __init__(self, path: Path, seal_key: bytes) -> None:
        """Open the file, made when it is not there. Raises LocalFailure, DatabaseTooNew."""
        self._path = path
        self._key = derive_key(_CONTEXT, seal_key)
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise DatabaseTooNew(f"{path} was made by a newer Skep (version {version}, this one knows {VERSION})")
            self._connection.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise LocalFailure(f"the journal {path} cannot be opened: {error}") from None

    async def load(self) -> dict[str, bytes]:
        """All rows. Raises LocalFailure, CorruptRecord."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> dict[str, bytes]:
        try:
            with self._lock:
                rows = self._connection.execute("SELECT key, value FROM rows ORDER BY key").fetchall()
        except sqlite3.Error as error:
            raise CorruptRecord(f"the journal {self._path} cannot be read ({error}): restore it from a copy") from None
        return {key: open_record(self._key, value, key.encode()) for key, value in rows}

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Write these together, None to delete. Raises LocalFailure; then nothing was written."""
        await asyncio.to_thread(self._apply, dict(changes))

    def _apply(self, changes: Mapping[str, bytes | None]) -> None:
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for key, value in changes.items():
                    if value is None:
                        self._connection.execute("DELETE FROM rows WHERE key = ?", (key,))
                    else:
                        sealed = seal_record(self._key, value, key.encode())
                        self._connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, sealed))
        except sqlite3.Error as error:
            raise LocalFailure(f"the journal {self._path} cannot be written: {error}; nothing was changed") from None

    async def close(self) -> None:
        """Let go of the file."""

        def end() -> None:
            with self._lock:
                self._connection.close()

        await asyncio.to_thread(end)
