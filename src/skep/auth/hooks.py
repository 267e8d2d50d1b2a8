"""What auth asks of the packages above it when users and groups come and go.

``filesystem`` fills these (it makes the spaces) and ``server`` plugs them in. All run inside the
transaction that makes or removes the row: whatever they raise undoes all of it.
"""

from __future__ import annotations

from typing import Protocol

from skep.base.ids import Id
from skep.db import Transaction


class UserHooks(Protocol):
    """Called after the row is there."""

    def user_created(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user was made."""
        ...

    def group_created(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group was made."""
        ...

    def user_renamed(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user has another name now."""
        ...

    def group_renamed(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group has another name now."""
        ...


class RoomHooks(Protocol):
    """Called when an identity provider tells how much room somebody has."""

    def quota_told(self, tx: Transaction, user_id: Id, quota_bytes: int) -> None:
        """A user's own space may hold so many bytes from now on."""
        ...


class DeletionHooks(Protocol):
    """Called while the row is still there. Raise InUse to refuse, saying what must go first."""

    def user_deleting(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user is about to go: take what is theirs, or refuse."""
        ...

    def group_deleting(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group is about to go: take what is its, or refuse."""
        ...
