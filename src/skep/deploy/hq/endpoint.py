"""The SSH port: git for those whose key HQ knows, and the orders of ``skep``. No shell, no forwarding, no passwords.

Who somebody is, their key says; the user name of the connection says nothing (``skep@`` by custom). What they may do is
looked up for each command anew, so that taking a right away holds at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import asyncssh
import msgspec

from skep.base.errors import LimitReached, SkepError
from skep.base.logs import get_logger
from skep.deploy.hq.people import People, Person, check_role
from skep.deploy.hq.repositories import Repositories, git_env
from skep.deploy.hq.settings import SshSettings
from skep.deploy.shell.protocol import ByteReader, ByteWriter

log = get_logger("skep.hq")
CONTROL = "skep-control"
KEEPALIVE_S = 30
KEEPALIVES_MISSED = 4
SESSIONS_MAX = 10
_PIECE_BYTES = 1 << 16
_GIT = {"git-receive-pack": "receive-pack", "git-upload-pack": "upload-pack"}

Control = Callable[[Person, ByteReader, ByteWriter], Awaitable[int]]
"""Serves the orders of one session and gives its exit code."""


class Push(msgspec.Struct, frozen=True):
    """A ``git push`` that is under way. ``token`` is known to its hook alone."""

    token: str
    person: Person
    stack: str


class PushDesk(Protocol):
    """What is told of pushes; ``Pushes`` is it."""

    def opened(self, push: Push) -> None:
        """git begins to receive."""
        ...

    async def closed(self, push: Push) -> None:
        """git has ended, however it did."""
        ...


class Endpoint:
    """The listening port and the connections that came through it."""

    def __init__(
        self,
        *,
        people: People,
        repositories: Repositories,
        desk: PushDesk,
        control: Control,
        settings: SshSettings,
        push_timeout_s: float,
        socket_path: Path,
    ) -> None:
        self.people = people
        self.settings = settings
        self._repositories = repositories
        self._desk = desk
        self._control = control
        self._push_timeout_s = push_timeout_s
        self._socket_path = socket_path
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: dict[_Connection, str] = {}
        self._addresses: Counter[str] = Counter()
        self._sessions: Counter[object] = Counter()

    async def listen(self, host_key: Path) -> int:
        """Begin to take connections; the port. Raises OSError where it cannot listen."""
        self._acceptor = await asyncssh.create_server(
            lambda: _Connection(self),
            self.settings.listen,
            self.settings.port,
            server_host_keys=[str(host_key)],
            server_version="Skep",
            login_timeout=self.settings.login_timeout_s,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES_MISSED,
            process_factory=self._serve,
            encoding=None,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_pty=False,
            line_editor=False,
            gss_host=None,
            compression_algs=None,
        )
        return int(self._acceptor.get_port())

    async def close(self) -> None:
        """Take no more connections and cut those that are there."""
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        for connection in tuple(self._connections):
            connection.cut()

    def admit(self, connection: _Connection, address: str) -> bool:
        """Count a connection, if there is room for it."""
        limits = self.settings
        if len(self._connections) >= limits.connections_max or self._addresses[address] >= limits.connections_each_max:
            log.warning("too many connections", client=address, connections=len(self._connections))
            return False
        self._connections[connection] = address
        self._addresses[address] += 1
        return True

    def leave(self, connection: _Connection) -> None:
        """Count it no more."""
        address = self._connections.pop(connection, None)
        if address is not None:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    # --- One session --------------------------------------------------------------------------

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        code, connection = 1, process.channel.get_connection()
        self._sessions[connection] += 1
        try:
            if self._sessions[connection] > SESSIONS_MAX:
                raise LimitReached(f"one connection has at most {SESSIONS_MAX} sessions at once")
            person = await self._person(process)
            code = await self._command(process, person)
        except SkepError as error:
            process.stderr.write(f"skep: {error.message}\n".encode())
        except (OSError, asyncssh.Error):
            pass  # they went away
        except Exception:
            log.exception("a session failed")
            process.stderr.write(b"skep: HQ failed at this; its log says why\n")
        finally:
            self._sessions[connection] -= 1
            if not self._sessions[connection]:
                del self._sessions[connection]
            with contextlib.suppress(OSError, asyncssh.Error):
                process.exit(code)

    async def _person(self, process: asyncssh.SSHServerProcess[bytes]) -> Person:
        key = process.get_extra_info("skep_key")
        person = await self.people.by_key(key) if isinstance(key, str) else None
        if person is None:
            raise SkepError("HQ does not know this key any more")
        return person

    async def _command(self, process: asyncssh.SSHServerProcess[bytes], person: Person) -> int:
        try:
            words = shlex.split(process.command or "")
        except ValueError:
            words = []
        if words == [CONTROL]:
            return await self._control(person, process.stdin, process.stdout)
        if len(words) == 2 and words[0] in _GIT:
            return await self._git(process, person, _GIT[words[0]], _stack_of(words[1]))
        process.stderr.write(
            f"Hello {person.name}: HQ knows you. It gives no shell: it takes `git push` to ssh://HOST:PORT/STACK "
            "and the commands of `skep --hq`.\n".encode()
        )
        return 1

    async def _git(self, process: asyncssh.SSHServerProcess[bytes], person: Person, verb: str, stack: str) -> int:
        path = self._repositories.path(stack)
        if verb == "upload-pack":
            check_role(person, "read", stack)
            if not self._repositories.exists(stack):
                process.stderr.write(f"skep: nothing was pushed to {stack} yet\n".encode())
                return 1
            return await self._run_git(process, verb, path, {})
        check_role(person, "deploy", stack)
        await self._repositories.make(stack)
        push = Push(secrets.token_hex(32), person, stack)
        self._desk.opened(push)
        try:
            hooked = {"SKEP_HQ_PUSH": push.token, "SKEP_HQ_SOCKET": str(self._socket_path)}
            return await self._run_git(process, verb, path, hooked)
        finally:
            await asyncio.shield(self._desk.closed(push))

    async def _run_git(
        self, process: asyncssh.SSHServerProcess[bytes], verb: str, path: Path, env: dict[str, str]
    ) -> int:
        """Run git between the two ends of a session, for so long at most; nothing of it is left after."""
        git = await asyncio.create_subprocess_exec(
            "git", *self._repositories.options(), verb, str(path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), **git_env(path.parent), **env},
            start_new_session=True,
        )  # fmt: skip
        assert git.stdin is not None
        assert git.stdout is not None
        assert git.stderr is not None
        feeding = asyncio.ensure_future(_pump(process.stdin, git.stdin, end=True))
        try:
            async with asyncio.timeout(self._push_timeout_s):
                gone = asyncio.ensure_future(process.wait_closed())
                told = asyncio.ensure_future(
                    asyncio.gather(_pump(git.stdout, process.stdout), _pump(git.stderr, process.stderr), git.wait())
                )
                await asyncio.wait((gone, told), return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                if not told.done():
                    told.cancel()
                    return 1
                return int((await told)[2])
        except TimeoutError:
            process.stderr.write(f"skep: this took longer than {self._push_timeout_s:g} s\n".encode())
            return 1
        finally:
            feeding.cancel()
            if git.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(git.pid, signal.SIGTERM)
                await git.wait()


class _Connection(asyncssh.SSHServer):
    """One connection: whose key it showed."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ssh: asyncssh.SSHServerConnection | None = None
        self._key = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ssh = conn
        self._address = str((conn.get_extra_info("peername") or ("",))[0])
        if not self._endpoint.admit(self, self._address):
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.leave(self)

    def cut(self) -> None:
        """End it now."""
        if self._ssh is not None:
            self._ssh.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether somebody has this key. Its signature is checked after this; another key asks again."""
        text = " ".join(key.export_public_key().decode().split()[:2])
        try:
            found = await self._endpoint.people.by_key(text)
        except SkepError as error:
            log.warning("cannot look a key up", code=error.code)
            return False
        self._key = text if found is not None else ""
        return found is not None

    def auth_completed(self) -> None:
        assert self._ssh is not None
        self._ssh.set_extra_info(skep_key=self._key)


def _stack_of(path: str) -> str:
    return path.strip("/").removesuffix(".git")


async def _pump(source: ByteReader, target: ByteWriter, *, end: bool = False) -> None:
    """Copy to the end, never faster than the other side takes it."""
    try:
        while piece := await source.read(_PIECE_BYTES):
            target.write(piece)
            await target.drain()
    except (OSError, asyncssh.Error):
        pass  # one side is gone: the other is told by its own end
    finally:
        if end:
            with contextlib.suppress(OSError, asyncssh.Error):
                target.close()
