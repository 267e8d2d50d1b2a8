"""Password hashes: argon2id (RFC 9106) with 19 MiB, two passes, one lane, in a few threads.

One hash costs about 26 ms of a core and 19 MiB. So a fixed number of threads does them, and a
fixed number of callers may wait; the next caller gets RateLimited at once, with the time to come
back in. The event loop never computes a hash.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from skep.base.errors import RateLimited, ShuttingDown

T = TypeVar("T")

LANES = 1
_EXPECTED_S = 0.05


class Hasher:
    """Makes and checks password hashes; at most ``threads`` at once and ``queue`` waiting."""

    def __init__(self, *, threads: int, queue: int, memory_bytes: int = 19 * 2**20, passes: int = 2) -> None:
        memory_kib = max(memory_bytes // 1024, 8)
        self._argon = PasswordHasher(passes, memory_kib, LANES, hash_len=32, salt_len=16, type=Type.ID)
        self._threads = threads
        self._limit = threads + queue
        self._busy = 0
        self._closed = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        # What is checked for a user who is not there: nobody's password, at the same cost.
        self._dummy = self._argon.hash("nobody's password")

    @property
    def busy(self) -> int:
        """Hashes that run or wait now."""
        return self._busy

    async def hash(self, password: str) -> str:
        """The argon2id string of a password. Raises RateLimited when too many wait."""
        return await self._run(lambda: self._argon.hash(_encoded(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the stored string.

        Without a stored string the same work is done and the answer is no. Raises RateLimited.
        """
        return await self._run(lambda: self._verify(stored or self._dummy, password) and stored is not None)

    def is_outdated(self, stored: str) -> bool:
        """Whether the string was made with other parameters than today's."""
        return self._argon.check_needs_rehash(stored)

    def close(self) -> None:
        """Take no more work: what waits gets ShuttingDown, what runs is finished in its thread."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._argon.verify(stored, _encoded(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        self._enter()
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._release()
            raise _stopping() from None
        future.add_done_callback(self._release)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                raise _stopping() from None
            raise

    def _enter(self) -> None:
        with self._lock:
            if self._busy >= self._limit:
                wait_s = max(1, math.ceil(self._busy * _EXPECTED_S / self._threads))
                raise RateLimited(
                    f"too many logins at once: try again in {wait_s} s", retry_after_s=wait_s, reason="overload"
                )
            self._busy += 1

    def _release(self, _future: Future[T] | None = None) -> None:
        with self._lock:
            self._busy -= 1


def _stopping() -> ShuttingDown:
    return ShuttingDown("the hive is stopping: try again")


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
