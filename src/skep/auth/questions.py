"""Questions to whoever signs in: what is remembered until the second factor or the passkey is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.auth.users import UserRow
from skep.base.ids import Id

TRIES_MAX = 5


@dataclass(slots=True)
class Question:
    """Whose password was right, and the session that will begin. ``tries_left`` counts wrong answers down."""

    proven: UserRow
    scopes: frozenset[str]
    agent: str
    address: str
    stronger_hash: str | None = field(repr=False)
    tries_left: int = TRIES_MAX
    challenge: bytes | None = field(default=None, repr=False)
    """What a passkey is to sign."""


@dataclass(frozen=True, slots=True)
class PasskeyTicket:
    """A registration that was begun: who, what it will be called, and what is to be signed."""

    user_id: Id
    name: str
    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnyPasskey:
    """A login by passkey alone: whoever signs this."""

    scopes: frozenset[str]
    agent: str
    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser that was sent to an identity provider, and what its way back must show."""

    provider: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    cookie: str = field(repr=False)
    redirect_uri: str
    following: str


@dataclass(frozen=True, slots=True)
class PageSession:
    """Who sits before the hive's own pages. ``form``: what a form of theirs must bring."""

    user_id: Id
    epoch: int
    name: str
    form: str = field(repr=False)
    at_us: int
