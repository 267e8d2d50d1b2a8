"""Rows of shares: access that the owner of a node gave to a user or a group.

What always holds:
- a share is on one node and to one user or group; giving it again changes its rights;
- access adds up: a principal may what any of their accepted shares on a node or above it allows;
- a share that was passed on (``parent_id``) counts only as long as the one that it came from is there and its node is
  at or above the passed one's: taking the first back takes all that came of it;
- pending and declined shares give nothing;
- a share of kind ``link`` has a row in ``links`` of the same id, which is also the id of its one holder (``linking``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import sqlalchemy as sa

from skep.base.errors import LimitReached
from skep.base.ids import Id
from skep.db import Statement, Transaction, insert_new, prepared, upsert
from skep.db import schema as s
from skep.filesystem.records import Rights

if TYPE_CHECKING:
    from skep.auth.records import Principal

Need = Literal["read", "create", "write"]
"""What a call wants to do: see, add files, or change what is there."""

PASSED_ON_MAX = 8
"""How often a share may be passed on from hand to hand."""
LINK = "link"
"""The kind of a share whose holder is whoever knows an address."""
_GRANTS: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "create", "write"}),
    "upload": frozenset({"create"}),
}
_STRENGTH = {"write": 0, "read": 1, "upload": 2}


class Share(NamedTuple):
    """A row of ``shares``."""

    id: Id
    space_id: Id
    node_id: Id
    kind: str
    principal_id: Id
    rights: Rights
    may_share: int
    parent_id: Id | None
    since_change: int
    created_by: Id
    created_us: int

    def grants(self, need: Need) -> bool:
        """Whether its rights are enough for something."""
        return need in _GRANTS[self.rights]


class Held(NamedTuple):
    """A share and what one holder made of it."""

    share: Share
    state: str
    """pending | accepted | declined."""
    name: str


def covers(rights: str, others: str) -> bool:
    """Whether who has ``rights`` may do all that ``others`` allow."""
    return _GRANTS[others] <= _GRANTS[rights]


_c, _h = s.shares.c, s.share_holders.c
_COLUMNS = tuple(_c[name] for name in Share._fields)
_INSERT = insert_new(s.shares)
_ANSWER = upsert(s.share_holders, ["share_id", "user_id"], ["state", "name", "changed_us"])
_BY_ID = prepared(sa.select(*_COLUMNS).where(_c.id == sa.bindparam("id")))
_ON_NODES = prepared(sa.select(*_COLUMNS).where(_c.node_id.in_(sa.bindparam("nodes", expanding=True))).order_by(_c.id))
_TO_ONE = prepared(
    sa.select(*_COLUMNS).where(
        _c.node_id == sa.bindparam("node"), _c.kind == sa.bindparam("kind"), _c.principal_id == sa.bindparam("whom")
    )
)
_PASSED_ON = prepared(sa.select(*_COLUMNS).where(_c.parent_id.in_(sa.bindparam("parents", expanding=True))))
_OF_SPACE = prepared(
    sa.select(*_COLUMNS)
    .where(_c.space_id == sa.bindparam("space"), _c.kind != LINK, _c.id > sa.bindparam("after"))
    .order_by(_c.id)
    .limit(sa.bindparam("count"))
)
_COUNT_ON = prepared(sa.select(sa.func.count()).select_from(s.shares).where(_c.node_id == sa.bindparam("node")))
_COUNT_TO = prepared(sa.select(sa.func.count()).select_from(s.shares).where(_c.principal_id == sa.bindparam("whom")))
_COUNT_IN = prepared(sa.select(sa.func.count()).select_from(s.shares).where(_c.space_id == sa.bindparam("space")))
_STATES = prepared(
    sa.select(_h.share_id, _h.user_id, _h.state).where(_h.share_id.in_(sa.bindparam("ids", expanding=True)))
)
_SET = prepared(
    sa.update(s.shares)
    .where(_c.id == sa.bindparam("share"))
    .values(
        rights=sa.bindparam("new_rights"),
        may_share=sa.bindparam("new_may_share"),
        parent_id=sa.bindparam("new_parent"),
        created_by=sa.bindparam("new_giver"),
    )
)
_SET_SINCE = prepared(
    sa.update(s.shares)
    .where(_c.node_id.in_(sa.bindparam("nodes", expanding=True)))
    .values(since_change=sa.bindparam("number"))
)
_DELETE = prepared(sa.delete(s.shares).where(_c.id.in_(sa.bindparam("ids", expanding=True))))
_DELETE_LINKS = prepared(sa.delete(s.links).where(s.links.c.id.in_(sa.bindparam("ids", expanding=True))))
_LINKS_BY = prepared(sa.select(s.links.c.id).where(s.links.c.created_by == sa.bindparam("user")))
_DELETE_ANSWERS = prepared(sa.delete(s.share_holders).where(_h.share_id.in_(sa.bindparam("ids", expanding=True))))
_DELETE_OF_USER = prepared(sa.delete(s.share_holders).where(_h.user_id == sa.bindparam("user")))
_TO_PRINCIPAL = prepared(
    sa.select(_c.id).where(_c.principal_id == sa.bindparam("whom"), _c.kind == sa.bindparam("kind"))
)


def _held(where: sa.ColumnElement[bool]) -> Statement:
    mine = sa.and_(_h.share_id == _c.id, _h.user_id == sa.bindparam("user"))
    return prepared(
        sa.select(*_COLUMNS, _h.state, _h.name)
        .join_from(s.shares, s.share_holders, mine, isouter=True)
        .where(where, _c.principal_id.in_(sa.bindparam("whom", expanding=True)))
        .order_by(_c.id)
        .limit(sa.bindparam("count"))
    )


_HELD = _held(_c.id > sa.bindparam("after"))
_HELD_ONE = _held(_c.id == sa.bindparam("id"))
_HELD_ON = _held(_c.node_id.in_(sa.bindparam("nodes", expanding=True)))


def _above_shared() -> Statement:
    """The shared nodes of a space that are at or below one node."""
    first = sa.select(_c.node_id.label("shared"), _c.node_id.label("id")).where(_c.space_id == sa.bindparam("space"))
    way = first.cte("way", recursive=True)
    step = sa.select(way.c.shared, s.nodes.c.parent_id).join(way, s.nodes.c.id == way.c.id)
    way = way.union(step.where(s.nodes.c.parent_id.is_not(None)))
    return prepared(sa.select(way.c.shared).where(way.c.id == sa.bindparam("node")).distinct())


_AT_OR_BELOW = _above_shared()


def by_id(tx: Transaction, share_id: Id) -> Share | None:
    """The row of a share."""
    row = tx.one(_BY_ID, {"id": share_id})
    return None if row is None else Share._make(row)


def _params(principal: Principal, **more: object) -> dict[str, object]:
    return {"user": principal.user_id, "whom": [principal.user_id, *sorted(principal.groups)], **more}


def _held_of(principal: Principal, row: tuple[object, ...]) -> Held | None:
    share = Share._make(row[: len(_COLUMNS)])
    if (share.kind != "group") != (share.principal_id == principal.user_id):
        return None
    state, name = row[len(_COLUMNS) :]
    return Held(share, "pending" if state is None else str(state), "" if name is None else str(name))


def held(tx: Transaction, principal: Principal, after: Id, count: int) -> list[Held]:
    """Shares given to a principal or their groups, in id order, whatever they made of them."""
    rows = tx.rows(_HELD, _params(principal, after=after, count=count))
    return [one for row in rows if (one := _held_of(principal, row)) is not None]


def held_one(tx: Transaction, principal: Principal, share_id: Id) -> Held | None:
    """One share given to a principal or their groups."""
    row = tx.one(_HELD_ONE, _params(principal, id=share_id, count=1))
    return None if row is None else _held_of(principal, row)


def reaching(tx: Transaction, principal: Principal, chain: Sequence[Id]) -> list[Held]:
    """The accepted shares by which a principal reaches the last node of a way down, the strongest first.

    ``chain``: the ids from the root of the space down to the node. Of equally strong shares the topmost comes first.
    """
    rows = tx.rows(_HELD_ON, _params(principal, nodes=list(chain), count=1_000))
    found = [one for row in rows if (one := _held_of(principal, row)) is not None and one.state == "accepted"]
    good = [one for one in found if is_founded(tx, one.share, chain)]
    return sorted(good, key=lambda one: (_STRENGTH[one.share.rights], chain.index(one.share.node_id), one.share.id))


def is_founded(tx: Transaction, share: Share, chain: Sequence[Id]) -> bool:
    """Whether every share that this one was passed on from is still there, on a node of the way down to it."""
    for _ in range(PASSED_ON_MAX + 1):
        if share.parent_id is None:
            return True
        parent = by_id(tx, share.parent_id)
        if parent is None or parent.node_id not in chain or not covers(parent.rights, share.rights):
            return False
        share = parent
    return False


def on_nodes(tx: Transaction, nodes: Sequence[Id]) -> list[Share]:
    """All shares on some nodes."""
    return [Share._make(row) for row in tx.rows(_ON_NODES, {"nodes": list(nodes)})] if nodes else []


def of_space(tx: Transaction, space_id: Id, after: Id, count: int) -> list[Share]:
    """Shares of a space with users and groups, in id order."""
    return [Share._make(row) for row in tx.rows(_OF_SPACE, {"space": space_id, "after": after, "count": count})]


def to_one(tx: Transaction, node_id: Id, kind: str, whom: Id) -> Share | None:
    """The share of a node that one user or group has."""
    row = tx.one(_TO_ONE, {"node": node_id, "kind": kind, "whom": whom})
    return None if row is None else Share._make(row)


def states(tx: Transaction, ids: Sequence[Id]) -> dict[tuple[Id, Id], str]:
    """What holders made of shares, by share and user."""
    return {(row[0], row[1]): row[2] for row in tx.rows(_STATES, {"ids": list(ids)})} if ids else {}


def insert(tx: Transaction, share: Share, *, on_node_max: int, in_space_max: int, to_one_max: int) -> None:
    """Give a share. Raises LimitReached."""
    for statement, params, limit, what in (
        (_COUNT_ON, {"node": share.node_id}, on_node_max, "shares of one file or directory"),
        (_COUNT_IN, {"space": share.space_id}, in_space_max, "shares in one space"),
        (_COUNT_TO, {"whom": share.principal_id}, to_one_max, f"shares given to one {share.kind}"),
    ):
        if (tx.value(statement, params) or 0) >= limit:
            raise LimitReached(f"there are {limit} {what} already: take one back first", limit=limit)
    tx.run(_INSERT, share._asdict())


def change(tx: Transaction, share: Share) -> None:
    """Write the rights of a share, and who gave it."""
    tx.run(
        _SET,
        {
            "share": share.id,
            "new_rights": share.rights,
            "new_may_share": share.may_share,
            "new_parent": share.parent_id,
            "new_giver": share.created_by,
        },
    )


def answer(tx: Transaction, share_id: Id, user_id: Id, state: str, name: str) -> None:
    """Note what a holder made of a share."""
    row = {"share_id": share_id, "user_id": user_id, "state": state, "name": name, "changed_us": tx.now_us}
    tx.run(_ANSWER, row)


def passed_on(tx: Transaction, share_ids: Collection[Id]) -> list[Share]:
    """All shares that came of some, from hand to hand."""
    found: list[Share] = []
    level = list(share_ids)
    for _ in range(PASSED_ON_MAX + 1):
        rows = [Share._make(row) for row in tx.rows(_PASSED_ON, {"parents": level})] if level else []
        found += rows
        level = [share.id for share in rows]
    return found


def remove(tx: Transaction, share_ids: Collection[Id]) -> None:
    """Take shares back, and all that came of them."""
    ids = sorted({*share_ids, *(share.id for share in passed_on(tx, share_ids))})
    if ids:
        tx.run(_DELETE_ANSWERS, {"ids": ids})
        tx.run(_DELETE_LINKS, {"ids": ids})
        tx.run(_DELETE, {"ids": ids})


def remove_on(tx: Transaction, nodes: Sequence[Id]) -> None:
    """Take back the shares of nodes that go, or that another owner gets."""
    remove(tx, [share.id for share in on_nodes(tx, nodes)])


def remove_to(tx: Transaction, kind: str, principal_id: Id) -> None:
    """Take back all that was given to a user or a group that goes, and the links that the user made."""
    if kind == "user":
        remove(tx, [row[0] for row in tx.rows(_LINKS_BY, {"user": principal_id})])
    remove(tx, [row[0] for row in tx.rows(_TO_PRINCIPAL, {"whom": principal_id, "kind": kind})])
    if kind == "user":
        tx.run(_DELETE_OF_USER, {"user": principal_id})


def moved(tx: Transaction, space_id: Id, node_id: Id, number: int) -> None:
    """Note that a node has another path: the paths in the journal before do not fit shares at or below it any more."""
    nodes = [row[0] for row in tx.rows(_AT_OR_BELOW, {"space": space_id, "node": node_id})]
    if nodes:
        tx.run(_SET_SINCE, {"nodes": nodes, "number": number})
