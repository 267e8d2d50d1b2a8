"""The face for options: what an owner chooses for a space, within what the hive allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.errors import Forbidden
from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.db import Transaction
from skep.filesystem import access, spaces
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.records import DurabilityInfo
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal


class Choosing(Core):
    """How a space is kept."""

    async def durability(self, principal: Principal, space_id: Id | None = None) -> DurabilityInfo:
        """How new packs of a space are coded, and what its owner may choose. Raises SpaceNotFound, Forbidden."""
        principal.require(READ)
        space = await self._db.read(lambda tx: _whole(tx, principal, space_id))
        return self._durability(space)

    async def choose_scheme(
        self, principal: Principal, scheme: str | None, space_id: Id | None = None
    ) -> DurabilityInfo:
        """Code the new packs of a space so from now on; None: as the hive says. For its owner, or its group's managers.

        Content that the space has already stays as it is coded. Raises InvalidScheme, Forbidden (not one that the hive
        allows), SpaceNotFound.
        """
        principal.require(WRITE)
        name = None if scheme is None else self.allowed_scheme(Scheme.parse(scheme)).name

        def work(tx: Transaction) -> Space:
            space = _whole(tx, principal, space_id)
            access.require_owner(tx, principal, space, "choose how its space is kept")
            spaces.lock(tx, space.id)
            spaces.set_scheme(tx, space.id, name)
            return space._replace(scheme=name)

        space = await self._commit(work)
        self._joiner.forget()
        return self._durability(space)

    def allowed_scheme(self, scheme: Scheme) -> Scheme:
        """The scheme, if ``storage.user_schemes`` has it. Raises Forbidden."""
        if scheme.name not in self.limits.schemes:
            allowed = ", ".join(self.limits.schemes) or "none but the hive's own"
            raise Forbidden(f"this hive does not let you choose {scheme.name!r}: it allows {allowed}", allowed=allowed)
        return scheme

    def _durability(self, space: Space) -> DurabilityInfo:
        known = self._scheme(space)
        return DurabilityInfo(space.id, None if known is None else known.name, self.limits.schemes)


def _whole(tx: Transaction, principal: Principal, space_id: Id | None) -> Space:
    return access.owned(access.space(tx, principal, space_id, "read"), "say how it is kept")
