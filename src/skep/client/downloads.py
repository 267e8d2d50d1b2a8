"""Fetches trees: several files at once, each into a part file that is renamed when it is whole.

A part file carries the ETag of what it is a part of, so that a later run goes on where this one
ended if the hive still has that content, and starts anew if not. Nothing is written through a
link below the target, and no name leads out of it (see ``trees.relative_path``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from skep.base.errors import ChecksumMismatch, Conflict, LocalFailure, PreconditionFailed, SkepError, Unavailable
from skep.client.files import Files
from skep.client.records import Node
from skep.client.retries import Cancel, RetryPolicy, retrying
from skep.client.trees import DownloadPlan, Fetch, LocalState
from skep.client.work import Ledger, Progress, Tally, run_all

READ_BYTES = 1 << 20
PART_SUFFIX = ".skep-part"
_PREFIX_LENGTH = 18


@dataclass(frozen=True, slots=True)
class Download:
    """One transfer: from where, to which local root, how to tell of it."""

    files: Files
    root: Path
    space: str | None = None
    progress: Progress | None = None
    cancel: Cancel = field(default_factory=Cancel)
    threads: int = 4
    version: int | None = None
    """Of a single file: an older one."""
    policy: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen


def remote_tree(download: Download, top: Node) -> list[Node]:
    """All nodes at and below ``top``, directories before their content."""
    below = download.files.below(top.path, space=download.space) if top.is_directory else ()
    return [top, *below]


def local_states(root: Path, relatives: Iterable[str]) -> dict[str, LocalState]:
    """What is at these paths below ``root`` now; links are not followed (a root that is a link is)."""
    states = {}
    for relative in relatives:
        try:
            facts = os.stat(root / relative, follow_symlinks=not relative)
        except (OSError, ValueError):
            continue
        states[relative] = LocalState(
            stat.S_ISDIR(facts.st_mode), stat.S_ISREG(facts.st_mode), facts.st_size, facts.st_mtime_ns
        )
    return states


def run_download(download: Download, plan: DownloadPlan) -> Tally:
    """Make and fetch what the plan says. Failures of single files are in the tally.

    Raises the error that ended everything, Cancelled, KeyboardInterrupt; OSError when the root cannot be made.
    """
    ledger = Ledger(download.progress)
    ledger.tally.unchanged = len(plan.unchanged)
    for clash in plan.clashes:
        ledger.failed(clash.path, Conflict(clash.reason))
    for _, relative in plan.directories:
        _make(download.root, relative)
    done: list[Path] = []
    run_all(_jobs(download, plan, ledger, done), threads=download.threads, cancel=download.cancel)
    _drop_other_parts(done)
    for node, relative in reversed(plan.directories):
        _set_time(download.root / relative, node.modified_us)
    return ledger.tally


def _make(root: Path, relative: str) -> None:
    """A directory that is one, and no link to one (the root may be)."""
    path = root / relative
    if not relative:
        path.mkdir(parents=True, exist_ok=True)
        return
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise LocalFailure(f"{path} is no directory (any more)")


def _jobs(download: Download, plan: DownloadPlan, ledger: Ledger, done: list[Path]) -> Iterator[Callable[[], None]]:
    for fetch in sorted(plan.files, key=lambda fetch: -fetch.node.size_bytes):
        yield lambda fetch=fetch: _fetch(download, ledger, fetch, done)  # type: ignore[misc]


def _fetch(download: Download, ledger: Ledger, fetch: Fetch, done: list[Path]) -> None:
    target = download.root / fetch.local if fetch.local else download.root
    part = part_path(target, fetch.node.etag)
    counter = _Counter(ledger, download.cancel)
    try:
        with open(part, "ab", buffering=0) as file:
            retrying(
                lambda: _fill(download, fetch.node, file, counter),
                download.policy,
                download.cancel,
            )
            _check_digest(fetch.node, part)
        _set_time(part, fetch.node.modified_us)
        os.replace(part, target)
    except ChecksumMismatch as error:
        part.unlink(missing_ok=True)
        counter.undo()
        ledger.failed(str(target), error)
    except OSError as error:
        counter.undo()
        ledger.failed(str(target), LocalFailure(f"cannot be written: {error.strerror}"))
    except SkepError as error:
        counter.undo()
        ledger.failed(str(target), error)
    else:
        ledger.finished()
        done.append(target)


class _Counter:
    """Bytes of one file told to the progress, so that they can be taken back."""

    def __init__(self, ledger: Ledger, cancel: Cancel) -> None:
        self._ledger = ledger
        self._cancel = cancel
        self.told = 0

    def moved(self, size_bytes: int) -> None:
        self._cancel.check()
        self.told += size_bytes
        self._ledger.moved(size_bytes)

    def undo(self) -> None:
        self._ledger.moved(-self.told)
        self.told = 0


def _fill(download: Download, node: Node, file: BinaryIO, counter: _Counter) -> None:
    """Append to the part file until it is whole; what it has stays when the connection breaks."""
    have = file.seek(0, os.SEEK_END)
    if have > node.size_bytes:
        file.truncate(0)
        have = 0
    counter.undo()
    counter.moved(have)
    if have == node.size_bytes:
        return
    response = download.files.read(node.id, version=download.version, etag=node.etag, offset=have)
    if have and response.status != 206:
        file.truncate(0)
        counter.undo()
    buffer = memoryview(bytearray(min(READ_BYTES, max(node.size_bytes - have, 1))))
    try:
        while count := response.readinto(buffer):
            _write_all(file, buffer[:count])
            counter.moved(count)
    finally:
        response.close()
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes < node.size_bytes:
        raise Unavailable(f"only {size_bytes} of {node.size_bytes} bytes came: try again")
    if size_bytes > node.size_bytes:
        file.truncate(0)
        raise PreconditionFailed(f"{node.path} changed on the hive meanwhile: get it again")


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _check_digest(node: Node, part: Path) -> None:
    """Compare with the strongest digest that the hive told, if it told one."""
    for name in ("sha256", "sha1", "md5"):
        wanted = node.raw.get(name)
        if isinstance(wanted, str) and wanted:
            with open(part, "rb") as file:
                found = hashlib.file_digest(file, name).hexdigest()
            if found != wanted.lower():
                raise ChecksumMismatch(f"{node.path} arrived with another {name} than the hive has: get it again")
            return


def part_path(target: Path, etag: str) -> Path:
    """Where a file is collected: beside its target, named by both and by its content."""
    return target.parent / f"{_part_prefix(target)}{hashlib.sha256(etag.encode()).hexdigest()[:16]}{PART_SUFFIX}"


def _part_prefix(target: Path) -> str:
    return f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}."


def _drop_other_parts(targets: Iterable[Path]) -> None:
    """Remove parts of other contents of these files: one listing for each directory."""
    prefixes: dict[Path, set[str]] = {}
    for target in targets:
        prefixes.setdefault(target.parent, set()).add(_part_prefix(target))
    for directory, known in prefixes.items():
        with contextlib.suppress(OSError), os.scandir(directory) as listing:
            stale = [e.path for e in listing if e.name.endswith(PART_SUFFIX) and e.name[:_PREFIX_LENGTH] in known]
            for path in stale:
                os.unlink(path)


def _set_time(path: Path, modified_us: int) -> None:
    with contextlib.suppress(OSError):
        os.utime(path, ns=(modified_us * 1000, modified_us * 1000), follow_symlinks=False)
