"""The journal of an upload: which local file became which content, so that a second run skips it.

A file of JSON lines ``[target, size_bytes, mtime_ns, etag]``, appended as files are acknowledged, and
``["upload", target, size_bytes, mtime_ns, url]``, appended when a large file is begun; the last line of a
target counts, a torn last line is passed over. Opening rewrites it compactly. It only ever saves work:
losing it means comparing by size and time, and sending a large file from its beginning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Begun:
    """A large file whose upload was opened and not seen to end: the local file then, and the upload's address."""

    size_bytes: int
    mtime_ns: int
    url: str


class Journal:
    """The journal of one source and one target. Safe to use from many threads; close it."""

    def __init__(self, directory: Path, *scope: str) -> None:
        """``scope`` says whose journal it is: hive, user, source, target."""
        name = hashlib.sha256("\0".join(scope).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path = directory / f"{name}.jsonl"
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sent: dict[str, Sent] = {}
        self.begun: dict[str, Begun] = {}
        self._load()
        self._compact()
        _drop_oldest(directory, keep=self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def record(self, lines: Iterable[tuple[str, Sent]]) -> None:
        """Note acknowledged files."""
        noted = list(lines)
        for target, _ in noted:
            self.begun.pop(target, None)
        self._append("".join(_line(target, sent) for target, sent in noted))

    def begin(self, target: str, begun: Begun) -> None:
        """Note where a large file is going."""
        self.begun[target] = begun
        self._append(_begun_line(target, begun))

    def _append(self, text: str) -> None:
        with self._lock:
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _load(self) -> None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if self._path.stat().st_size > JOURNAL_MAX_BYTES:
                return
            with self._path.open(encoding="utf-8") as file:
                for line in file:
                    with contextlib.suppress(ValueError, TypeError):
                        self._take(json.loads(line))

    def _take(self, line: list[object]) -> None:
        """Take one line. Raises ValueError or TypeError for what is none."""
        if len(line) == 5 and line[0] == "upload":
            _, target, size_bytes, mtime_ns, url = line
            self.begun[str(target)] = Begun(int(str(size_bytes)), int(str(mtime_ns)), str(url))
            return
        target, size_bytes, mtime_ns, etag = line
        self.sent[str(target)] = Sent(int(str(size_bytes)), int(str(mtime_ns)), str(etag))
        self.begun.pop(str(target), None)

    def _compact(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        lines = [_line(target, sent) for target, sent in self.sent.items()]
        lines += [_begun_line(target, begun) for target, begun in self.begun.items()]
        temporary.write_text("".join(lines), "utf-8")
        temporary.replace(self._path)


def _line(target: str, sent: Sent) -> str:
    return json.dumps([target, sent.size_bytes, sent.mtime_ns, sent.etag]) + "\n"


def _begun_line(target: str, begun: Begun) -> str:
    return json.dumps(["upload", target, begun.size_bytes, begun.mtime_ns, begun.url]) + "\n"


def _drop_oldest(directory: Path, *, keep: Path) -> None:
    with contextlib.suppress(OSError):
        journals = sorted(directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in journals[JOURNALS_MAX:]:
            if path != keep:
                path.unlink(missing_ok=True)
