"""The runner of another host: asyncssh, one connection with many channels, made again when it breaks.

A host must be known: either its key is given (``SshTarget.host_key``, as ``host_key_of`` reads it once), or it stands
in the user's known_hosts. What runs there runs through the user's login shell, which must be a POSIX one.

sshd hands on no signals to what root runs, so each program first says its process group on standard error, and what
must end is killed through a channel of its own. What the shell's start-up files say before that is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import msgspec

from skep.base.errors import BodyTooLarge, HostUnavailable, LocalFailure
from skep.base.waiting import to_the_end
from skep.deploy.shell.local import checked, failed, read_bounded, split_lines, timed_out
from skep.deploy.shell.protocol import FILE_MAX_BYTES, ByteReader, ByteWriter
from skep.deploy.shell.records import Command, Result

CHANNELS_MAX = 8
"""At once on one connection: sshd allows ten unless it is told otherwise."""
CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 10.0
"""How often an idle host is asked for a sign of life; three that are not answered end the connection."""
_PIECE_BYTES = 1 << 16

_MARK = b"skep-process "
_NOISE_LINES_MAX = 1000
KILL_TIMEOUT_S = 5.0

_PUT = """set -e
umask 077
mkdir -p -- "$(dirname -- "$1")"
trap 'rm -f -- "$2"' EXIT
cat > "$2"
[ "$(wc -c < "$2")" -eq "$3" ] || { echo "only $(wc -c < "$2") of $3 bytes arrived" >&2; exit 74; }
chmod "$4" -- "$2"
sync -- "$2" 2>/dev/null || sync
mv -f -- "$2" "$1"
"""
_GET = '[ -r "$1" ] || { echo "cannot be read" >&2; exit 66; }; head -c "$2" -- "$1"'


class SshTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host is and how one gets in."""

    address: str
    port: int = 22
    user: str = "root"
    key: Path | None = None
    """A private key file; None: the agent's and the user's own."""
    host_key: str = ""
    """The host's public key, as in ``ssh-ed25519 AAAA…``; empty: known_hosts says."""
    name: str = ""
    """For people; empty: its address."""


