"""Long work in threads: a bounded pool, its progress, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from skep.base.errors import Denied, Forbidden, LimitReached, RateLimited, SkepError, Unavailable
from skep.client.retries import Cancel, Cancelled

T = TypeVar("T")


class Progress(Protocol):
    """Told by worker threads how a transfer goes on; calls come from any thread, one at a time."""

    def moved(self, size_bytes: int) -> None:
        """So many more bytes are over; negative when some must go again."""
        ...

    def finished(self, files: int) -> None:
        """So many more files are over."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that was not moved."""

    path: str
    error: SkepError


@dataclass(slots=True)
class Tally:
    """What a transfer has done. Sizes in bytes."""

    files: int = 0
    size_bytes: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)


class Ledger:
    """Collects a transfer's results from its threads and tells the progress."""

    def __init__(self, progress: Progress | None) -> None:
        self.tally = Tally()
        self._progress = progress
        self._lock = threading.Lock()

    def moved(self, size_bytes: int) -> None:
        with self._lock:
            self.tally.size_bytes += size_bytes
            if self._progress is not None:
                self._progress.moved(size_bytes)

    def finished(self, files: int = 1) -> None:
        with self._lock:
            self.tally.files += files
            if self._progress is not None:
                self._progress.finished(files)

    def failed(self, path: str, error: SkepError) -> None:
        """Note a failure of one thing; re-raises what would fail for everything else too."""
        with self._lock:
            self.tally.failures.append(Failure(path, error))
        if ends_all(error):
            raise error


def ends_all(error: SkepError) -> bool:
    """Whether going on with other files makes no sense: no access, no room, no hive."""
    if isinstance(error, Forbidden | RateLimited):
        return False
    return isinstance(error, Denied | LimitReached | Unavailable)


def run_all(jobs: Iterable[Callable[[], None]], *, threads: int, cancel: Cancel) -> None:
    """Run jobs in ``threads`` threads, at most twice as many waiting; the first exception stops the rest.

    KeyboardInterrupt in the calling thread sets ``cancel`` and waits for the jobs to notice.
    """
    pending: set[Future[None]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="skep-transfer") as pool:
        try:
            for job in jobs:
                if len(pending) >= 2 * threads:
                    pending = _settle(pending)
                cancel.check()
                pending.add(pool.submit(job))
            while pending:
                pending = _settle(pending)
        except BaseException:
            cancel.set()
            for future in pending:
                future.cancel()
            raise


def _settle(pending: set[Future[None]]) -> set[Future[None]]:
    """Wait until something is done; raises the first real failure, before any mere cancelling."""
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    errors = [error for future in done if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
        raise error
    return rest


def map_all(call: Callable[[str], T], keys: Iterable[str], *, threads: int, cancel: Cancel) -> dict[str, T]:
    """``call`` for every key, in threads; results by key. Raises the first exception."""
    results: dict[str, T] = {}

    def job(key: str) -> Callable[[], None]:
        def run() -> None:
            results[key] = call(key)

        return run

    run_all((job(key) for key in keys), threads=threads, cancel=cancel)
    return results
