"""Write locks that clients hold on nodes, enforced on every change of a tree, whichever door it comes through.

What always holds:
- a lock is on a node and, if deep, on all that is below it; it ends with its time, with UNLOCK, and when its node goes
  away from where it is (trash, move): locks belong to places, not to what is moved (RFC 4918 section 7);
- an exclusive lock is alone on whatever it covers; shared ones are with shared ones;
- ``spaces.locked_until_us`` is not before the end of any lock in the space, so who finds it in the past need not look;
- writers and lockers hold the row of the space, so a lock never comes between a check and its change.

Whoever changes something must, for every lock that covers it, know the token of one of them and be the user it was
given to. A change of content or facts is covered by locks on the node and deep ones above; a new or vanishing name also
by any lock on the directory that it is in; a removal also by the locks below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import LimitReached, Locked, NodeNotFound
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem import tree, views
from skep.filesystem.books import Books
from skep.filesystem.names import Segments
from skep.filesystem.spaces import Space

LOCKS_MAX = 10_000
"""Locks in force in one space."""


class Lock(NamedTuple):
    """A row of ``locks``."""

    token: Id
    space_id: Id
    node_id: Id
    is_shared: int
    is_deep: int
    owner: str
    user_id: Id
    created_us: int
    expires_us: int


_c = s.locks.c
_COLUMNS = tuple(_c[name] for name in Lock._fields)
_INSERT = insert_new(s.locks)
_IN_FORCE = prepared(
    sa.select(*_COLUMNS)
    .where(_c.space_id == sa.bindparam("space"), _c.expires_us > sa.bindparam("now_us"))
    .order_by(_c.created_us, _c.token)
)
_END = prepared(sa.delete(s.locks).where(_c.token == sa.bindparam("which")))
_EXTEND = prepared(
    sa.update(s.locks).where(_c.token == sa.bindparam("which")).values(expires_us=sa.bindparam("end_us"))
)
_LAST = prepared(sa.select(sa.func.max(_c.expires_us)).where(_c.space_id == sa.bindparam("space")))
_SET_UNTIL = prepared(
    sa.update(s.spaces).where(s.spaces.c.id == sa.bindparam("space")).values(locked_until_us=sa.bindparam("until_us"))
)
_EXPIRED = prepared(
    sa.select(_c.token)
    .where(_c.expires_us <= sa.bindparam("now_us"))
    .order_by(_c.expires_us)
    .limit(sa.bindparam("count"))
)


def any_in_force(tx: Transaction, space: Space) -> bool:
    """Whether there may be a lock in the space."""
    return space.locked_until_us > tx.now_us


def in_force(tx: Transaction, space: Space) -> list[Lock]:
    """The locks of a space that have not ended, the oldest first."""
    if not any_in_force(tx, space):
        return []
    return [Lock._make(row) for row in tx.rows(_IN_FORCE, {"space": space.id, "now_us": tx.now_us})]


def covering(locks: Iterable[Lock], chain: Sequence[Id], node_id: Id | None) -> list[Lock]:
    """Those that cover a node below the directories ``chain``; ``node_id`` None: a node that is not there."""
    return [one for one in locks if one.node_id == node_id or (one.is_deep and one.node_id in chain)]


def below(tx: Transaction, locks: Iterable[Lock], node_id: Id) -> list[Lock]:
    """Those on nodes at or below a node."""
    found = []
    for one in locks:
        if one.node_id == node_id:
            found.append(one)
            continue
        try:
            if node_id in tree.above(tx, one.node_id).chain:
                found.append(one)
        except NodeNotFound:
            continue  # purged: its lock only waits for the end of its time
    return found


def require_writable(
    tx: Transaction, books: Books, space: Space, actor_id: Id | None, chain: Sequence[Id], node_id: Id | None
) -> None:
    """Raise Locked if a lock forbids to change a node; with ``node_id`` None: to add a name to ``chain[-1]``."""
    locks = in_force(tx, space)
    if not locks:
        return
    _require(tx, books, space, actor_id, covering(locks, chain, node_id))
    if node_id is None and chain:
        _require(tx, books, space, actor_id, covering(locks, chain[:-1], chain[-1]))


def require_removable(
    tx: Transaction, books: Books, space: Space, actor_id: Id | None, chain: Sequence[Id], node_id: Id
) -> None:
    """Raise Locked if a lock forbids that a node, with all below it, leaves its directory."""
    locks = in_force(tx, space)
    if not locks:
        return
    _require(tx, books, space, actor_id, covering(locks, chain, node_id))
    if chain:
        _require(tx, books, space, actor_id, covering(locks, chain[:-1], chain[-1]))
    inside = below(tx, locks, node_id)
    for place in {one.node_id for one in inside}:
        _require(tx, books, space, actor_id, [one for one in inside if one.node_id == place])


def _require(tx: Transaction, books: Books, space: Space, actor_id: Id | None, locks: Sequence[Lock]) -> None:
    if not locks or any(one.token in books.lock_tokens and one.user_id == actor_id for one in locks):
        return
    raise refusal(tx, space, locks[0])


def path_of(tx: Transaction, space: Space, lock: Lock) -> str:
    """Where a lock that covers something seen is, in what is seen: ``/`` for one on a directory above that."""
    try:
        return views.above(tx, space, lock.node_id).path
    except NodeNotFound:
        return "/"


def refusal(tx: Transaction, space: Space, lock: Lock) -> Locked:
    """The error for what a lock forbids; its ``path`` is that of the locked node."""
    path = path_of(tx, space, lock)
    left_s = max(1, (lock.expires_us - tx.now_us) // 1_000_000)
    return Locked(
        f'"{path}" is locked for up to {left_s} s more: wait for its holder, or present the token of the lock',
        path=path,
    )


def look_before(tx: Transaction, books: Books, space: Space, actor_id: Id, segments: Segments) -> None:
    """Refuse a body before it is taken, as things stand now. Raises Locked."""
    if not any_in_force(tx, space) or not segments or space.is_dropbox:
        return
    place = views.resolve(tx, space, segments)
    node_id = None if place.node is None else place.node.id
    require_writable(tx, books, space, actor_id, place.chain, node_id)


def add(tx: Transaction, space: Space, lock: Lock, chain: Sequence[Id], *, is_directory: bool) -> None:
    """Give a lock on a node below ``chain``; the space must be locked. Raises Locked, LimitReached."""
    locks = in_force(tx, space)
    if len(locks) >= LOCKS_MAX:
        raise LimitReached(f"{LOCKS_MAX} locks are in force in this space, and no more are given", limit=LOCKS_MAX)
    against = covering(locks, chain, lock.node_id)
    if lock.is_deep and is_directory:
        against += below(tx, locks, lock.node_id)
    for other in against:
        if not (lock.is_shared and other.is_shared):
            raise refusal(tx, space, other)
    tx.run(_INSERT, lock._asdict())
    if lock.expires_us > space.locked_until_us:
        _set_until(tx, space.id, lock.expires_us)


def extend(tx: Transaction, space: Space, lock: Lock, expires_us: int) -> Lock:
    """Give a lock another end."""
    tx.run(_EXTEND, {"which": lock.token, "end_us": expires_us})
    if expires_us > space.locked_until_us:
        _set_until(tx, space.id, expires_us)
    return lock._replace(expires_us=expires_us)


def end(tx: Transaction, space: Space, locks: Iterable[Lock]) -> None:
    """Take locks off."""
    ended = False
    for lock in locks:
        tx.run(_END, {"which": lock.token})
        ended = True
    if ended:
        _set_until(tx, space.id, tx.value(_LAST, {"space": space.id}) or 0)


def end_below(tx: Transaction, space: Space, node_id: Id) -> None:
    """Take all locks off a node and what is below it, because it goes elsewhere."""
    end(tx, space, below(tx, in_force(tx, space), node_id))


def _set_until(tx: Transaction, space_id: Id, until_us: int) -> None:
    tx.run(_SET_UNTIL, {"space": space_id, "until_us": until_us})


def drop_expired(tx: Transaction, count: int) -> int:
    """Delete up to ``count`` rows of locks that have ended; how many."""
    tokens = [row[0] for row in tx.rows(_EXPIRED, {"now_us": tx.now_us, "count": count})]
    for token in tokens:
        tx.run(_END, {"which": token})
    return len(tokens)
