"""Following a space, a path or one node as it changes: who may, and which changes are meant.

A **sight** is what one follower asked to see. It is asked about each change of the space, in order: one of a
directory concerns everything below it, and of a node that is followed by its id the path is kept up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.ids import Id
from skep.db import Database, Transaction
from skep.events import Change
from skep.filesystem import access, share_changes, views
from skep.filesystem.core import READ
from skep.filesystem.names import DEPTH_MAX, PATH_BYTES_MAX, join_path, split_path

if TYPE_CHECKING:
    from skep.auth.records import Principal
    from skep.filesystem.spaces import Space


PLACES_MAX = 1024


class Sight:
    """What is followed of a space or a share: all of it, what is at and below a path, or one node."""

    __slots__ = ("node_id", "path", "place")

    def __init__(self, place: Space, *, path: str = "/", node_id: Id | None = None) -> None:
        """``path`` is normal (``/``, ``/a/b``), from the root of what is seen; of a node it is where it is now."""
        self.place = place
        self.path = path
        self.node_id = node_id

    @property
    def space_id(self) -> Id:
        """The space whose journal tells of it."""
        return self.place.id

    @property
    def seen_id(self) -> Id:
        """The id that the follower knows it by: a space's or a share's."""
        return self.place.seen_id

    @property
    def is_share(self) -> bool:
        """Whether it is seen through a share, which may be moved or taken back: look again before each run."""
        return self.place.seen is not None

    @property
    def since(self) -> int:
        """Changes up to this number are not for the follower: the share was elsewhere."""
        return 0 if self.place.seen is None else self.place.seen.held.share.since_change

    def seen(self, change: Change) -> Change | None:
        """A change as the follower sees it; None if it did not ask for it. Call it for every change, in order."""
        shown = change if self.place.seen is None else share_changes.seen(self.place, change)
        return shown if shown is not None and self._sees(shown) else None

    def _sees(self, change: Change) -> bool:
        if self.node_id is not None:
            return self._sees_node(change)
        if self.path == "/":
            return True
        paths = (change.path,) if change.old_path is None else (change.path, change.old_path)
        return any(below(path, self.path) or below(self.path, path) for path in paths)

    def _sees_node(self, change: Change) -> bool:
        before = change.old_path if change.old_path is not None else change.path
        if change.node_id == self.node_id:
            self.path = change.path
            return True
        if change.node_kind != "directory" or change.kind == "metadata" or not below(self.path, before):
            return False
        if change.kind == "moved":
            self.path = change.path + self.path[len(before) :]
        return change.kind in ("moved", "trashed", "restored", "deleted")


def below(path: str, top: str) -> bool:
    """Whether a path is at or below another."""
    return top == "/" or path == top or (path.startswith(top) and path[len(top)] == "/")


class Following:
    """Decides who may follow what. Needs the database alone, so that a process without stores can serve it."""

    def __init__(self, db: Database, *, path_bytes_max: int = PATH_BYTES_MAX, depth_max: int = DEPTH_MAX) -> None:
        self._db = db
        self._path_bytes_max = path_bytes_max
        self._depth_max = depth_max
        self._places: dict[Id, Space] = {}

    async def sight(
        self, principal: Principal, space_id: Id | None, *, path: str | None = None, node_id: Id | None = None
    ) -> Sight:
        """What the principal asks to follow; the own space if no id is given, all of it without path and node.

        Nothing need be at the path yet. Raises Forbidden (scope, rights of the share), SpaceNotFound, NodeNotFound,
        InvalidPath and InvalidName.
        """
        principal.require(READ)
        wanted = "/" if path is None else join_path(
            split_path(path, path_bytes_max=self._path_bytes_max, depth_max=self._depth_max)
        )  # fmt: skip

        def look(tx: Transaction) -> Sight:
            if node_id is None:
                return Sight(access.space(tx, principal, space_id, "read"), path=wanted)
            source = access.living(tx, principal, node_id, "read")
            if space_id is None or space_id == source.space.seen_id:
                return Sight(source.space, path=source.path, node_id=node_id)
            place = access.space(tx, principal, space_id, "read")
            return Sight(place, path=views.above(tx, place, node_id).path, node_id=node_id)

        found = await self._db.glance(look)
        found.place = self._same(found.place)
        return found

    def _same(self, place: Space) -> Space:
        """The row that another sight holds already, if it is the same: of a thousand sights of a space one is kept."""
        known = self._places.get(place.seen_id)
        if known == place:
            return known
        if len(self._places) >= PLACES_MAX:
            self._places.clear()
        self._places[place.seen_id] = place
        return place

    async def look_again(self, principal: Principal, sight: Sight) -> None:
        """Return if the principal may go on with a sight, whose place is then as it is now.

        Raises Forbidden (scope, rights of the share), SpaceNotFound.
        """
        principal.require(READ)
        sight.place = await self._db.glance(lambda tx: access.space(tx, principal, sight.seen_id, "read"))
