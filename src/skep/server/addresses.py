"""Where requests come from, and where the server listens."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from skep.base.errors import InvalidSetting, Misconfigured
from skep.frontends.common.headers import Headers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The proxies whose X-Forwarded-For is believed."""

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

    def _trusts(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


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
