"""Who may reach what: the model that the firewall's rules are made from, and that tests compare them with.

A member reaches every port of every member. Everybody else reaches the SSH port of each member, the web's ports of
routers, and what a member shows to all by ``public``. A port that a container publishes is a port of its host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from skep.base.errors import BadInput

SSH_PORT = 22
ROUTER_PORTS = (80, 443)
MEMBERS_MAX = 4096
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\Z"
)
"""RFC 1123, section 2.1: names are written to every host's `/etc/hosts`."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the list. ``router``: it serves the web for all. ``public``: other TCP ports that all may reach."""

    name: str
    address: str
    router: bool = False
    public: tuple[int, ...] = ()
    ssh_port: int = SSH_PORT

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        """Its address, parsed."""
        return ip_address(self.address)

    @property
    def public_ports(self) -> tuple[int, ...]:
        """TCP ports that all may reach, in order."""
        return tuple(sorted({self.ssh_port, *(ROUTER_PORTS if self.router else ()), *self.public}))


class Fence(msgspec.Struct, frozen=True):
    """The whole list. ``fence_of`` makes one of what people write."""

    members: tuple[Member, ...]

    def member(self, name: str) -> Member:
        """The member of that name. Raises BadInput."""
        for one in self.members:
            if one.name == name:
                return one
        raise BadInput(f"{name} is not in the list of hosts: {', '.join(one.name for one in self.members)}")

    def allows(self, source: str, target: Member, port: int) -> bool:
        """Whether a new TCP connection from this address may reach that port of a member."""
        address = ip_address(source)
        return port in target.public_ports or any(one.ip == address for one in self.members)

    def addresses(self, version: int) -> tuple[str, ...]:
        """The members' addresses of IP version 4 or 6, in order."""
        return tuple(str(ip) for ip in sorted({one.ip for one in self.members if one.ip.version == version}, key=int))


def fence_of(members: Iterable[Member | str]) -> Fence:
    """A list of hosts, checked; an address alone is a member that is no router.

    Raises BadInput: no host at all, not an address, a name that is none, twice the same, a port that is none.
    """
    found: list[Member] = []
    for entry in members:
        one = Member(name=entry, address=entry) if isinstance(entry, str) else entry
        _check(one)
        for other in found:
            if other.ip == one.ip or other.name == one.name:
                raise BadInput(f"{one.name} ({one.address}) is in the list of hosts twice: remove one")
        found.append(one)
    if not found:
        raise BadInput("the list of hosts is empty: that would lock everybody out")
    if len(found) > MEMBERS_MAX:
        raise BadInput(f"a list of hosts has at most {MEMBERS_MAX} entries, this one has {len(found)}")
    return Fence(tuple(found))


def _check(one: Member) -> None:
    try:
        address = one.ip
    except ValueError:
        raise BadInput(f"{one.address!r} is not an IP address: write it like 10.0.0.11 or fd00::11") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise BadInput(f"{one.address} is not the address of one host on a network")
    if one.name != one.address and not _NAME.match(one.name):
        raise BadInput(f"{one.name!r} is no name of a host: letters, digits, hyphens and dots")
    for port in (one.ssh_port, *one.public):
        if not 1 <= port <= 65_535:
            raise BadInput(f"{port} is no TCP port (host {one.name})")
