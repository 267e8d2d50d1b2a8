"""The face for dead properties: what clients note on nodes for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import access, editing, info, locks, moves, properties, views
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.names import check_time
from skep.filesystem.records import ALWAYS, Conditions, NodeInfo

if TYPE_CHECKING:
    from skep.auth.records import Principal


class Describing(Core):
    """What clients say of things."""

    async def properties(self, principal: Principal, nodes: Sequence[NodeInfo]) -> dict[Id, dict[str, str]]:
        """The dead properties, by name, of nodes that the principal was just shown; nodes without any are left out."""
        principal.require(READ)
        ids = [node.id for node in nodes]
        return await self._db.read(lambda tx: properties.of_nodes(tx, ids))

    async def patch_properties(
        self,
        principal: Principal,
        node_id: Id,
        changes: Sequence[tuple[str, str | None]],
        *,
        modified_us: int | None = None,
        conditions: Conditions = ALWAYS,
    ) -> NodeInfo:
        """Set dead properties (name, XML element) or remove them (None), in order, and the node's time; all or nothing.

        Raises NodeNotFound, InvalidName, BodyTooLarge, LimitReached, PreconditionFailed, Locked.
        """
        principal.require(WRITE)
        properties.check(changes, self.limits)
        check_time(modified_us)

        def work(tx: Transaction) -> NodeInfo:
            books = self.books.of(principal)
            space = views.lock(tx, access.living(tx, principal, node_id, "write").space)
            source = moves.living(tx, space, node_id)
            moves.require(source, conditions)
            locks.require_writable(tx, books, space, principal.user_id, source.above.chain, node_id)
            properties.patch(tx, node_id, changes, self.limits)
            editing.update_facts(tx, books, source, editing.Change(None, None, modified_us, None), principal.user_id)
            now = moves.living(tx, space, node_id)
            return info.described(tx, space, now.node, now.path, principal.user_id)

        return await self._db.write(work)
