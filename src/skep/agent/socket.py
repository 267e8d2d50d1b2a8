"""The agent's WebSocket (RFC 6455) to a hive, through the library ``websockets``."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import struct

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, ProxyError
from websockets.protocol import State
from websockets.typing import Subprotocol

import skep
from skep.base.errors import MalformedRequest, StoreUnavailable
from skep.stores.link.frames import FRAME_MAX_BYTES, SUBPROTOCOL
from skep.stores.link.outbox import Outgoing, joined

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without its extension
    from websockets.utils import apply_mask

OPEN_S = 30.0
CLOSE_S = 2.0
MESSAGES_MAX = 8
"""Messages that are read ahead of us."""
WRITE_AHEAD_BYTES = 4 << 20
USER_TIMEOUT_MS = 60_000
LONG_BYTES = 1 << 16
"""From here on a frame's length is written in eight bytes (RFC 6455 section 5.2)."""
_LONG_HEAD = struct.Struct(">BBQ")
_BINARY_FINAL, _MASKED = 0x82, 0x80


class HiveSocket:
    """One connection. ``certificate``: SHA-256 in hex of what TLS showed, empty without TLS."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        tls = connection.transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None
        self.certificate = hashlib.sha256(shown).hexdigest() if shown else ""
        raw = connection.transport.get_extra_info("socket")
        self._local: tuple[int, str] | None = None
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            self._local = (raw.family, raw.getsockname()[0])
            _set_options(raw)

    async def receive(self) -> bytes | None:
        """The next message; None when the hive is gone. Raises MalformedRequest for text."""
        try:
            message = await self._connection.recv(decode=False)
        except ConnectionClosed:
            return None
        if not isinstance(message, bytes):
            raise MalformedRequest("a hive sends binary messages only")
        return message

    async def send(self, message: Outgoing) -> None:
        """Send one message; returns when there is room again. Raises ConnectionResetError.

        A shard's data is framed here and written to the transport: the library would copy it four times on its way.
        """
        try:
            if isinstance(message, tuple) and message[1].nbytes >= LONG_BYTES:
                await self._send_data(*message)
            else:
                await self._connection.send(joined(message))
        except ConnectionClosed as error:
            raise ConnectionResetError("the hive is gone") from error

    async def _send_data(self, header: bytes, payload: memoryview) -> None:
        """One unfragmented masked binary frame (RFC 6455 section 5.2); nobody else writes meanwhile.

        The header of our frame has a multiple of four bytes, so both parts are masked with the same key.
        """
        if self._connection.state is not State.OPEN or self._connection.transport.is_closing():
            raise ConnectionResetError("the hive is gone")
        key = os.urandom(4)
        size_bytes = len(header) + payload.nbytes
        head = _LONG_HEAD.pack(_BINARY_FINAL, _MASKED | 127, size_bytes) + key + apply_mask(header, key)
        self._connection.transport.write(head)
        self._connection.transport.write(apply_mask(payload, key))
        await self._connection.drain()

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    def address_is_gone(self) -> bool:
        """Whether the address that we speak from is this computer's no more: it has roamed to another network."""
        if self._local is None:
            return False
        family, address = self._local
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return True
        return False


async def open_socket(url: str) -> HiveSocket:
    """Dial a hive. Raises StoreUnavailable when it does not answer, or not as one that takes agents."""
    address = f"ws{url.removeprefix('http')}/api/agents/link"
    try:
        connection = await connect(
            address,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=FRAME_MAX_BYTES,
            max_queue=MESSAGES_MAX,
            write_limit=WRITE_AHEAD_BYTES,
            ping_interval=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            user_agent_header=f"skep-agent/{skep.__version__}",
        )
    except InvalidStatus as error:
        raise StoreUnavailable(f"{url} answers {error.response.status_code} to an agent") from None
    except (InvalidHandshake, InvalidMessage, ProxyError) as error:
        raise StoreUnavailable(f"{url} does not answer as a hive: {error}") from None
    except TimeoutError:
        raise StoreUnavailable(f"{url} does not answer") from None
    except OSError as error:
        raise StoreUnavailable(f"{url} cannot be reached: {error.strerror or error}") from None
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise StoreUnavailable(f"{url} does not speak {SUBPROTOCOL}")
    return HiveSocket(connection)


def _set_options(raw: socket.socket) -> None:
    """What is sent and not acknowledged for long means that the way is gone (RFC 5482, where the system has it)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, USER_TIMEOUT_MS)
    except OSError:
        pass  # a tunnel that is no TCP socket
