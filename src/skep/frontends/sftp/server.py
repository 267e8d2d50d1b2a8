"""Listening for SSH connections that want SFTP, and nothing else: no shell, no commands, no forwarding.

Who may in: a name with one of the user's SSH keys (``skep ssh-key add``), an app password, or the login password.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import asyncssh
from asyncssh import SFTPBadMessage
from asyncssh.packet import SSHPacket
from asyncssh.sftp import MAX_SFTP_PACKET_LEN, SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from skep.auth import Principal
from skep.auth.ssh_keys import fingerprint_of
from skep.base.clock import Clock
from skep.base.errors import SkepError, Unauthenticated
from skep.base.logs import get_logger
from skep.frontends.sftp.files import HiveFiles
from skep.frontends.sftp.records import SftpGround, SftpLimits, WhoIs

log = get_logger("skep.sftp")
KEEPALIVE_S = 60
KEEPALIVES_MISSED = 3


class SftpDoor:
    """The listening socket and the connections that came through it."""

    def __init__(self, ground: SftpGround, clock: Clock, limits: SftpLimits | None = None) -> None:
        self._ground = ground
        self._clock = clock
        self._limits = limits or SftpLimits()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[_Connection] = set()
        self._addresses: Counter[str] = Counter()

    async def listen(self, host: str, port: int, host_key: asyncssh.SSHKey) -> int:
        """Begin to take connections; the port. Raises OSError where it cannot listen."""
        self._acceptor = await asyncssh.create_server(
            lambda: _Connection(self),
            host,
            port,
            server_host_keys=[host_key],
            server_version="Skep",
            login_timeout=self._limits.sign_in_s,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES_MISSED,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_pty=False,
            line_editor=False,
            gss_host=None,
            compression_algs=None,
        )
        return int(self._acceptor.get_port())

    async def close(self) -> None:
        """Take no more connections and end those that are there: files not closed yet stay as they were."""
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        for connection in tuple(self._connections):
            await connection.end()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    @property
    def sessions_max(self) -> int:
        """How many sessions one connection may have."""
        return self._limits.sessions

    def admit(self, connection: _Connection, address: str) -> bool:
        """Count a connection, if there is room for it."""
        limits = self._limits
        if len(self._connections) >= limits.connections or self._addresses[address] >= limits.connections_each:
            log.warning("too many SFTP connections", client=address, connections=len(self._connections))
            return False
        self._connections.add(connection)
        self._addresses[address] += 1
        return True

    def leave(self, connection: _Connection, address: str) -> None:
        """Count it no more."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def files(self, channel: Any, who: WhoIs) -> HiveFiles:
        """The files of one session."""
        return HiveFiles(channel, self._ground, self._limits, self._clock, who)

    async def by_password(self, name: str, password: str, address: str) -> Principal:
        """Who signs in so. Raises what ``Auth.authenticate_password`` raises."""
        return await self._ground.auth.authenticate_password(name, password, address)

    async def by_key(self, name: str, fingerprint: bytes) -> Principal:
        """Who signs in so. Raises what ``Auth.authenticate_ssh_key`` raises."""
        return await self._ground.auth.authenticate_ssh_key(name, fingerprint)


class _Connection(asyncssh.SSHServer):
    """One connection: who it is, and its sessions."""

    def __init__(self, door: SftpDoor) -> None:
        self._door = door
        self._address = ""
        self._ssh: asyncssh.SSHServerConnection | None = None
        self._who: WhoIs | None = None
        self._name = ""
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ssh = conn
        self._address = str((conn.get_extra_info("peername") or ("",))[0])
        if not self._door.admit(self, self._address):
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self, self._address)

    async def end(self) -> None:
        """Cut it."""
        if self._ssh is not None:
            self._ssh.abort()
            await self._ssh.wait_closed()

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return False

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        async def who() -> Principal:
            return await self._door.by_password(username, password, self._address)

        return await self._admits(username, who)

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        fingerprint = fingerprint_of(key.public_data)

        async def who() -> Principal:
            return await self._door.by_key(username, fingerprint)

        return await self._admits(username, who)

    async def _admits(self, username: str, who: WhoIs) -> bool:
        """Whether that is somebody now. asyncssh checks a key's signature after this, and asks again for another."""
        try:
            principal = await who()
        except SkepError as error:
            log.info("SFTP sign-in refused", client=self._address, user=username[:64], code=error.code)
            return False
        self._who, self._name = who, username
        return "files:read" in principal.scopes or "files:write" in principal.scopes

    def session_requested(self) -> asyncssh.SSHServerSession[bytes] | bool:
        if self._sessions >= self._door.sessions_max:
            log.warning("too many SFTP sessions of one connection", client=self._address, sessions=self._sessions)
            return False
        self._sessions += 1
        return _Session(self._door, self._principal, self._session_over)

    def _session_over(self) -> None:
        self._sessions -= 1

    async def _principal(self) -> Principal:
        if self._who is None or self._ssh is None or self._ssh.get_extra_info("username") != self._name:
            raise Unauthenticated("sign in first")
        return await self._who()


class _Session(SSHServerStreamSession[bytes]):
    """A session of a connection: the subsystem ``sftp``."""

    def __init__(self, door: SftpDoor, who: WhoIs, over: Callable[[], None]) -> None:
        super().__init__(None)
        self._door = door
        self._who = who
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()
        super().connection_lost(exc)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        assert self._chan is not None
        assert self._conn is not None
        self._chan.set_encoding(None)
        self._encoding = None
        reader, writer = SSHReader[bytes](self, self._chan), SSHWriter[bytes](self, self._chan)
        files = self._door.files(self._chan, self._who)
        self._conn.create_task(_Handler(files, reader, writer).run(), reader.logger)


class _Packet(SSHPacket):
    """A packet whose end is not looked at."""

    def check_end(self) -> None:
        pass


class _Handler(SFTPServerHandler):
    """The packets of a session, one after the other; the library's own, but for its end and its patience.

    The library closes what is open when a connection breaks, as it would for SSH_FXP_CLOSE: here an upload that
    broke off must not become a version. And it answers a client that does not read without limit: here it waits.
    """

    def __init__(self, files: HiveFiles, reader: SSHReader[bytes], writer: SSHWriter[bytes]) -> None:
        super().__init__(files, reader, writer, 3)
        self._files = files

    async def recv_packet(self) -> SSHPacket:
        """The next packet. Bytes behind its fields are let be, as OpenSSH does: rclone 1.60 sends such writes."""
        if self._reader is None:
            raise EOFError
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if length > MAX_SFTP_PACKET_LEN:
            raise SFTPBadMessage(f"a packet has at most {MAX_SFTP_PACKET_LEN} bytes, not {length}")
        return _Packet(await self._reader.readexactly(length))

    async def _process_packet(self, pkttype: int, pktid: int, packet: Any) -> None:
        await super()._process_packet(pkttype, pktid, packet)
        if self._writer is not None:
            await self._writer.drain()

    async def _cleanup(self, exc: Exception | None) -> None:
        cast(Any, self)._file_handles.clear()
        await self._files.abandon()
        await super()._cleanup(exc)
