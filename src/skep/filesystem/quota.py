"""Quotas: a space may hold so many bytes, all versions and the trash counted, and of a person also their objects.

The quota of somebody whose content lies on their own stores alone does not count (``unmetered``: a policy says so).

Checked three times: before a body is taken (``require_room`` with the declared length), while it streams
(the service counts against ``room``), and in the transaction that commits it: ``charge`` is one guarded UPDATE, so
no number of writers at once gets past the quota.

A space may also have a limit of files and directories (and of a person, chunks). They are counted where it has one, in
the transaction that adds to them, which has locked the row of the space.
"""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.errors import QuotaExceeded, SpaceNotFound
from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import spaces
from skep.filesystem.spaces import Space

_c = s.spaces.c
_CHARGE = prepared(
    sa.update(s.spaces)
    .where(
        _c.id == sa.bindparam("space"),
        sa.or_(
            _c.quota_bytes.is_(None), _c.unmetered == 1, _c.used_bytes + sa.bindparam("size_bytes") <= _c.quota_bytes
        ),
    )
    .values(used_bytes=_c.used_bytes + sa.bindparam("size_bytes"))
)
_RETURN = prepared(
    sa.update(s.spaces)
    .where(_c.id == sa.bindparam("space"))
    .values(used_bytes=_c.used_bytes - sa.bindparam("size_bytes"))
)
_NODES = sa.select(s.nodes.c.id).where(s.nodes.c.space_id == sa.bindparam("space")).limit(sa.bindparam("most"))
_OBJECTS = sa.select(s.objects.c.id).where(s.objects.c.owner_id == sa.bindparam("owner")).limit(sa.bindparam("most"))
_COUNT_NODES = prepared(sa.select(sa.func.count()).select_from(_NODES.subquery()))
_COUNT_OBJECTS = prepared(sa.select(sa.func.count()).select_from(_OBJECTS.subquery()))


def objects_left(tx: Transaction, space: Space) -> int | None:
    """How many files, directories and chunks may still be added; None: any number. The root does not count."""
    if space.objects_max is None:
        return None
    most = space.objects_max + 2
    there = int(tx.value(_COUNT_NODES, {"space": space.id, "most": most}) or 0) - 1
    if space.kind == "personal":
        there += int(tx.value(_COUNT_OBJECTS, {"owner": space.owner_id, "most": most}) or 0)
    return max(0, space.objects_max - there)


def require_objects(tx: Transaction, space: Space, count: int) -> None:
    """Raise QuotaExceeded if so many more files and directories are too many. The space must be locked."""
    left = None if count <= 0 else objects_left(tx, space)
    if left is not None and count > left:
        raise too_many(space, count)


def too_many(space: Space, count: int) -> QuotaExceeded:
    """The error for files and directories that are too many."""
    if space.seen is not None:
        return QuotaExceeded("the space of this share holds as many files as it may: ask its owner to make room")
    return QuotaExceeded(
        f"{count} more do not fit: the space {space.name!r} may hold {space.objects_max} files and directories; "
        "delete some, empty the trash or ask for a higher quota",
        objects_max=space.objects_max,
    )


def room(space: Space) -> int | None:
    """Bytes that still fit; None: no limit."""
    return None if space.quota_bytes is None or space.unmetered else max(0, space.quota_bytes - space.used_bytes)


def require_room(space: Space, size_bytes: int) -> None:
    """Raise QuotaExceeded if so many more bytes do not fit."""
    left = room(space)
    if size_bytes > 0 and left is not None and size_bytes > left:
        raise exceeded(space, size_bytes)


def exceeded(space: Space, size_bytes: int) -> QuotaExceeded:
    """The error for bytes that do not fit. What the owner of a share uses is not for its holders."""
    if space.seen is not None:
        return QuotaExceeded(
            f"{size_bytes} bytes do not fit into the space of this share: ask its owner to make room",
            size_bytes=size_bytes,
        )
    return QuotaExceeded(
        f"{size_bytes} bytes do not fit: the space {space.name!r} uses {space.used_bytes} of {space.quota_bytes}; "
        "delete old versions, empty the trash or ask for a higher quota",
        size_bytes=size_bytes,
        used_bytes=space.used_bytes,
        quota_bytes=space.quota_bytes,
    )


def charge(tx: Transaction, space: Space, size_bytes: int) -> None:
    """Count new bytes to a space, or raise QuotaExceeded and count nothing. Locks the row of the space."""
    if size_bytes <= 0:
        give_back(tx, space.id, -size_bytes)
    elif not tx.run(_CHARGE, {"space": space.id, "size_bytes": size_bytes}):
        now = spaces.by_id(tx, space.id)
        if now is None:
            raise SpaceNotFound("no such space")
        raise exceeded(now._replace(seen=space.seen), size_bytes)


def give_back(tx: Transaction, space_id: Id, size_bytes: int) -> None:
    """Count bytes of a space as gone. Locks the row of the space."""
    if not tx.run(_RETURN, {"space": space_id, "size_bytes": size_bytes}):
        raise SpaceNotFound("no such space")


class SpaceRooms:
    """Lets the room of somebody's plan be the quota of their space: fills the ``Spaces`` of ``credit``."""

    def __init__(self, usual_bytes: int | None) -> None:
        """``usual_bytes``: the quota of a new space; None: no limit."""
        self._usual_bytes = usual_bytes

    def set_room(
        self, tx: Transaction, kind: str, owner_id: Id, quota_bytes: int | None, objects_max: int | None
    ) -> None:
        """Let the space of a ``user`` or a ``group`` hold so many bytes (None: as many as a new one) and objects."""
        space = spaces.of_owner(tx, "personal" if kind == "user" else "group", owner_id)
        if space is not None:
            spaces.set_quota(tx, space.id, self._usual_bytes if quota_bytes is None else quota_bytes)
            spaces.set_objects_max(tx, space.id, objects_max)

    def set_objects(self, tx: Transaction, kind: str, owner_id: Id, objects_max: int | None) -> None:
        """Let the space of a ``user`` or a ``group`` hold so many files and directories; None: any number."""
        space = spaces.of_owner(tx, "personal" if kind == "user" else "group", owner_id)
        if space is not None:
            spaces.set_objects_max(tx, space.id, objects_max)


class PersonalSpaces:
    """Objects count against the personal space of their owner: fills the ``Payer`` of ``durability.objects``."""

    def room(self, tx: Transaction, owner_id: Id) -> int | None:
        """Bytes that still fit; None: no limit. Raises SpaceNotFound."""
        return room(_personal(tx, owner_id))

    def charge(self, tx: Transaction, owner_id: Id, size_bytes: int) -> None:
        """Count an object and its bytes, or raise QuotaExceeded and count nothing."""
        space = _personal(tx, owner_id)
        if space.objects_max is not None:
            require_objects(tx, spaces.lock(tx, space.id), 1)
        charge(tx, space, size_bytes)

    def give_back(self, tx: Transaction, owner_id: Id, size_bytes: int) -> None:
        """Count bytes as gone."""
        give_back(tx, _personal(tx, owner_id).id, size_bytes)


def _personal(tx: Transaction, owner_id: Id) -> Space:
    space = spaces.of_owner(tx, "personal", owner_id)
    if space is None:
        raise SpaceNotFound("there is no personal space to count this against")
    return space
