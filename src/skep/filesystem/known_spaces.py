"""Spaces that were looked at, so that a look at a file need not begin with its space.

What always holds: only spaces seen as a whole are here, and only for what never changes of one: its id, kind and owner,
its root, its domain. Who may use it is asked of the principal each time. A space that is gone has no nodes any more,
so nothing is found in it.

Written from the database's threads too: each step is one operation on a dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.ids import Id
from skep.filesystem.spaces import Space, may_use

if TYPE_CHECKING:
    from skep.auth.records import Principal

SPACES_MAX = 10_000
"""Spaces that are remembered."""


class KnownSpaces:
    """By user and the id that they gave; None stands for their own."""

    def __init__(self) -> None:
        self._known: dict[tuple[Id, Id | None], Space] = {}

    def get(self, principal: Principal, space_id: Id | None) -> Space | None:
        """The space, if it is known and the principal may use it now."""
        known = self._known.get((principal.user_id, space_id))
        return known if known is not None and may_use(principal, known) else None

    def note(self, principal: Principal, space_id: Id | None, space: Space) -> Space:
        """Remember a space that the principal may use, unless it is a share; the same space."""
        if space.seen is None:
            if len(self._known) >= SPACES_MAX:
                self._known.clear()
            self._known[principal.user_id, space_id] = space
        return space
