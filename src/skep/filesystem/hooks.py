"""What happens to spaces when users and groups come and go: fills the hook protocols of ``auth``."""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.errors import InUse
from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.durability.objects import drop_objects_of
from skep.durability.policies import drop_policy
from skep.filesystem import facts, locks, prefixes, properties, shares, spaces
from skep.filesystem.service import Filesystem
from skep.filesystem.uploads import growing as uploads

_ANY_NODE = prepared(
    sa.select(s.nodes.c.id)
    .where(s.nodes.c.space_id == sa.bindparam("space"), s.nodes.c.id != sa.bindparam("root"))
    .limit(1)
)
_DELETE_SPACE = prepared(sa.delete(s.spaces).where(s.spaces.c.id == sa.bindparam("space")))
_DELETE_NODE = prepared(sa.delete(s.nodes).where(s.nodes.c.id == sa.bindparam("node")))
_DELETE_CHANGES = prepared(sa.delete(s.changes).where(s.changes.c.space_id == sa.bindparam("space")))
_DELETE_TAGS = prepared(sa.delete(s.tags).where(s.tags.c.user_id == sa.bindparam("user")))


class SpaceHooks:
    """Gives every new user and group a space; lets them go only when it is empty."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem

    def user_created(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Make the user's personal space."""
        self._filesystem.create_space(tx, "personal", user_id, name)

    def group_created(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Make the group's space."""
        self._filesystem.create_space(tx, "group", group_id, name)

    def user_renamed(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Let the user's space be called like the user."""
        _rename(tx, "personal", user_id, name)

    def group_renamed(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Let the group's space be called like the group."""
        _rename(tx, "group", group_id, name)

    def quota_told(self, tx: Transaction, user_id: Id, quota_bytes: int) -> None:
        """Let the user's space hold what an identity provider says."""
        space = spaces.of_owner(tx, "personal", user_id)
        if space is not None and space.quota_bytes != quota_bytes:
            spaces.set_quota(tx, space.id, quota_bytes)

    def user_deleting(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Take the user's space away, and what they stored as chunks. Raises InUse while there are files or trash."""
        uploads.drop_of_user(tx, self._filesystem.books, user_id)
        self._remove(tx, "personal", user_id, f"the user {name!r}")
        drop_objects_of(tx, self._filesystem.books.chunks, user_id)
        drop_policy(tx, user_id)
        tx.run(_DELETE_TAGS, {"user": user_id})
        shares.remove_to(tx, "user", user_id)

    def group_deleting(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Take the group's space away. Raises InUse while files are in it or in its trash."""
        self._remove(tx, "group", group_id, f"the group {name!r}")
        drop_policy(tx, group_id)
        shares.remove_to(tx, "group", group_id)

    def _remove(self, tx: Transaction, kind: str, owner_id: Id, owner: str) -> None:
        there = spaces.of_owner(tx, kind, owner_id)
        if there is None:
            return
        space = spaces.lock(tx, there.id)
        if tx.one(_ANY_NODE, {"space": space.id, "root": space.root_id}) is not None:
            raise InUse(f"the space of {owner} still holds files: delete them and empty its trash first")
        uploads.drop_of_space(tx, self._filesystem.books, space.id)
        tx.run(_DELETE_CHANGES, {"space": space.id})
        properties.drop(tx, [space.root_id])
        locks.end_below(tx, space, space.root_id)
        shares.remove_on(tx, [space.root_id])
        tx.run(_DELETE_NODE, {"node": space.root_id})
        facts.drop(tx, [space.root_id])
        prefixes.drop_of_space(tx, space.id)
        tx.run(_DELETE_SPACE, {"space": space.id})


def _rename(tx: Transaction, kind: str, owner_id: Id, name: str) -> None:
    space = spaces.of_owner(tx, kind, owner_id)
    if space is not None:
        spaces.rename(tx, space.id, name)
