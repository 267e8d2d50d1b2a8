"""What a disk may hold when the power goes at any moment of a put: computed from the system calls that it makes.

The model is the weakest that POSIX allows: content that was not synced may be missing, and each change of a directory
that was not synced may have reached the disk or not, whatever happened to the others.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from skep.stores.drivers.fs import FsConfig, FsStore
from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.fs.layout import place_of
from skep.stores.protocol import Buffer

OLD, NEW = b"old value", b"the new value"
KEY = "shards/ab/cdef.0"
Directory = dict[str, int]


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


class Recorder(Calls):
    """Keeps what each call does to which inode, in order."""

    def __init__(self, *, unnamed: bool) -> None:
        self.events: list[tuple[object, ...]] = []
        self._unnamed = unnamed

    def make_directory(self, name: str, parent: int) -> None:
        super().make_directory(name, parent)
        self.events.append(("name", inode(parent), name, os.stat(name, dir_fd=parent).st_ino))

    def open_unnamed(self, directory: int) -> int:
        if not self._unnamed:
            raise OSError(95, "no unnamed files here")
        return super().open_unnamed(directory)

    def create_file(self, name: str, directory: int) -> int:
        fd = super().create_file(name, directory)
        self.events.append(("name", inode(directory), name, inode(fd)))
        return fd

    def write(self, fd: int, parts: Sequence[Buffer]) -> int:
        self.events.append(("write", inode(fd), b"".join(parts)))
        return super().write(fd, parts)

    def sync_data(self, fd: int) -> None:
        self.events.append(("sync data", inode(fd)))
        super().sync_data(fd)

    def sync_directory(self, fd: int) -> None:
        self.events.append(("sync directory", inode(fd)))
        super().sync_directory(fd)

    def name_unnamed(self, fd: int, name: str, directory: int) -> None:
        super().name_unnamed(fd, name, directory)
        self.events.append(("name", inode(directory), name, inode(fd)))

    def rename(self, name: str, directory: int, new_name: str, new_directory: int) -> None:
        moved = os.stat(name, dir_fd=directory).st_ino
        super().rename(name, directory, new_name, new_directory)
        self.events.append(("name", inode(new_directory), new_name, moved))

    def unlink(self, name: str, directory: int) -> None:
        super().unlink(name, directory)
        self.events.append(("name", inode(directory), name, None))


def disks(events: Sequence[tuple[object, ...]]) -> Iterator[tuple[dict[int, Directory], dict[int, bytes]]]:
    """Every state of the disk that these calls allow: directories and the durable content of files, by inode."""
    directories: dict[object, dict[object, object]] = {}
    pending: list[tuple[object, object, object]] = []
    written: dict[object, bytes] = {}
    durable: dict[object, bytes] = {}
    for kind, where, *rest in events:
        if kind == "write":
            written[where] = written.get(where, b"") + bytes(rest[0])  # type: ignore[call-overload]
        elif kind == "sync data":
            durable[where] = written.get(where, b"")
        elif kind == "name":
            pending.append((where, rest[0], rest[1]))
        elif kind == "sync directory":
            for _, name, target in [change for change in pending if change[0] == where]:
                directories.setdefault(where, {})[name] = target
            pending = [change for change in pending if change[0] != where]
    for kept in itertools.product((False, True), repeat=len(pending)):
        found = {where: dict(names) for where, names in directories.items()}
        for (where, name, target), keep in zip(pending, kept, strict=True):
            if keep:
                found.setdefault(where, {})[name] = target
        yield found, durable  # type: ignore[misc]


def resolve(root: int, disk: tuple[dict[int, Directory], dict[int, bytes]]) -> bytes | None:
    """The value under the key on such a disk; a file whose content was never synced reads as a torn one."""
    directories, durable = disk
    segments, leaf = place_of(KEY)
    at: int | None = root
    for name in ("objects", *segments, leaf):
        at = directories.get(at, {}).get(name) if at is not None else None
    return None if at is None else durable.get(at, b"torn")


Act = Callable[[FsStore], Awaitable[None]]


@pytest.mark.parametrize("unnamed", [True, False], ids=["tmpfile", "named"])
@pytest.mark.parametrize(
    ("before", "act", "after"),
    [
        (None, lambda store: store.put(KEY, [NEW[:4], NEW[4:]]), NEW),
        (OLD, lambda store: store.put(KEY, [NEW]), NEW),
        (OLD, lambda store: store.delete(KEY), None),
    ],
    ids=["put", "put over", "delete"],
)
async def test_power_loss_at_each_call(
    before: bytes | None, act: Act, after: bytes | None, unnamed: bool, tmp_path: Path
) -> None:
    calls = Recorder(unnamed=unnamed)
    store = FsStore(FsConfig(tmp_path, threads=1), calls)
    if before is not None:
        await store.put(KEY, [before])
    began = len(calls.events)
    await act(store)
    await store.close()
    root = os.stat(tmp_path).st_ino
    assert len(calls.events) - began >= 2
    for cut in range(began, len(calls.events) + 1):
        seen = {resolve(root, disk) for disk in disks(calls.events[:cut])}
        assert seen <= {before, after}, f"power loss after {calls.events[:cut][-1:]} leaves {seen}"
    assert {resolve(root, disk) for disk in disks(calls.events)} == {after}, "what was acknowledged is not on the disk"


async def test_a_directory_made_by_one_who_died_is_synced_by_the_next(tmp_path: Path) -> None:
    """Its entry may not be on the disk, so whoever first puts into it has to sync its parents."""
    segments, leaf = place_of(KEY)
    (tmp_path / "temp").mkdir()
    (tmp_path / "objects" / Path(*segments)).mkdir(parents=True)
    calls = Recorder(unnamed=True)
    store = FsStore(FsConfig(tmp_path), calls)
    await store.put(KEY, [NEW])
    await store.close()
    synced = {where for kind, where, *_ in calls.events if kind == "sync directory"}
    chain = [tmp_path, *(tmp_path / "objects" / Path(*segments[:depth]) for depth in range(len(segments) + 1))]
    assert {path.stat().st_ino for path in chain} <= synced
    assert (chain[-1] / leaf).read_bytes() == NEW


def test_the_model_notices_a_missing_sync() -> None:
    """A put that names before it syncs, or does not sync its directory, does not pass."""
    named_early = [("write", 9, NEW), ("name", 1, "objects", 2), ("sync data", 9)]
    assert len(list(disks(named_early))) == 2
    torn = [("name", 1, "a", 9), ("sync directory", 1), ("write", 9, NEW)]
    assert all(9 not in durable for _, durable in disks(torn))
