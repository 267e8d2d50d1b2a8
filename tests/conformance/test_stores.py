"""Every driver and every wrapper does what the contract of stores says."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from skep.stores.conformance import CHECKS, CheckResult, check
from skep.stores.drivers.fs import FsConfig, FsStore
from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.memory import forget_memory
from skep.stores.protocol import Store
from skep.stores.registry import open_store
from skep.stores.stack import stacked
from skep.stores.wrappers.fault import FaultStore
from skep.stores.wrappers.limit import Limits, LimitStore
from skep.stores.wrappers.meter import MeterStore
from skep.stores.wrappers.retry import RetryStore
from skep.testing.clock import FakeClock

CLOCK = FakeClock(auto=True)
LIMITS = Limits(concurrency=3, put_bytes_per_s=1 << 20, get_bytes_per_s=1 << 20)


class NoUnnamedFiles(Calls):
    """A filesystem without O_TMPFILE, such as exFAT or NFS."""

    def open_unnamed(self, directory: int) -> int:
        raise OSError(95, "Operation not supported")


def plain(inner: Store) -> Store:
    return inner


WRAPPERS: dict[str, Callable[[Store], Store]] = {
    "plain": plain,
    "retry": lambda inner: RetryStore(inner, clock=CLOCK, random=random.Random(1)),
    "limit": lambda inner: LimitStore(inner, clock=CLOCK, limits=LIMITS),
    "meter": lambda inner: MeterStore(inner, clock=CLOCK),
    "fault": lambda inner: FaultStore(inner, clock=CLOCK),
    "stacked": lambda inner: stacked(inner, clock=CLOCK, random=random.Random(1)),
}
DRIVERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: open_store("memory:conformance?capacity=1GB"),
    "fs": lambda path: open_store(f"fs://{path}/disk?capacity=1GB"),
    "fs-without-tmpfile": lambda path: FsStore(FsConfig(path / "disk"), NoUnnamedFiles()),
    "fs-few-descriptors": lambda path: FsStore(FsConfig(path / "disk", threads=3, open_files=1, open_directories=1)),
}


CASES = [(driver, "plain") for driver in DRIVERS] + [(d, w) for d in ("memory", "fs") for w in WRAPPERS if w != "plain"]


@pytest.mark.parametrize(("driver", "wrapper"), CASES)
async def test_conforms(driver: str, wrapper: str, tmp_path: Path) -> None:
    forget_memory("conformance")
    seen: list[CheckResult] = []
    report = await check(lambda: WRAPPERS[wrapper](DRIVERS[driver](tmp_path)), progress=seen.append)
    assert report.ok, str(report)
    assert [result.name for result in seen] == [name for name, _ in CHECKS]
    skipped = [result.name for result in report.results if result.outcome == "skipped"]
    assert skipped == (["values-survive-reopening"] if driver == "memory" else ["deleting-many"])
    forget_memory("conformance")


async def test_it_touches_nothing_of_what_is_there_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(f"fs://{tmp_path}")
    await store.put("check/mine", [b"1"])
    await store.put("shards/aa.0", [b"2"])
    report = await check(lambda: open_store(f"fs://{tmp_path}"))
    assert report.ok, str(report)
    assert [(info.key, info.size_bytes) async for info in store.list()] == [("check/mine", 1), ("shards/aa.0", 1)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["aa.0", "mine"]
    await store.close()


async def test_a_store_that_is_not_there_fails_with_its_own_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    report = await check(lambda: open_store(f"fs://{tmp_path}/file/below"), only="ranges")
    assert not report.ok
    assert str(tmp_path) in report.failures[0].detail
