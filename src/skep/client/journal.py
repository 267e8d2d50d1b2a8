"""The journal of an upload: which local file became which content, so that a second run skips it.

A file of JSON lines ``[target, size_bytes, mtime_ns, etag]``, appended as files are acknowledged; the
last line of a target counts, a torn last line is passed over. Opening rewrites it compactly. It only
ever saves work: losing it means comparing by size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from skep.client.trees import Sent

JOURNALS_MAX = 200
"""Journals that are kept; the longest unused go first."""
JOURNAL_MAX_BYTES = 1 << 30


def journals_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where journals are kept: under XDG_STATE_HOME, else ~/.local/state."""
    variables = os.environ if environ is None else environ
    home = variables.get("XDG_STATE_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".local/state")
    return Path(home) / "skep" / "uploads"


class Journal:
    """The journal of one source and one target. Safe to use from many threads; close it."""

    def __init__(self, directory: Path, *scope: str) -> None:
        """``scope`` says whose journal it is: hive, user, source, target."""
        name = hashlib.sha256("\0".join(scope).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path = directory / f"{name}.jsonl"
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sent = self._load()
        self._compact()
        _drop_oldest(directory, keep=self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def record(self, lines: Iterable[tuple[str, Sent]]) -> None:
        """Note acknowledged files."""
        text = "".join(_line(target, sent) for target, sent in lines)
        with self._lock:
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _load(self) -> dict[str, Sent]:
        sent: dict[str, Sent] = {}
        try:
            if self._path.stat().st_size > JOURNAL_MAX_BYTES:
                return sent
            with self._path.open(encoding="utf-8") as file:
                for line in file:
                    with contextlib.suppress(ValueError, TypeError):
                        target, size_bytes, mtime_ns, etag = json.loads(line)
                        sent[target] = Sent(int(size_bytes), int(mtime_ns), str(etag))
        except (OSError, UnicodeDecodeError):
            return sent
        return sent

    def _compact(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(_line(target, sent) for target, sent in self.sent.items()), "utf-8")
        temporary.replace(self._path)


def _line(target: str, sent: Sent) -> str:
    return json.dumps([target, sent.size_bytes, sent.mtime_ns, sent.etag]) + "\n"


def _drop_oldest(directory: Path, *, keep: Path) -> None:
    with contextlib.suppress(OSError):
        journals = sorted(directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in journals[JOURNALS_MAX:]:
            if path != keep:
                path.unlink(missing_ok=True)
