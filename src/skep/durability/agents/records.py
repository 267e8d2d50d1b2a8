"""What the hive knows of its agents, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.base.ids import Id


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An enrolled agent. Sizes in bytes, times in microseconds since 1970 UTC."""

    id: Id
    name: str
    owner_id: Id | None
    public_key: bytes
    store_id: Id | None
    zone: str
    capacity_bytes: int | None
    joins: bool
    """Whether it becomes a store by itself when it connects first."""
    state: str
    """active, leaving or revoked."""
    generation: int
    pending: int
    trouble: str | None
    created_us: int
    seen_us: int | None
    address: str | None = None
    """Where it connected from last."""


@dataclass(frozen=True, slots=True)
class AgentInvite:
    """An invitation that can still be used."""

    id: Id
    created_by: Id
    owner_id: Id | None
    name: str
    zone: str
    joins: bool
    uses_left: int
    created_us: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class MadeInvite:
    """A new invitation with its token, which is shown once."""

    info: AgentInvite
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewAgent:
    """What somebody who enrols says of themselves. ``signature`` shows that they hold the key."""

    token: str = field(repr=False)
    public_key: bytes
    signature: bytes
    name: str
    capacity_bytes: int | None