async def host_key_of(address: str, port: int = 22) -> str:
    """The public key that a host shows now, to be kept and shown to people. Raises HostUnavailable."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            key = await asyncssh.get_server_host_key(address, port)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise HostUnavailable(f"{address} port {port} shows no SSH host key: {error or 'no answer'}") from None
    if key is None:
        raise HostUnavailable(f"{address} port {port} shows no SSH host key")
    return key.export_public_key().decode().strip()


class SshRunner:
    """Runs commands on a host over SSH."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._channels = asyncio.Semaphore(CHANNELS_MAX)

    @property
    def host(self) -> str:
        return self._target.name or self._target.address

    async def run(self, command: Command, *, check: bool = True) -> Result:
        await self._connected()  # which has a limit of its own
        async with self._channels:
            try:
                async with asyncio.timeout(command.timeout_s), self._running(command) as process:
                    result = await self._finish(process, command)
            except TimeoutError:
                raise timed_out(command, self.host) from None
        return checked(command, result, self.host) if check else result

    async def _finish(self, process: asyncssh.SSHClientProcess[bytes], command: Command) -> Result:
        try:
            (out, cut_out), (err, cut_err), _ = await asyncio.gather(
                read_bounded(process.stdout, command.output_max_bytes),
                read_bounded(process.stderr, command.output_max_bytes),
                _feed(process, command),
            )
            await process.wait_closed()
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from None
        code = _exit_code(process)
        if code is None:
            raise self._lost("the connection closed before the command ended")
        return Result(exit_code=code, stdout=out, stderr=err, truncated=cut_out or cut_err)

    @contextlib.asynccontextmanager
    async def _running(self, command: Command) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        connection = await self._connected()
        process, group = None, 0
        try:
            try:
                line = f'echo "{_MARK.decode()}$$" >&2; {command.line()}'
                process = await connection.create_process(line, encoding=None)
                group = await _group_of(process)
            except (OSError, asyncssh.Error, ValueError) as error:
                raise self._lost(error) from None
            yield process
        finally:
            if process is not None:
                if group and not _has_ended(process):
                    await to_the_end(_kill(connection, group))
                process.close()

    @contextlib.asynccontextmanager
    async def lines(self, command: Command) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._channels, self._running(command) as process:
            fed = asyncio.ensure_future(_feed(process, command))
            complaint = asyncio.ensure_future(read_bounded(process.stderr, _PIECE_BYTES))
            try:
                yield self._lines(command, process, complaint)
            finally:
                fed.cancel()
                complaint.cancel()

    async def _lines(
        self,
        command: Command,
        process: asyncssh.SSHClientProcess[bytes],
        complaint: asyncio.Future[tuple[bytes, bool]],
    ) -> AsyncIterator[bytes]:
        try:
            async for line in split_lines(process.stdout):
                yield line
            await process.wait_closed()
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from None
        code = _exit_code(process)
        if code is None:
            raise self._lost("the connection closed")
        if code:
            raise failed(command, Result(exit_code=code, stderr=(await complaint)[0]), self.host)

    @contextlib.asynccontextmanager
    async def talk(self, command: Command) -> AsyncIterator[tuple[ByteReader, ByteWriter]]:
        async with self._channels, self._running(command) as process:
            complaint = asyncio.ensure_future(_thrown_away(process))
            try:
                yield _Reader(process), _Writer(process)
            finally:
                complaint.cancel()

    async def put(self, content: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        size_bytes = await asyncio.to_thread(_size_bytes, content)
        directory, slash, name = path.rpartition("/")
        temporary = f"{directory}{slash}.{name}.{secrets.token_hex(6)}"
        script = Command.shell(_PUT, path, temporary, str(size_bytes), f"{mode:o}", stdin=content, timeout_s=600.0)
        await self.run(script)

    async def get(self, path: str, *, limit_bytes: int = FILE_MAX_BYTES) -> bytes:
        command = msgspec.structs.replace(
            Command.shell(_GET, path, str(limit_bytes + 1)), output_max_bytes=limit_bytes + 1
        )
        result = await self.run(command, check=False)
        if result.exit_code == 66:
            raise LocalFailure(f"{path} on {self.host} could not be read")
        content = checked(command, result, self.host).stdout
        if len(content) > limit_bytes:
            raise BodyTooLarge(f"{path} on {self.host} has more than {limit_bytes} bytes")
        return content

    async def connect(self, address: str, port: int) -> tuple[ByteReader, ByteWriter]:
        connection = await self._connected()
        try:
            reader, writer = await connection.open_connection(address, port, encoding=None)
        except asyncssh.ChannelOpenError as error:
            raise ConnectionRefusedError(f"{address} port {port} on {self.host}: {error.reason}") from None
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from None
        return reader, writer

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            await connection.wait_closed()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        target = self._target
        options: dict[str, object] = {}
        if target.host_key:
            options["known_hosts"] = asyncssh.import_known_hosts(f"* {target.host_key}\n")
        if target.key is not None:
            options |= {"client_keys": [str(target.key)], "agent_path": None}
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncssh.connect(
                    target.address,
                    target.port,
                    username=target.user,
                    keepalive_interval=KEEPALIVE_S,
                    keepalive_count_max=3,
                    config=None,
                    **options,
                )
        except asyncssh.PermissionDenied:
            raise HostUnavailable(
                f"{self.host} does not let {target.user} in: put HQ's public key into "
                f"~{target.user}/.ssh/authorized_keys there"
            ) from None
        except asyncssh.HostKeyNotVerifiable:
            raise HostUnavailable(
                f"{self.host} shows another host key than the one that is known: somebody may be in between, or it was "
                "installed anew; add it again if so"
            ) from None
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise HostUnavailable(f"{self.host} cannot be reached over SSH: {error or 'no answer'}") from None

    def _lost(self, why: object) -> HostUnavailable:
        return HostUnavailable(f"the connection to {self.host} broke, so it is not known what was done: {why}")


class _Reader:
    """Standard output of a program there: its end is also how a broken connection looks."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process

    async def read(self, n: int = -1) -> bytes:
        try:
            return await self._process.stdout.read(n)
        except (OSError, asyncssh.Error):
            return b""


class _Writer:
    """Standard input of a program there, which tells a broken connection as OSError."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from None

    async def drain(self) -> None:
        try:
            await self._process.stdin.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from None

    def close(self) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            self._process.stdin.write_eof()


async def _thrown_away(process: asyncssh.SSHClientProcess[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        await read_bounded(process.stderr, 0)


async def _feed(process: asyncssh.SSHClientProcess[bytes], command: Command) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, asyncssh.BreakReceived):
        if isinstance(command.stdin, Path):
            with await asyncio.to_thread(command.stdin.open, "rb") as source:
                while piece := await asyncio.to_thread(source.read, _PIECE_BYTES):
                    process.stdin.write(piece)
                    await process.stdin.drain()
        elif command.stdin:
            process.stdin.write(command.stdin)
            await process.stdin.drain()
        process.stdin.write_eof()


def _size_bytes(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _exit_code(process: asyncssh.SSHClientProcess[bytes]) -> int | None:
    """The exit code as a shell tells it; None when the host did not say."""
    if process.exit_signal is not None:
        number = signal.Signals[f"SIG{process.exit_signal[0]}"].value
        return 128 + int(number)
    return process.exit_status


def _has_ended(process: asyncssh.SSHClientProcess[bytes]) -> bool:
    return process.exit_status is not None or process.exit_signal is not None


async def _group_of(process: asyncssh.SSHClientProcess[bytes]) -> int:
    """The process group of what was just started. Raises ValueError when it does not say."""
    for _ in range(_NOISE_LINES_MAX):
        line = await process.stderr.readline()
        if line.startswith(_MARK):
            return int(line.removeprefix(_MARK))
        if not line:
            break
    raise ValueError("the login shell there is no POSIX shell, or lets nobody run commands")


async def _kill(connection: asyncssh.SSHClientConnection, group: int) -> None:
    with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
        async with asyncio.timeout(KILL_TIMEOUT_S):
            await connection.run(f"kill -KILL -- -{group}", check=False)
