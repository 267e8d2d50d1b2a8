"""A container daemon's socket on another host as a socket here, over SSH with HQ's key."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import asyncssh

from skep.base.errors import EngineUnavailable
from skep.deploy.shell.protocol import ByteReader, ByteWriter
from skep.deploy.shell.ssh import CONNECT_TIMEOUT_S, KEEPALIVE_S, SshTarget

SOCKET = "/var/run/docker.sock"
CONNECTIONS_MAX = 64
_PIECE_BYTES = 1 << 16


class Tunnel:
    """Listens on a socket of this machine and leads each connection to the daemon's on a host."""

    def __init__(self, target: SshTarget, *, socket: str = SOCKET) -> None:
        """``socket``: where the daemon listens there."""
        self._target = target
        self._socket = socket
        self._folder = tempfile.TemporaryDirectory(prefix="skep-")
        self._path = Path(self._folder.name) / "docker.sock"
        self._server: asyncio.Server | None = None
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)

    @property
    def url(self) -> str:
        """What a client of the daemon is told."""
        return f"unix://{self._path}"

    async def open(self) -> None:
        """Begin to listen; the host is asked when somebody comes."""
        self._server = await asyncio.start_unix_server(self._lead, self._path)

    async def close(self) -> None:
        """Listen no more, and end the connection to the host."""
        if self._server is not None:
            self._server.close()
        if self._ssh is not None:
            self._ssh.close()
        self._folder.cleanup()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._places:
                ssh = await self._connected()
                there, back = await ssh.open_unix_connection(self._socket, encoding=None)
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
                back.close()
        except (OSError, asyncssh.Error, EngineUnavailable):
            pass  # the client sees its connection end
        finally:
            writer.close()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._ssh is None or self._ssh.is_closed():
                target = self._target
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        self._ssh = await asyncssh.connect(
                            target.address,
                            target.port,
                            username=target.user,
                            client_keys=[str(target.key)],
                            agent_path=None,
                            known_hosts=asyncssh.import_known_hosts(f"* {target.host_key}\n"),
                            keepalive_interval=KEEPALIVE_S,
                        )
                except TimeoutError:
                    raise EngineUnavailable(f"{target.name} does not answer") from None
            return self._ssh


async def _pump(source: ByteReader, target: ByteWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(_PIECE_BYTES):
            target.write(piece)
            await target.drain()
    end = getattr(target, "write_eof", None)
    if end is not None:
        with contextlib.suppress(OSError, asyncssh.Error):
            end()
