"""The face for tags: a user's own words on nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from skep.base.errors import BadInput, NameClash, NodeNotFound, NotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import access, info, tags
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.names import TAG_LENGTH_MAX, check_tag
from skep.filesystem.records import NodeInfo

if TYPE_CHECKING:
    from skep.auth.records import Principal


TAG_PAGE = 256
"""Tagged nodes looked at together."""


class Tagging(Core):
    """What a user calls things."""

    async def set_tags(self, principal: Principal, node_id: Id, names: Collection[str]) -> NodeInfo:
        """Make these the principal's tags on a node. Others do not see them; no ETag changes. Raises InvalidName."""
        principal.require(WRITE)
        wanted = self.check_tags(names)

        def work(tx: Transaction) -> NodeInfo:
            source = access.living(tx, principal, node_id, "read")
            tags.put(tx, principal.user_id, node_id, wanted)
            return info.described(tx, source.space, source.node, source.path, principal.user_id)

        return await self._db.write(work)

    def check_tags(self, names: Collection[str]) -> set[str]:
        """The tags, if one node may have them. Raises InvalidName, BadInput (too many)."""
        wanted = {check_tag(name) for name in names}
        if len(wanted) > self.limits.tags_max:
            raise BadInput(f"{len(wanted)} tags on one node are too many; at most {self.limits.tags_max} are allowed")
        return wanted

    async def tags(self, principal: Principal) -> list[tuple[str, int]]:
        """The principal's tags, and on how many nodes each is (those in the trash included)."""
        principal.require(READ)
        return await self._db.read(lambda tx: tags.of_user(tx, principal.user_id, self.limits.page_max))

    async def by_tag(
        self, principal: Principal, name: str, limit: int | None = None, after: Id = b""
    ) -> list[NodeInfo]:
        """Living nodes with a tag of the principal's, in id order; ``after`` is the last id of the page before."""
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[NodeInfo]:
            found: list[NodeInfo] = []
            last = after
            while len(found) < count and (ids := tags.nodes(tx, principal.user_id, name, last, TAG_PAGE)):
                for node_id in ids[: count - len(found)]:
                    try:
                        source = access.living(tx, principal, node_id, "read")
                    except NodeNotFound:
                        continue
                    found.append(info.described(tx, source.space, source.node, source.path, principal.user_id))
                last = ids[min(len(ids), count) - 1] if len(found) >= count else ids[-1]
            return found

        return await self._db.read(work)

    async def rename_tag(self, principal: Principal, name: str, new_name: str, *, merge: bool = False) -> int:
        """Give a tag of the principal's another name on all nodes; on how many.

        Raises NotFound (no such tag), NameClash (the other name is a tag too, and not ``merge``), InvalidName.
        """
        principal.require(WRITE)
        check_tag(new_name)

        def work(tx: Transaction) -> int:
            if not tags.nodes(tx, principal.user_id, name, b"", 1):
                raise NotFound(f"you have no tag {name[:TAG_LENGTH_MAX]!r}: list your tags")
            if name == new_name:
                return 0
            if not merge and tags.nodes(tx, principal.user_id, new_name, b"", 1):
                raise NameClash(f"you have a tag {new_name!r} already: merge them, or give another name")
            return tags.rename(tx, principal.user_id, name, new_name)

        return await self._db.write(work)

    async def drop_tag(self, principal: Principal, name: str) -> int:
        """Take a tag of the principal's off all nodes; off how many."""
        principal.require(WRITE)
        return await self._db.write(lambda tx: tags.drop(tx, principal.user_id, name))
