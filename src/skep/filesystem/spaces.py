"""Spaces: one tree with one owner, who pays for all versions in it. Who may see and change which space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import NotFound, SpaceNotFound
from skep.base.ids import Id, id_text, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem import tree
from skep.filesystem.names import Segments, join_path, stored_segments
from skep.filesystem.shares import Held

if TYPE_CHECKING:
    from skep.auth.records import Principal
    from skep.filesystem.ports import ContentStore


class Seen(NamedTuple):
    """Through which share a space is seen, and where its root is."""

    held: Held
    way: tuple[Id, ...]
    """The directories above the shared node, the topmost first."""
    prefix: Segments
    """The names from the root of the space down to the shared node. Not for the eyes of holders."""
    is_file: bool
    size_bytes: int
    """Of the current contents."""


class Space(NamedTuple):
    """A row of ``spaces``, as it is seen: ``root_id`` is where the seen part begins (see ``views``)."""

    id: Id
    kind: str
    owner_id: Id
    name: str
    root_id: Id
    domain_id: Id
    quota_bytes: int | None
    used_bytes: int
    last_change: int
    first_change: int
    created_us: int
    locked_until_us: int = 0
    """No lock in it is in force at or after this time."""
    scheme: str | None = None
    """How its new packs are coded; None: as the hive says."""
    unmetered: int = 0
    """1: its quota does not count, since its content lies on its owner's own stores alone."""
    objects_max: int | None = None
    """How many files, directories and chunks it may hold, the trash included; None: any number."""
    seen: Seen | None = None
    """None: all of it."""

    @property
    def base(self) -> tuple[Id, ...]:
        """The directories from the root of the whole space down to the root of what is seen, that included."""
        return (self.root_id,) if self.seen is None else (*self.seen.way, self.root_id)

    @property
    def top_id(self) -> Id:
        """The root of the whole space."""
        return self.base[0]

    @property
    def seen_id(self) -> Id:
        """The id that the principal knows it by."""
        return self.id if self.seen is None else self.seen.held.share.id

    @property
    def is_dropbox(self) -> bool:
        """Whether the principal may add files and see none."""
        return self.seen is not None and not self.seen.held.share.grants("read")

    def whole(self, path: str) -> str:
        """The path in the whole space of what is at a path in the seen part."""
        if self.seen is None:
            return path
        return join_path((*self.seen.prefix, *stored_segments(path)))


_c = s.spaces.c
COLUMNS = tuple(_c[name] for name in Space._fields if name != "seen")
_INSERT = insert_new(s.spaces)
_BY_ID = prepared(sa.select(*COLUMNS).where(_c.id == sa.bindparam("id")))
_LOCK = prepared(sa.select(*COLUMNS).where(_c.id == sa.bindparam("id")).with_for_update())
_OF_OWNER = prepared(sa.select(*COLUMNS).where(_c.kind == sa.bindparam("kind"), _c.owner_id == sa.bindparam("owner")))
_OF_OWNERS = prepared(
    sa.select(*COLUMNS)
    .where(_c.kind == sa.bindparam("kind"), _c.owner_id.in_(sa.bindparam("owners", expanding=True)))
    .order_by(_c.name, _c.id)
)
_SET_QUOTA = prepared(
    sa.update(s.spaces).where(_c.id == sa.bindparam("space")).values(quota_bytes=sa.bindparam("quota"))
)
_SET_OBJECTS = prepared(
    sa.update(s.spaces).where(_c.id == sa.bindparam("space")).values(objects_max=sa.bindparam("new_max"))
)
_SET_SCHEME = prepared(
    sa.update(s.spaces).where(_c.id == sa.bindparam("space")).values(scheme=sa.bindparam("new_scheme"))
)
_RENAME = prepared(sa.update(s.spaces).where(_c.id == sa.bindparam("space")).values(name=sa.bindparam("new_name")))
_PAGE = prepared(sa.select(*COLUMNS).where(_c.id > sa.bindparam("after")).order_by(_c.id).limit(sa.bindparam("count")))


