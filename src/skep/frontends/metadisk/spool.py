"""An upload that waits until it is whole: its key is known only after its last byte.

Small ones wait in memory, larger ones in a file without a name, which is gone with the process, encrypted with a
key that only this object has.
"""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO

from skep.base.chance import random_bytes
from skep.base.errors import BodyTooLarge, StoreFull
from skep.crypto.convergent import KEY_BYTES, Keystream

PART_BYTES = 1 << 20
"""What is held in memory: one part at a time."""


class Spool:
    """Takes a content of at most ``limit_bytes`` and gives it again. One use: enter it, ``take``, ``read``."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._key = random_bytes(KEY_BYTES)
        self._stream = Keystream(self._key)
        self._sha256 = sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._file: IO[bytes] | None = None
        self.size_bytes = 0

    async def __aenter__(self) -> Spool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of what was taken."""
        return self._sha256.digest()

    async def take(self, part: bytes) -> None:
        """Take the next bytes. Raises BodyTooLarge, StoreFull (this machine's disk)."""
        self.size_bytes += len(part)
        if self.size_bytes > self._limit_bytes:
            raise BodyTooLarge(
                f"The file is over the {self._limit_bytes} bytes that are taken.", limit_bytes=self._limit_bytes
            )
        self._waiting.append(bytes(part))
        self._waiting_bytes += len(part)
        if self._waiting_bytes >= PART_BYTES:
            await self._flush(to_file=True)

    async def whole(self) -> None:
        """There is no more to come."""
        await self._flush(to_file=self._file is not None)

    async def _flush(self, *, to_file: bool) -> None:
        parts = self._waiting
        if to_file:
            self._waiting, self._waiting_bytes = [], 0
        await asyncio.to_thread(self._work, parts, to_file)

    def _work(self, parts: Iterable[bytes], to_file: bool) -> None:
        for part in parts:
            self._sha256.update(part)
        if not to_file:
            return
        try:
            if self._file is None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 -- closed with the spool
            for part in parts:
                self._file.write(self._stream.apply(part))
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull("this machine's disk has no room for the upload: try later") from None
            raise

    async def read(self) -> AsyncIterator[bytes]:
        """The content, once more from its start; after ``whole``."""
        if self._file is None:
            for part in self._waiting:
                yield part
            return
        stream, position = Keystream(self._key), 0
        while position < self.size_bytes:
            part = await asyncio.to_thread(self._part, stream, position)
            position += len(part)
            yield part

    def _part(self, stream: Keystream, position: int) -> bytes:
        assert self._file is not None
        self._file.seek(position)
        part = self._file.read(PART_BYTES)
        assert part, "the spool has all that was taken"
        return stream.apply(part)
