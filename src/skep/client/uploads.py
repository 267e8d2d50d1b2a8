"""Sends trees: small files grouped into batch calls, larger ones each in a request, several at once; the
largest as resumable uploads, which go on where they were cut off, also in another run.

Safe to run again after any end: what was acknowledged is in the journal (and on the hive), what was
not is not there at all or is a whole file. A file that changes while it is read is not counted as sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from skep.base.errors import Conflict, LocalFailure, NotFound, SkepError
from skep.client.files import BatchItem, Files
from skep.client.journal import Begun, Journal
from skep.client.records import Node
from skep.client.retries import Cancel
from skep.client.scan import LocalDirectory, LocalFile
from skep.client.transport import FileBody
from skep.client.trees import Sent, UploadPlan, batches, parent
from skep.client.work import Ledger, Progress, Tally, map_all, run_all

SMALL_BYTES = 256 << 10
"""Files up to this size go in batches."""
RESUMABLE_BYTES = 16 << 20
"""Files from this size on are sent so that what arrived is not sent again."""
BATCH_BYTES = 8 << 20
BATCH_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Upload:
    """One transfer: where to, what to keep, how to tell of it."""

    files: Files
    space: str | None = None
    journal: Journal | None = None
    progress: Progress | None = None
    cancel: Cancel = field(default_factory=Cancel)
    threads: int = 4


def existing(upload: Upload, entries: Sequence[LocalFile | LocalDirectory]) -> dict[str, Node]:
    """The nodes of the hive at the entries' targets: one listing for each directory that is on both sides."""
    directories = {entry.target for entry in entries if isinstance(entry, LocalDirectory)}
    tops = {entry.target for entry in entries if parent(entry.target) not in directories or entry.target == "/"}
    found = _present(upload, tops)
    frontier = [path for path in tops & directories if path in found and found[path].is_directory]
    while frontier:
        listed = map_all(
            lambda path: list(upload.files.children(path, space=upload.space)),
            frontier,
            threads=upload.threads,
            cancel=upload.cancel,
        )
        nodes = [node for listing in listed.values() for node in listing]
        found.update((node.path, node) for node in nodes)
        frontier = [node.path for node in nodes if node.is_directory and node.path in directories]
    return found


def _present(upload: Upload, paths: Iterable[str]) -> dict[str, Node]:
    def look(path: str) -> Node | None:
        try:
            return upload.files.info(path, space=upload.space)
        except NotFound:
            return None

    looked = map_all(look, paths, threads=upload.threads, cancel=upload.cancel)
    return {path: node for path, node in looked.items() if node is not None}


def run_upload(upload: Upload, plan: UploadPlan) -> Tally:
    """Make and send what the plan says. Failures of single files are in the tally.

    Raises the error that ended everything (no access, no room, no hive), Cancelled, KeyboardInterrupt.
    """
    ledger = Ledger(upload.progress)
    ledger.tally.unchanged = len(plan.unchanged)
    for clash in plan.clashes:
        ledger.failed(clash.path, Conflict(clash.reason))
    run_all(_jobs(upload, plan, ledger), threads=upload.threads, cancel=upload.cancel)
    return ledger.tally


def _jobs(upload: Upload, plan: UploadPlan, ledger: Ledger) -> Iterator[Callable[[], None]]:
    """Large files first, so that none is left alone at the end."""
    large = [file for file in plan.files if file.size_bytes > SMALL_BYTES]
    small = [file for file in plan.files if file.size_bytes <= SMALL_BYTES]
    for file in sorted(large, key=lambda file: -file.size_bytes):
        yield lambda file=file: _send_large(upload, ledger, file)  # type: ignore[misc]
    for group in batches(small, items_max=BATCH_ITEMS, bytes_max=BATCH_BYTES):
        yield lambda group=group: _send_group(upload, ledger, group)  # type: ignore[misc]
    for path in plan.directories:
        yield lambda path=path: _make(upload, ledger, path)  # type: ignore[misc]


def _make(upload: Upload, ledger: Ledger, path: str) -> None:
    try:
        upload.files.make_directory(path, space=upload.space)
    except SkepError as error:
        ledger.failed(path, error)


def _send_large(upload: Upload, ledger: Ledger, file: LocalFile) -> None:
    moved = _Moved(upload.cancel, ledger)
    try:
        with open(file.local, "rb", buffering=0) as handle:
            send = _send_resumable if file.size_bytes >= RESUMABLE_BYTES else _send_whole
            node = send(upload, file, handle, moved)
            _check_unchanged(file, os.fstat(handle.fileno()))
    except OSError as error:
        moved.at(0)
        ledger.failed(file.local, LocalFailure(f"cannot be read: {error.strerror}"))
    except SkepError as error:
        moved.at(0)
        ledger.failed(file.local, error)
    else:
        ledger.finished()
        _record(upload, [(file, node)])


