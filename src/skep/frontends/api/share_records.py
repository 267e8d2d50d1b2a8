"""The JSON of shares."""

from __future__ import annotations

import msgspec

from skep.filesystem import HeldShare, ShareInfo
from skep.frontends.common.id_text import text_of, text_or_none


class Holder(msgspec.Struct, frozen=True):
    """The user or the group that was given access."""

    kind: str
    """``user`` or ``group``."""
    id: str
    name: str


class Share(msgspec.Struct, frozen=True):
    """Access given to a user or a group on a node and all below it."""

    id: str
    node_id: str
    space_id: str
    """The space, or the share that it was passed on from."""
    path: str | None
    """None: in the trash."""
    holder: Holder
    rights: str
    """``read``, ``write`` or ``upload``."""
    may_share: bool
    state: str | None
    """``pending``, ``accepted`` or ``declined``; None of a group: each member answers for themself."""
    created_by: str
    created_us: int


class Held(msgspec.Struct, frozen=True):
    """A share as its holder sees it. Accepted, its ``id`` stands wherever the id of a space may."""

    id: str
    name: str
    """The caller's own name for it."""
    node_id: str
    node_kind: str
    rights: str
    may_share: bool
    state: str
    owner: str
    """The name of the space that it is in: its owner's."""
    given_by: str
    group_id: str | None
    """The caller's group that it was given to; None: to the caller."""
    created_us: int


def share_record(share: ShareInfo) -> Share:
    """The JSON of a share for who gave it."""
    return Share(
        id=text_of(share.id),
        node_id=text_of(share.node_id),
        space_id=text_of(share.space_id),
        path=share.path,
        holder=Holder(share.kind, text_of(share.principal_id), share.principal_name),
        rights=share.rights,
        may_share=share.may_share,
        state=share.state,
        created_by=text_of(share.created_by),
        created_us=share.created_us,
    )


def held_record(share: HeldShare) -> Held:
    """The JSON of a share for who holds it."""
    return Held(
        id=text_of(share.id),
        name=share.name,
        node_id=text_of(share.node_id),
        node_kind=share.node_kind,
        rights=share.rights,
        may_share=share.may_share,
        state=share.state,
        owner=share.owner,
        given_by=text_of(share.given_by),
        group_id=text_or_none(share.group_id),
        created_us=share.created_us,
    )
