"""Each system call of the fs driver fails in turn: a value is whole or not there, and nothing is left behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from skep.base.errors import ObjectNotFound, SkepError, StoreFull, StoreReadOnly, StoreUnavailable
from skep.base.ids import new_id
from skep.stores.drivers.fs import FsConfig, FsStore
from skep.stores.drivers.fs.calls import Calls
from skep.stores.protocol import Buffer

OLD, NEW = b"old" * 2_000, b"new" * 3_000
METHODS = [name for name in vars(Calls) if not name.startswith("_") and name != "close"]


class FailingCalls(Calls):
    """Fails the ``fail_at``-th call, before it is made or after."""

    def __init__(self, fail_at: int | None, number: int, *, late: bool, unnamed: bool) -> None:
        self.made: list[str] = []
        self.armed = False
        self.failed: str | None = None
        self._fail_at, self._errno, self._late, self._unnamed = fail_at, number, late, unnamed

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return self._counted(name, method) if name in METHODS else method

    def _counted(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            if name == "open_unnamed" and not self._unnamed:
                raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
            fails = self.armed and len(self.made) == self._fail_at
            if self.armed:
                self.made.append(name)
            if fails:
                self.failed = name
                if self._late:
                    result = method(*args)
                    if name.startswith(("open", "create")):
                        os.close(int(str(result)))
                raise OSError(self._errno, os.strerror(self._errno))
            return method(*args)

        return call


Act = Callable[[FsStore], Awaitable[object]]
ACTS: dict[str, tuple[bool, Act, set[bytes | None]]] = {
    "first put": (False, lambda store: store.put("shards/aa.0", [NEW[:1000], NEW[1000:]]), {None, NEW}),
    "put over": (True, lambda store: store.put("shards/aa.0", [NEW]), {OLD, NEW}),
    "delete": (True, lambda store: store.delete("shards/aa.0"), {OLD, None}),
    "get": (True, lambda store: store.get("shards/aa.0"), {OLD}),
    "claim": (True, lambda store: store.claim(b"h" * 16, b"s" * 16), {OLD}),
}
ERRORS = {errno.ENOSPC: StoreFull, errno.EROFS: StoreReadOnly, errno.EIO: StoreUnavailable}


async def value_of(store: FsStore) -> bytes | None:
    try:
        return await store.get("shards/aa.0")
    except (ObjectNotFound, StoreUnavailable):
        return None


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("number", "late", "unnamed"),
    [
        (errno.EIO, False, True),
        (errno.EIO, False, False),
        (errno.EIO, True, True),
        (errno.EIO, True, False),
        (errno.ENOSPC, False, True),
        (errno.EROFS, False, True),
    ],
)
@pytest.mark.parametrize("act", ACTS)
async def test_each_failing_call(act: str, number: int, late: bool, unnamed: bool, tmp_path: Path) -> None:
    """``late`` calls are done and then reported as failed."""
    existing, action, allowed = ACTS[act]
    descriptors = open_descriptors()
    for fail_at in range(60):
        root = tmp_path / f"{fail_at}"
        calls = FailingCalls(fail_at, number, late=late, unnamed=unnamed)
        store = FsStore(FsConfig(root, threads=1), calls)
        if existing:
            await store.put("shards/aa.0", [OLD])
            await store.usage()
            if act != "get":
                await store.get("shards/aa.0")  # from now on its file is open
        calls.armed = True
        await _run(action, store, calls, number)
        calls.armed = False
        seen = await value_of(store)
        if existing and seen is not None and calls.failed not in ("rename", "unlink"):
            assert (await store.usage()).used_bytes == len(seen), calls.failed
        await store.close()
        assert open_descriptors() <= descriptors, f"{calls.failed} leaks a descriptor"
        await _assert_clean(root, allowed, seen)
        if calls.failed is None:
            assert fail_at > (1 if act in ("get", "delete") else 3)
            return
    raise AssertionError("the act never ends")


async def _run(action: Act, store: FsStore, calls: FailingCalls, number: int) -> None:
    raised: SkepError | None = None
    try:
        await action(store)
    except SkepError as error:
        raised = error
    if raised is not None:
        assert calls.failed is not None
        assert isinstance(raised, StoreUnavailable | ERRORS[number]), f"{calls.failed}: {raised!r}"


async def _assert_clean(root: Path, allowed: set[bytes | None], seen: bytes | None) -> None:
    again = FsStore(FsConfig(root))
    found = await value_of(again)
    assert found in allowed
    assert found == seen, "what was there before reopening is not what is there after"
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "skep-store.json"]
    assert len(files) == (found is not None), files
    await again.put("shards/aa.0", [NEW])
    assert await again.get("shards/aa.0") == NEW
    await again.close()


class ShortWrites(Calls):
    """Writes at most 1,000 bytes at a time, and at most three parts."""

    def write(self, fd: int, parts: Sequence[Buffer]) -> int:
        left, some = 1_000, []
        for part in parts[:3]:
            some.append(memoryview(part)[:left])
            left -= len(some[-1])
        return super().write(fd, some)


class NoProgress(Calls):
    def write(self, fd: int, parts: Sequence[Buffer]) -> int:
        return 0


class ShortReads(Calls):
    def read(self, fd: int, length: int, offset: int) -> bytes:
        return super().read(fd, min(length, 777), offset)


@pytest.mark.parametrize("calls", [ShortWrites, ShortReads])
async def test_short_reads_and_writes_are_completed(calls: type[Calls], tmp_path: Path) -> None:
    store = FsStore(FsConfig(tmp_path), calls())
    parts = [bytes([number % 256]) * (number % 90) for number in range(2_500)]
    await store.put("a", parts)
    assert await store.get("a") == b"".join(parts)
    assert await store.get("a", 5_000, 50_000) == b"".join(parts)[5_000:55_000]
    await store.close()


async def test_a_write_without_progress_is_an_error_not_a_loop(tmp_path: Path) -> None:
    store = FsStore(FsConfig(tmp_path), NoProgress())
    with pytest.raises(StoreUnavailable):
        await store.put("a", [b"x"])
    await store.close()


async def test_an_identity_survives_a_claim_that_failed_late(tmp_path: Path) -> None:
    hive_id, store_id = new_id(), new_id()
    calls = FailingCalls(None, errno.EIO, late=True, unnamed=True)
    store = FsStore(FsConfig(tmp_path), calls)
    claimed = await store.claim(hive_id, store_id)
    await store.close()
    again = FsStore(FsConfig(tmp_path))
    assert await again.identity() == claimed
    await again.close()
