"""The nouns of machines: what can be rented, what is there, and what its owner allows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from skep.base.errors import BadInput
from skep.deploy.shell.ssh import SshTarget
from skep.deploy.stack.records import Size

MachineState: TypeAlias = Literal["making", "running", "stopped", "gone"]
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class MachineType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine that can be had; prices are in the provider's currency."""

    name: str
    """As the provider calls it: ``s-1vcpu-1gb``."""
    size: Size
    price_hourly: float = 0.0
    price_monthly: float = 0.0
    """What a whole month costs at most; 0 where that is not known."""
    regions: tuple[str, ...] = ()
    """Where it can be had; empty: everywhere."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that is there, or is being made."""

    name: str
    """What we call it, unique in the fleet: the id of the grid's block."""
    type: str
    state: MachineState = "running"
    id: str = ""
    """What its provider calls it."""
    address: str = ""
    """Where HQ reaches it over SSH; empty while it is being made."""
    private_address: str = ""
    """In the provider's own network, where there is one."""
    port: int = 22
    user: str = "root"
    host_key: str = ""
    """``ssh-ed25519 AAAA…`` where it is known beforehand; empty: look once and keep it."""
    size: Size | None = None
    """What it really has, where that is known better than by its type."""
    region: str = ""
    price_hourly: float = 0.0
    created_us: int = 0

    def target(self, key: Path | None = None, host_key: str = "") -> SshTarget:
        """How one gets in with the private key ``key``."""
        return SshTarget(
            address=self.address,
            port=self.port,
            user=self.user,
            key=key,
            host_key=host_key or self.host_key,
            name=self.name,
        )


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver can do, as data."""

    kind: str
    """``ssh``, ``local``, ``digitalocean``, a provider of Libcloud, or ``memory``."""
    resizes: bool
    """Whether a machine can become another type; otherwise ``resize`` raises BadInput."""
    rents: bool
    """Whether each machine costs money from its making on."""
    billing_s: float = 0.0
    """A begun period is paid for whole; 0: to the second."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a fleet allows, whoever asks for machines."""

    machines_max: int = 20
    price_hourly_max: float = 0.0
    """Of all machines together; 0: no limit."""


def checked_name(name: str) -> str:
    """The name. Raises BadInput for what is no host name's label (RFC 1123): providers take nothing else."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no name for a machine: 1 to 63 of a-z, 0-9 and dashes, with no dash at an end")
    return name


def cheapest(types: tuple[MachineType, ...], size: Size, region: str = "") -> MachineType | None:
    """The cheapest type with at least this size that can be had in ``region``; None when there is none."""
    able = [one for one in types if takes(one.size, size) and (not region or not one.regions or region in one.regions)]
    return min(able, key=lambda one: (one.price_hourly, one.size.memory_bytes, one.name), default=None)


def takes(whole: Size, part: Size) -> bool:
    """Whether a part fits into the whole; a disk of unknown size takes everything."""
    return (
        part.memory_bytes <= whole.memory_bytes
        and part.cpu_millis <= whole.cpu_millis
        and (not whole.disk_bytes or part.disk_bytes <= whole.disk_bytes)
    )
