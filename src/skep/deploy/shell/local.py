"""The runner of this machine: subprocesses in a session of their own, and files by rename."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from skep.base.errors import BodyTooLarge, CommandFailed, LocalFailure, TimedOut
from skep.base.waiting import to_the_end
from skep.deploy.shell.protocol import FILE_MAX_BYTES, ByteReader, ByteWriter
from skep.deploy.shell.records import Command, Result

LINE_MAX_BYTES = 1 << 20
NOT_FOUND = 127
_PIECE_BYTES = 1 << 16


class LocalRunner:
    """Runs commands here, with ``prefix`` in front of each (``nsenter --net=…`` for a host that is a namespace)."""

    def __init__(self, host: str = "localhost", prefix: tuple[str, ...] = ()) -> None:
        self._host = host
        self._prefix = prefix

    @property
    def host(self) -> str:
        return self._host

    async def run(self, command: Command, *, check: bool = True) -> Result:
        try:
            async with asyncio.timeout(command.timeout_s):
                result = await self._run(command)
        except TimeoutError:
            raise timed_out(command, self._host) from None
        return checked(command, result, self._host) if check else result

    async def _run(self, command: Command) -> Result:
        with _input_of(command) as source:
            process = await self._start(command, source)
            if process is None:
                return Result(exit_code=NOT_FOUND, stderr=f"{command.argv[0]}: not found".encode())
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                limit = command.output_max_bytes
                (out, cut_out), (err, cut_err), _ = await asyncio.gather(
                    read_bounded(process.stdout, limit), read_bounded(process.stderr, limit), _feed(process, command)
                )
                code = await process.wait()
            except BaseException:
                await _kill(process)
                raise
        return Result(exit_code=exit_code_of(code), stdout=out, stderr=err, truncated=cut_out or cut_err)

    async def _start(self, command: Command, source: IO[bytes] | None) -> asyncio.subprocess.Process | None:
        """The process; None when there is no such program."""
        try:
            return await asyncio.create_subprocess_exec(
                *self._prefix,
                *command.argv,
                stdin=source if source is not None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **command.env},
                cwd=command.cwd or None,
                start_new_session=True,
            )
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if command.cwd and not os.path.isdir(command.cwd):  # noqa: ASYNC240
                raise LocalFailure(f"{command.cwd} is no directory on {self._host}") from None
            if isinstance(error, PermissionError):
                raise CommandFailed(f"{command.argv[0]} on {self._host} may not be run", exit_code=126) from None
            return None

    @contextlib.asynccontextmanager
    async def lines(self, command: Command) -> AsyncIterator[AsyncIterator[bytes]]:
        with _input_of(command) as source:
            process = await self._start(command, source)
        if process is None:
            raise failed(command, Result(exit_code=NOT_FOUND, stderr=b"not found"), self._host)
        assert process.stderr is not None
        fed = asyncio.ensure_future(_feed(process, command))
        complaint = asyncio.ensure_future(read_bounded(process.stderr, _PIECE_BYTES))
        try:
            yield self._lines(command, process, complaint)
        finally:
            await _kill(process)
            fed.cancel()
            complaint.cancel()

    async def _lines(
        self, command: Command, process: asyncio.subprocess.Process, complaint: asyncio.Future[tuple[bytes, bool]]
    ) -> AsyncIterator[bytes]:
        assert process.stdout is not None
        async for line in split_lines(process.stdout):
            yield line
        code = exit_code_of(await process.wait())
        if code:
            raise failed(command, Result(exit_code=code, stderr=(await complaint)[0]), self._host)

    @contextlib.asynccontextmanager
    async def talk(self, command: Command) -> AsyncIterator[tuple[ByteReader, ByteWriter]]:
        process = await self._start(command, None)
        if process is None:
            raise failed(command, Result(exit_code=NOT_FOUND, stderr=b"not found"), self._host)
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        complaint = asyncio.ensure_future(read_bounded(process.stderr, 0))
        try:
            yield process.stdout, process.stdin
        finally:
            await to_the_end(_kill(process))
            process.stdin.close()
            complaint.cancel()

    async def put(self, content: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        await asyncio.to_thread(_put, content, Path(path), mode)

    async def get(self, path: str, *, limit_bytes: int = FILE_MAX_BYTES) -> bytes:
        return await asyncio.to_thread(_get, Path(path), limit_bytes)

    async def connect(self, address: str, port: int) -> tuple[ByteReader, ByteWriter]:
        return await asyncio.open_connection(address, port)

    async def close(self) -> None:
        """Nothing is held open."""


def _input_of(command: Command) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    return command.stdin.open("rb") if isinstance(command.stdin, Path) else contextlib.nullcontext()


async def _feed(process: asyncio.subprocess.Process, command: Command) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is given
        if isinstance(command.stdin, bytes) and command.stdin:
            process.stdin.write(command.stdin)
            await process.stdin.drain()
    process.stdin.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process's group, which it leads, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


async def read_bounded(reader: ByteReader, limit_bytes: int) -> tuple[bytes, bool]:
    """All of a stream up to a limit, and whether there was more, which is read and thrown away."""
    kept, cut = bytearray(), False
    while piece := await reader.read(_PIECE_BYTES):
        room = limit_bytes - len(kept)
        kept += piece[:room]
        cut = cut or len(piece) > room
    return bytes(kept), cut


async def split_lines(reader: ByteReader) -> AsyncIterator[bytes]:
    """The lines of a stream without their ends; one longer than LINE_MAX_BYTES comes in pieces."""
    rest = b""
    while piece := await reader.read(_PIECE_BYTES):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) >= LINE_MAX_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def exit_code_of(returncode: int) -> int:
    """A subprocess's return code as a shell tells it: 128 + n for a signal."""
    return 128 - returncode if returncode < 0 else returncode


def checked(command: Command, result: Result, host: str) -> Result:
    """The result. Raises CommandFailed when it is not 0."""
    if not result.ok:
        raise failed(command, result, host)
    return result


def failed(command: Command, result: Result, host: str) -> CommandFailed:
    """What to say of a command that failed."""
    return CommandFailed(
        f"`{command.shown()}` on {host} ended with {result.exit_code}: {result.complaint()}", exit_code=result.exit_code
    )


def timed_out(command: Command, host: str) -> TimedOut:
    """What to say of a command that took too long."""
    return TimedOut(f"`{command.shown()}` on {host} took longer than {command.timeout_s:g} s and was killed")


def _put(content: bytes | Path, path: Path, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, _PIECE_BYTES)
            else:
                file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise CommandFailed(f"{path} could not be written: {error.strerror}", exit_code=1) from None


def _get(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise LocalFailure(f"{path} could not be read: {error.strerror}") from None
    if len(content) > limit_bytes:
        raise BodyTooLarge(f"{path} has more than {limit_bytes} bytes")
    return content
