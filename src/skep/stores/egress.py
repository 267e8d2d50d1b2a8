"""The way out for stores that users named: a proxy in this process that connects to public addresses alone.

A user's endpoint must not reach what the hive's machine can reach and the user cannot: loopback, the private network,
a cloud's metadata service. Looking at the URL does not settle that, since names resolve to anything, to something else
a second later, and servers redirect. So every connection of such a store goes through here (``CONNECT``, RFC 9110
section 9.3.6): the name is resolved here, all of its addresses must be public, and what was looked at is what is
connected to.
TLS goes through unopened, from the driver's library to the store.

What always holds: nothing is connected to that ``is_public`` refuses; only who has the URL with its password is served;
connections, their heads, names' resolution and connecting have limits.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from skep.base.errors import Forbidden, StoreUnavailable
from skep.base.logs import get_logger

CONNECTIONS_MAX = 512
HEAD_MAX_BYTES = 8 << 10
HEAD_S = 10.0
RESOLVE_S = 10.0
CONNECT_S = 10.0
ADDRESSES_MAX = 4
"""Addresses of one name that are tried."""
IDLE_S = 600.0
_COPY_BYTES = 256 << 10
_log = get_logger("skep.egress")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises OSError."""


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet, whatever notation of an IPv4 address it hides."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None and not is_public(str(inner)):
            return False
        if address in _SITE_LOCAL:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def resolve(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def public_addresses(host: str, port: int, look_up: Resolve = resolve) -> Sequence[str]:
    """The addresses of a host, all of them public.

    Raises Forbidden when one is not, StoreUnavailable when the name does not resolve.
    """
    name = host.strip("[]")
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await look_up(name, port)
    except (OSError, UnicodeError, TimeoutError):
        raise StoreUnavailable(f"the host {name[:255]!r} cannot be found: is its name right?") from None
    if not found:
        raise StoreUnavailable(f"the host {name[:255]!r} has no address")
    if not all(map(is_public, found)):
        raise Forbidden(
            f"the host {name[:255]!r} is not on the public internet: users' stores must be, unless an administrator "
            "sets ownership.private_networks"
        )
    return found


class Egress:
    """The proxy. Starts with the first store that asks for its URL; used from one event loop."""

    def __init__(self, look_up: Resolve = resolve, *, off: bool = False) -> None:
        """``off``: stores connect as they like."""
        self._off = off
        self._look_up = look_up
        self._password = secrets.token_urlsafe(24)
        self._wanted = b"Basic " + base64.b64encode(f"skep:{self._password}".encode())
        self._socket: socket.socket | None = None
        self._starting: asyncio.Task[asyncio.Server] | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Connections that were refused for their address."""

    def url(self) -> str | None:
        """Where to connect through, with a password: never to be logged. None: anywhere."""
        if self._off:
            return None
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            starting = asyncio.start_server(self._accept, sock=self._socket, limit=HEAD_MAX_BYTES)
            self._starting = asyncio.get_running_loop().create_task(starting)
        return f"http://skep:{self._password}@127.0.0.1:{self._socket.getsockname()[1]}"

    async def close(self) -> None:
        """End the connections and stop listening."""
        if self._starting is not None:
            server = await self._starting
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # one of the two ends is gone: so is the connection
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        refusal, target = self._read(head)
        if target is None:
            await _answer(writer, refusal)
            return
        try:
            addresses = await public_addresses(*target, self._look_up)
        except (Forbidden, StoreUnavailable) as error:
            self.refused += isinstance(error, Forbidden)
            _log.warning("a user's store is not on the public internet", code=error.code, host=target[0][:255])
            await _answer(writer, "403 Forbidden" if isinstance(error, Forbidden) else "502 Bad Gateway")
            return
        far = await _connect(addresses, target[1])
        if far is None:
            await _answer(writer, "502 Bad Gateway")
            return
        await _answer(writer, "200 Connected")
        await _join((reader, writer), far)

    def _read(self, head: bytes) -> tuple[str, tuple[str, int] | None]:
        """The host and port that a request names, or the status of its refusal."""
        line, *fields = head.split(b"\r\n")
        given = next(
            (f.partition(b":")[2].strip() for f in fields if f.lower().startswith(b"proxy-authorization:")), b""
        )
        if not hmac.compare_digest(given, self._wanted):
            return "407 Proxy Authentication Required", None
        words = line.decode("latin-1").split(" ")
        if len(words) != 3 or words[0] != "CONNECT":
            return "405 Method Not Allowed", None
        host, colon, port = words[1].rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            return "400 Bad Request", None
        if int(port) != 443 and int(port) < 1024:  # mail servers and the like are no stores
            return "403 Forbidden", None
        return "", (host, int(port))


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    challenge = 'Proxy-Authenticate: Basic realm="skep"\r\n' if status.startswith("407") else ""
    length = "" if status.startswith("200") else "Content-Length: 0\r\nConnection: close\r\n"
    writer.write(f"HTTP/1.1 {status}\r\n{challenge}{length}\r\n".encode())
    await writer.drain()


async def _connect(addresses: Sequence[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """A connection to the first of these very addresses that answers."""
    for address in addresses[:ADDRESSES_MAX]:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(address, port)
    return None


async def _join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Carry bytes both ways until both ends are done, or one breaks."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(near[0], far[1]))
            group.create_task(_copy(far[0], near[1]))
    except* (OSError, TimeoutError):
        pass
    finally:
        far[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(IDLE_S):
            piece = await reader.read(_COPY_BYTES)
        if not piece:
            break
        writer.write(piece)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
