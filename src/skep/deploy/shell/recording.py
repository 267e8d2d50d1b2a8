"""A runner that writes down what it is told: for plans that are only shown, and for tests that compare commands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from skep.base.errors import BodyTooLarge, LocalFailure
from skep.deploy.shell.local import NOT_FOUND, checked, failed
from skep.deploy.shell.protocol import FILE_MAX_BYTES, ByteReader, ByteWriter, Runner
from skep.deploy.shell.records import Command, Result


class RecordingRunner:
    """Keeps every command and file; answers by ``answer``, or passes on to ``inner`` where there is one."""

    def __init__(
        self,
        host: str = "recorded",
        *,
        answer: Callable[[Command], Result] = lambda command: Result(exit_code=0),
        inner: Runner | None = None,
    ) -> None:
        self._host = host if inner is None else inner.host
        self._answer = answer
        self._inner = inner
        self.commands: list[Command] = []
        """In the order of their beginnings."""
        self.files: dict[str, tuple[bytes, int]] = {}
        """What was put, with its mode; ``get`` reads it from here when there is no ``inner``."""

    @property
    def host(self) -> str:
        return self._host

    async def run(self, command: Command, *, check: bool = True) -> Result:
        self.commands.append(command)
        if self._inner is not None:
            return await self._inner.run(command, check=check)
        result = self._answer(command)
        return checked(command, result, self._host) if check else result

    @contextlib.asynccontextmanager
    async def lines(self, command: Command) -> AsyncIterator[AsyncIterator[bytes]]:
        self.commands.append(command)
        if self._inner is not None:
            async with self._inner.lines(command) as lines:
                yield lines
            return
        yield self._lines(command)

    async def _lines(self, command: Command) -> AsyncIterator[bytes]:
        result = self._answer(command)
        for line in result.stdout.splitlines():
            yield line
        checked(command, result, self._host)

    @contextlib.asynccontextmanager
    async def talk(self, command: Command) -> AsyncIterator[tuple[ByteReader, ByteWriter]]:
        """Passed on to ``inner``; without one it is as if the program could not be started."""
        self.commands.append(command)
        if self._inner is None:
            raise failed(command, Result(exit_code=NOT_FOUND, stderr=b"this is a recording"), self._host)
        async with self._inner.talk(command) as streams:
            yield streams

    async def put(self, content: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        self.files[path] = (content.read_bytes() if isinstance(content, Path) else content, mode)  # noqa: ASYNC240
        if self._inner is not None:
            await self._inner.put(content, path, mode=mode)

    async def get(self, path: str, *, limit_bytes: int = FILE_MAX_BYTES) -> bytes:
        if self._inner is not None:
            return await self._inner.get(path, limit_bytes=limit_bytes)
        if path not in self.files:
            raise LocalFailure(f"{path} on {self._host} could not be read")
        content = self.files[path][0]
        if len(content) > limit_bytes:
            raise BodyTooLarge(f"{path} on {self._host} has more than {limit_bytes} bytes")
        return content

    async def connect(self, address: str, port: int) -> tuple[ByteReader, ByteWriter]:
        if self._inner is None:
            raise ConnectionRefusedError(f"{address} port {port}: this runner only records")
        return await self._inner.connect(address, port)

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()
