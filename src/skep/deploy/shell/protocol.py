"""The Runner protocol: what runs commands on one host and puts files there. The docstrings are the contract.

Every call may raise HostUnavailable: the host cannot be reached, refuses the key, or the connection broke, and then it
is not known whether the command ran. Nobody here retries. A cancelled ``run`` kills the program on this machine at
once, on another as soon as its connection can be told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from skep.deploy.shell.records import Command, Result

FILE_MAX_BYTES = 16 << 20


class ByteReader(Protocol):
    """What asyncio's and asyncssh's readers have in common."""

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes, at least one; none at the end."""
        ...


class ByteWriter(Protocol):
    """What asyncio's and asyncssh's writers have in common."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    async def drain(self) -> None:
        """Wait until there is room for more."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Runner(Protocol):
    """One host where commands run. Safe for concurrent calls from one event loop."""

    @property
    def host(self) -> str:
        """Its name, for people."""
        ...

    async def run(self, command: Command, *, check: bool = True) -> Result:
        """Run a command to its end.

        Raises CommandFailed when ``check`` and it ends with another code than 0 (127: no such program), TimedOut when
        it takes longer than it may; then it was killed with its process group.
        """
        ...

    def lines(self, command: Command) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Run a command for as long as the context is open, and give the lines of its standard output as they come.

        A line has no line end; one of more than 1 MiB is cut there. ``timeout_s`` does not apply. Leaving the context
        ends the program; an end by itself with another code than 0 raises CommandFailed from the iteration.
        """
        ...

    def talk(self, command: Command) -> AbstractAsyncContextManager[tuple[ByteReader, ByteWriter]]:
        """Run a command for as long as the context is open, with its standard output and input as streams.

        Reading gives nothing when the program has ended or the connection broke; writing may then raise OSError.
        Closing the writer ends the program's input. Its standard error is thrown away; ``stdin`` and ``timeout_s`` do
        not apply. Leaving the context kills the program. Raises CommandFailed on entry when it cannot be started here;
        elsewhere such a program is one that ends at once.
        """
        ...

    async def put(self, content: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        """Write a file on the host, durably and atomically: a reader sees the old or the whole new one.

        ``content`` may be a file of this machine, which is streamed. Its directory is made when it is not there.
        Raises CommandFailed (no room, no right).
        """
        ...

    async def get(self, path: str, *, limit_bytes: int = FILE_MAX_BYTES) -> bytes:
        """Read a file of the host. Raises LocalFailure when it is not there, BodyTooLarge over the limit."""
        ...

    async def connect(self, address: str, port: int) -> tuple[ByteReader, ByteWriter]:
        """Open a TCP connection as from the host itself. Raises OSError when nobody listens there."""
        ...

    async def close(self) -> None:
        """Close the connection. Programs in the background of the host go on."""
        ...
