"""Where every change of a tree is also written down: the journal of the space and the references of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from skep.base.ids import Id
from skep.db import Transaction
from skep.events import Draft, EventLog
from skep.filesystem.ports import Note, References
from skep.filesystem.records import Limits
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal


@dataclass(frozen=True, slots=True)
class Books:
    """What the functions over a transaction need besides it."""

    chunks: References
    log: EventLog
    limits: Limits
    lock_tokens: frozenset[Id] = frozenset()
    """The locks that whoever acts says they know of."""

    def of(self, principal: Principal) -> Books:
        """The books as one request uses them."""
        return replace(self, lock_tokens=principal.lock_tokens) if principal.lock_tokens else self

    def record(self, tx: Transaction, space: Space, notes: Sequence[Note], actor_id: Id | None) -> int:
        """Write notes into the journal of a space, numbered on from its last change; the last one's number."""
        drafts = [Draft(actor_id=actor_id, **note._asdict()) for note in notes]
        return self.log.record_many(tx, space.id, drafts) + len(drafts) - 1
