"""What the packages above ask of auth for things that have a password or belong in the audit log."""

from __future__ import annotations

from skep.auth.audit import Party
from skep.auth.core import AuthCore
from skep.auth.records import Principal
from skep.base.errors import BadInput
from skep.base.ids import Id
from skep.db import Transaction

PASSWORD_LENGTH_MAX = 1_000


class Things(AuthCore):
    """The part of ``Auth`` for passwords of things: through the same bounded queue as people's."""

    async def hash_of(self, password: str) -> str:
        """What to keep of a password: an argon2id string. Raises BadInput (empty, far too long), RateLimited."""
        if not 1 <= len(password) <= PASSWORD_LENGTH_MAX:
            raise BadInput(f"a password has between 1 and {PASSWORD_LENGTH_MAX} characters")
        return await self._hasher.hash(password)

    async def matches(self, kept: str, password: str) -> bool:
        """Whether a password is the one of which this was kept. Raises RateLimited when too many wait."""
        return len(password) <= PASSWORD_LENGTH_MAX and await self._hasher.verify(kept, password)

    def note(self, tx: Transaction, action: str, by: Principal, about_id: Id, about_name: str, **facts: object) -> None:
        """Write in the audit log what somebody did to a thing that is no account."""
        self._note(tx, action, by, Party(about_id, about_name), address="", **facts)
