"""Where requests come from, and where the server listens."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from skep.base.errors import InvalidSetting, Misconfigured
from skep.frontends.common.asgi import Scope
from skep.frontends.common.headers import Headers

HEADER_MAX = 2_000
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The proxies whose Forwarded and X-Forwarded-* headers are believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """Raises InvalidSetting for what is no address or network."""
        try:
            self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)
        except ValueError as error:
            raise InvalidSetting(f"server.trusted_proxies: {error}: write addresses or networks.") from None

    def client(self, peer: str, headers: Headers) -> str:
        """The address of the client: the last one in X-Forwarded-For that is not a trusted proxy's."""
        if not self._networks or not self._trusts(peer):
            return peer
        forwarded = [part.strip() for part in (headers.get("x-forwarded-for") or "").split(",") if part.strip()]
        for address in reversed(forwarded[-20:]):
            if not self._trusts(address):
                return address[:64]
        return peer

    def apply(self, scope: Scope, headers: Headers) -> str:
        """Make a request's client, scheme and Host what they are outside of the proxies; the client's address."""
        peer = scope.get("client")
        if peer and not self._networks:
            return str(peer[0])
        near = peer[0] if peer else ""
        client = self.client(near, headers)
        scope["client"] = (client, peer[1] if peer else 0)
        if self._networks:
            scheme, host = self.outside(near, headers)
            if scheme is not None:
                scope["scheme"] = {"http": "ws", "https": "wss"}[scheme] if scope["type"] == "websocket" else scheme
            if host is not None:
                headers.replace("host", host)
        return client

    def outside(self, peer: str, headers: Headers) -> tuple[str | None, str | None]:
        """The scheme and the host that the client used, as a trusted proxy says them; None: as the request has them.

        Of ``Forwarded`` (RFC 7239) and X-Forwarded-Proto and -Host the last value counts: the nearest proxy wrote it.
        ``Forwarded`` goes last, for proxies that write the others often pass on a client's. What is no scheme of ours
        and no host name is passed over.
        """
        if not self._networks or not self._trusts(peer):
            return None, None
        told = _forwarded((headers.get("forwarded") or "")[-HEADER_MAX:])
        scheme = _last(headers.get("x-forwarded-proto")) or told.get("proto")
        host = _last(headers.get("x-forwarded-host")) or told.get("host")
        return (
            scheme.lower() if scheme and scheme.lower() in ("http", "https") else None,
            host if host and _HOST.match(host) else None,
        )

    def _trusts(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _last(value: str | None) -> str | None:
    return value[-HEADER_MAX:].rpartition(",")[2].strip() if value else None


def _forwarded(value: str) -> dict[str, str]:
    """The parameters of the last element of a Forwarded header."""
    pairs = (part.partition("=") for part in value.rpartition(",")[2].split(";"))
    return {name.strip().lower(): text.strip().strip('"') for name, equals, text in pairs if equals}


def is_local(address: str) -> bool:
    """Whether an address is this machine's own loopback. A Unix socket's peer has none and is local."""
    if not address:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def listening_port(host: str, port: int) -> int:
    """The port to listen on: ``port``, or a free one for 0. Raises Misconfigured when it is taken.

    The servers below share ports between processes (SO_REUSEPORT), so two hives on one port would
    not be noticed by them; here the port is bound once without sharing and given free again.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise Misconfigured(
            f"The hive cannot listen on {host} port {port}: {error.strerror or error}. Set server.host or server.port."
        ) from None
