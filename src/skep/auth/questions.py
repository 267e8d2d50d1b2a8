"""The question between a right password and a session: what is remembered until the second factor is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.auth.users import UserRow

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