class _Moved:
    """How much of one file is over, as the ledger has been told."""

    def __init__(self, cancel: Cancel, ledger: Ledger) -> None:
        self._cancel = cancel
        self._ledger = ledger
        self._bytes = 0

    def more(self, size_bytes: int) -> None:
        """So many more bytes are over. Raises Cancelled."""
        self._cancel.check()
        self._bytes += size_bytes
        self._ledger.moved(size_bytes)

    def at(self, offset: int) -> None:
        """So many bytes are over, and no more."""
        self._ledger.moved(offset - self._bytes)
        self._bytes = offset


def _send_whole(upload: Upload, file: LocalFile, handle: BinaryIO, moved: _Moved) -> Node:
    body = FileBody(handle, os.fstat(handle.fileno()).st_size, progress=moved.more)
    return upload.files.write_file(
        file.target,
        body,
        space=upload.space,
        modified_us=file.mtime_ns // 1000,
        before_try=lambda: moved.at(0),
    )


def _send_resumable(upload: Upload, file: LocalFile, handle: BinaryIO, moved: _Moved) -> Node:
    """Go on with the upload of an earlier run, if it is of this file as it is now; else open one."""
    _check_unchanged(file, os.fstat(handle.fileno()))
    resumable = upload.files.resumable
    begun = _begun_before(upload, file)
    if begun is not None:
        try:
            state = resumable.state(begun.url)
            return (
                resumable.result(state)
                if state.node is not None
                else _go_on(upload, file, handle, moved, begun.url, state.offset)
            )
        except NotFound:
            moved.at(0)
    url = resumable.open(file.target, file.size_bytes, space=upload.space, modified_us=file.mtime_ns // 1000)
    if upload.journal is not None:
        upload.journal.begin(file.target, Begun(file.size_bytes, file.mtime_ns, url))
    return _go_on(upload, file, handle, moved, url, 0)


def _begun_before(upload: Upload, file: LocalFile) -> Begun | None:
    begun = upload.journal.begun.get(file.target) if upload.journal is not None else None
    if begun is None or (begun.size_bytes, begun.mtime_ns) == (file.size_bytes, file.mtime_ns):
        return begun
    upload.files.resumable.cancel(begun.url)  # the file is another now
    return None


def _go_on(upload: Upload, file: LocalFile, handle: BinaryIO, moved: _Moved, url: str, offset: int) -> Node:
    def rest(start: int) -> FileBody:
        return FileBody(handle, file.size_bytes - start, start, moved.more, once=True)

    return upload.files.resumable.send(url, offset, rest, at=moved.at)


def _check_unchanged(file: LocalFile, facts: os.stat_result) -> None:
    if (facts.st_size, facts.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise LocalFailure("changed while it was read: put it again when it is at rest")


def _send_group(upload: Upload, ledger: Ledger, group: Sequence[LocalFile]) -> None:
    items, files = [], []
    for file in group:
        try:
            items.append(_item(file))
            files.append(file)
        except OSError as error:
            ledger.failed(file.local, LocalFailure(f"cannot be read: {error.strerror}"))
        except SkepError as error:
            ledger.failed(file.local, error)
    if not items:
        return
    try:
        results = upload.files.write_batch(items, space=upload.space)
    except SkepError as error:
        for file in files:
            ledger.failed(file.local, error)
        return
    sent = []
    for file, result in zip(files, results, strict=True):
        if isinstance(result, SkepError):
            ledger.failed(file.local, result)
        else:
            sent.append((file, result))
    ledger.moved(sum(file.size_bytes for file, _ in sent))
    ledger.finished(len(sent))
    _record(upload, sent)


def _item(file: LocalFile) -> BatchItem:
    with open(file.local, "rb", buffering=0) as handle:
        body = handle.read(file.size_bytes + 1)
        _check_unchanged(file, os.fstat(handle.fileno()))
    if len(body) != file.size_bytes:
        raise LocalFailure("changed while it was read: put it again when it is at rest")
    return BatchItem(file.target, body, file.mtime_ns // 1000)


def _record(upload: Upload, sent: Sequence[tuple[LocalFile, Node]]) -> None:
    if upload.journal is not None:
        upload.journal.record((file.target, Sent(file.size_bytes, file.mtime_ns, node.etag)) for file, node in sent)


def journal_lines(journal: Journal | None) -> Mapping[str, Sent]:
    """What an earlier run has sent."""
    return journal.sent if journal is not None else {}