def create(tx: Transaction, chunks: ContentStore, kind: str, owner_id: Id, name: str, quota_bytes: int | None) -> Space:
    """Make a space with an empty root for a user or a group, unless it has one already."""
    there = of_owner(tx, kind, owner_id)
    if there is not None:
        return there
    space_id, root_id = new_id(), new_id()
    domain_id = chunks.create_domain(tx, owner_id)
    space = Space(space_id, kind, owner_id, name, root_id, domain_id, quota_bytes, 0, 0, 1, tx.now_us)
    tx.run(_INSERT, {name: value for name, value in space._asdict().items() if name != "seen"})
    root = tree.Node(root_id, space_id, None, "", "directory", 0, 0, None, None, None, None, tx.now_us, tx.now_us, None)
    tx.run(tree.INSERT, root._asdict())
    return space


def by_id(tx: Transaction, space_id: Id) -> Space | None:
    """The row of a space."""
    row = tx.one(_BY_ID, {"id": space_id})
    return None if row is None else Space(*row)


def of_owner(tx: Transaction, kind: str, owner_id: Id) -> Space | None:
    """The space of a user (``personal``) or of a group (``group``)."""
    row = tx.one(_OF_OWNER, {"kind": kind, "owner": owner_id})
    return None if row is None else Space(*row)


def visible(tx: Transaction, principal: Principal) -> list[Space]:
    """All spaces of a principal, the personal one first."""
    rows = tx.rows(_OF_OWNER, {"kind": "personal", "owner": principal.user_id})
    if principal.groups:
        rows += tx.rows(_OF_OWNERS, {"kind": "group", "owners": sorted(principal.groups)})
    return [Space(*row) for row in rows]


def page(tx: Transaction, after: Id, count: int) -> list[Space]:
    """Up to ``count`` spaces in id order."""
    return [Space(*row) for row in tx.rows(_PAGE, {"after": after, "count": count})]


def lock(tx: Transaction, space_id: Id) -> Space:
    """The row of a space, held until the transaction ends: the first statement of every writer.

    Raises SpaceNotFound.
    """
    row = tx.one(_LOCK, {"id": space_id})
    if row is None:
        raise SpaceNotFound("no such space")
    return Space(*row)


def set_quota(tx: Transaction, space_id: Id, quota_bytes: int | None) -> None:
    """Allow a space so many bytes; None: no limit. Less than it uses only stops further writes."""
    if not tx.run(_SET_QUOTA, {"space": space_id, "quota": quota_bytes}):
        raise SpaceNotFound(f"no space {id_text(space_id)}")


def set_objects_max(tx: Transaction, space_id: Id, objects_max: int | None) -> None:
    """Allow a space so many files and directories; None: any number. Fewer than it has only stop new ones."""
    tx.run(_SET_OBJECTS, {"space": space_id, "new_max": objects_max})


def set_scheme(tx: Transaction, space_id: Id, scheme: str | None) -> None:
    """Say how the new packs of a space are coded; None: as the hive says."""
    tx.run(_SET_SCHEME, {"space": space_id, "new_scheme": scheme})


def rename(tx: Transaction, space_id: Id, name: str) -> None:
    """Give a space another name: its owner's new one."""
    tx.run(_RENAME, {"space": space_id, "new_name": name})


def may_use(principal: Principal, space: Space) -> bool:
    """Whether a space exists for a principal: its owner, a member of its group, or the hive's own workers.

    Administrators get no say in what is not theirs. What a member may do inside is a matter of scopes.
    """
    if principal.kind == "internal":
        return True
    if space.kind == "personal":
        return space.owner_id == principal.user_id
    return space.owner_id in principal.groups


def used_by(principal: Principal, space: Space | None, missing: NotFound) -> Space:
    """The space, if the principal may know that it exists; else raises ``missing``."""
    if space is None or not may_use(principal, space):
        raise missing
    return space


def node_and_space(tx: Transaction, node_id: Id) -> tuple[tree.Node, Space] | None:
    """A node with its space, in one statement."""
    row: tuple[Any, ...] | None = tx.one(_NODE_AND_SPACE, {"id": node_id})
    if row is None:
        return None
    width = len(tree.Node._fields)
    return tree.Node._make(row[:width]), Space(*row[width:])


_NODE_AND_SPACE = prepared(
    sa.select(*tree.COLUMNS, *COLUMNS)
    .join_from(s.nodes, s.spaces, s.nodes.c.space_id == _c.id)
    .where(s.nodes.c.id == sa.bindparam("id"))
)
