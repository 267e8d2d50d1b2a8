"""Who may do what: every way from an id or a path to a node passes here.

What is not a principal's own, or their groups', and was not shared with them, does not exist for them: SpaceNotFound,
NodeNotFound. What a share lets them know of but not do is Forbidden.

    whole space         its owner, a member of its group, the hive's own workers: read, create, write
    share "write"       read, create, write, from the shared node down
    share "read"        read
    share "upload"      create: new files; nothing in it exists for its holder
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.auth.groups import role_in
from skep.base.errors import Forbidden, NodeNotFound, SpaceNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import shares, spaces, trash, tree, views
from skep.filesystem.moves import Source
from skep.filesystem.shares import Held, Need
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal


def space(tx: Transaction, principal: Principal, space_id: Id | None, need: Need | None) -> Space:
    """A space or a share, by its id; the principal's own space if none is given. Raises SpaceNotFound, Forbidden.

    ``need`` None: only to know that it is there.
    """
    if space_id is None:
        own = spaces.of_owner(tx, "personal", principal.user_id)
        return spaces.used_by(principal, own, SpaceNotFound(f"{principal.name!r} has no space of their own"))
    missing = SpaceNotFound("no such space")
    found = spaces.by_id(tx, space_id)
    if found is not None:
        return spaces.used_by(principal, found, missing)
    held = shares.held_one(tx, principal, space_id)
    if held is None or held.state != "accepted":
        raise missing
    seen = _through(tx, held)
    if seen is None:
        raise missing
    return seen if need is None else _granting(seen, need)


def visible(tx: Transaction, principal: Principal, count_max: int) -> list[Space]:
    """All spaces of a principal, the personal one first; then the shares that they accepted, by name."""
    accepted = [held for held in shares.held(tx, principal, b"", count_max) if held.state == "accepted"]
    seen = [one for held in accepted if (one := _through(tx, held)) is not None]
    return [*spaces.visible(tx, principal), *sorted(seen, key=lambda one: (name_of(one), one.seen_id))]


def name_of(one: Space) -> str:
    """What the principal calls a space or a share."""
    return one.name if one.seen is None else one.seen.held.name


def _through(tx: Transaction, held: Held) -> Space | None:
    """A space through a share; None while the shared node is in the trash, or the share is unfounded."""
    whole = spaces.by_id(tx, held.share.space_id)
    if whole is None:
        return None
    try:
        seen = views.through(tx, whole, held)
    except SpaceNotFound:
        return None
    return seen if shares.is_founded(tx, held.share, seen.base) else None


def _granting(seen: Space, need: Need) -> Space:
    """The view, if its rights are enough. Raises Forbidden."""
    if seen.seen is not None and not seen.seen.held.share.grants(need):
        held = seen.seen.held
        may = "look at it" if held.share.rights == "read" else "add files to it, without seeing any"
        raise Forbidden(f"the share {held.name!r} lets you {may}: ask its owner for more", rights=held.share.rights)
    return seen


def living(tx: Transaction, principal: Principal, node_id: Id, need: Need) -> Source:
    """A node in a tree that the principal may know of. Raises NodeNotFound, Forbidden."""
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory")
    if both is None:
        raise missing
    node, of_node = both
    above = tree.above(tx, node_id)
    if above.top_id != of_node.root_id:
        raise missing
    if spaces.may_use(principal, of_node):
        return Source(of_node, node, above)
    reaching = shares.reaching(tx, principal, (*above.chain, node_id))
    if not any(held.share.grants("read") for held in reaching):
        raise missing
    seen = _granting(views.through(tx, of_node, reaching[0]), need)
    return Source(seen, node, views.above(tx, seen, node_id))


def living_file(tx: Transaction, principal: Principal, node_id: Id, need: Need) -> Source:
    """``living`` for what must be a file. Raises NodeNotFound, Forbidden."""
    source = living(tx, principal, node_id, need)
    if source.node.is_directory:
        raise NodeNotFound(f'file "{source.path}" does not exist: it is a directory', path=source.path)
    return source


def trashed(tx: Transaction, principal: Principal, node_id: Id) -> Space:
    """The space of a node that may be in its trash; for holders of a share, what was deleted inside it.

    Raises NodeNotFound, Forbidden.
    """
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory in the trash")
    if both is None:
        raise missing
    if spaces.may_use(principal, both[1]):
        return both[1]
    entry = trash.entry(tx, node_id)
    if entry is None:
        raise missing
    try:
        return living(tx, principal, entry[2], "write").space
    except NodeNotFound:
        raise missing from None


def require_owner(tx: Transaction, principal: Principal, space: Space, what: str) -> None:
    """Raise Forbidden unless a space that the principal uses is their own, or that of a group that they manage."""
    if space.kind == "group" and role_in(tx, space.owner_id, principal.user_id) != "manager":
        raise Forbidden(f"only managers of {space.name!r} may {what}")


def owned(space: Space, what: str) -> Space:
    """The space, if it is seen as a whole. Raises Forbidden: ``what`` is for its owner."""
    if space.seen is not None:
        raise Forbidden(f"only the owner of what is shared may {what}")
    return space
