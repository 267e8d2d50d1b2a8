"""Shares: access for other users and groups. An accepted share's id stands wherever the id of a space may."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import BadInput, InvalidCursor, MalformedRequest, ShareNotFound, SkepError
from skep.base.ids import Id, parse_id
from skep.filesystem import Rights, ShareKind
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import NodeRef, referred, space_id
from skep.frontends.api.operation import Answer, Operation
from skep.frontends.api.share_records import Held, Share, held_record, share_record

TAG = "shares"


class NewShare(NodeRef, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node, whom to give access to it (``user`` or ``group``: a name or an id), and what they may.

    ``rights``: read; write (read and change); upload (add files, see none). ``may_share``: a user may pass it on.
    """

    user: str | None = None
    group: str | None = None
    rights: Rights = "read"
    may_share: bool = False


class ShareChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    rights: Rights | None = None
    may_share: bool | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``accept``: true accepts, false declines; ``name``: the holder's own name for it."""

    accept: bool | None = None
    name: str | None = None


class SharesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page; ``after`` is the ``next`` of the page before."""

    space: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    after: str | None = None


class HeldQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page; ``after`` is the ``next`` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    after: str | None = None


class Shares(msgspec.Struct, frozen=True):
    """What is shared. ``next``: there may be more."""

    shares: list[Share]
    next: str | None


class HeldShares(msgspec.Struct, frozen=True):
    """What was shared with the caller. ``next``: there may be more."""

    shares: list[Held]
    next: str | None


async def give_share(call: Call, body: NewShare) -> Answer[Share]:
    """Share a file or a directory with a user or a group: 201, or 200 if their share was changed.

    It gives nothing before its holder accepts it. What is in it stays in its owner's space, which pays for all of it.
    """
    if (body.user is None) == (body.group is None):
        raise MalformedRequest("Say with whom to share: a `user` or a `group`, one of them.")
    kind: ShareKind = "user" if body.user is not None else "group"
    node = await referred(call, body)
    whom = _name_or_id(body.user or body.group or "")
    share, is_new = await call.services.filesystem.give_share(
        call.principal, node.id, kind, whom, body.rights, may_share=body.may_share
    )
    return Answer(share_record(share), 201 if is_new else 200)


async def list_shares(call: Call, query: SharesQuery) -> Shares:
    """List what is shared of a space; with the id of a share for ``space``, what the caller passed on of it."""
    found = await call.services.filesystem.shares_given(
        call.principal, space_id(query.space), query.limit, _after(query.after)
    )
    records = [share_record(share) for share in found]
    return Shares(records, records[-1].id if len(records) == query.limit else None)


async def list_held_shares(call: Call, query: HeldQuery) -> HeldShares:
    """List what was shared with the caller and their groups: pending, accepted and declined."""
    found = await call.services.filesystem.shares_held(call.principal, query.limit, _after(query.after))
    records = [held_record(share) for share in found]
    return HeldShares(records, records[-1].id if len(records) == query.limit else None)


async def get_share(call: Call) -> Share:
    """Show one share, to those who may change it."""
    return share_record(await call.services.filesystem.share(call.principal, call.id("share_id", ShareNotFound)))


async def change_share(call: Call, body: ShareChange) -> Share:
    """Change what a share allows. What was passed on of it and goes beyond that ends."""
    wanted = call.id("share_id", ShareNotFound)
    return share_record(
        await call.services.filesystem.change_share(call.principal, wanted, body.rights, body.may_share)
    )


async def revoke_share(call: Call) -> None:
    """Take a share back, with all that was passed on of it."""
    await call.services.filesystem.revoke_share(call.principal, call.id("share_id", ShareNotFound))


async def get_held_share(call: Call) -> Held:
    """Show one share that the caller or a group of theirs holds."""
    wanted = call.id("share_id", ShareNotFound)
    return held_record(await call.services.filesystem.share_held(call.principal, wanted))


async def answer_share(call: Call, body: Answered) -> Held:
    """Accept or decline a share, or give it another name. Of a group's share each member for themself."""
    if body.accept is None and body.name is None:
        raise BadInput("Say `accept` true or false, or give a `name`.")
    wanted = call.id("share_id", ShareNotFound)
    return held_record(
        await call.services.filesystem.answer_share(call.principal, wanted, accept=body.accept, name=body.name)
    )


def _name_or_id(text: str) -> Id | str:
    try:
        return parse_id(text)
    except SkepError:
        return text


def _after(text: str | None) -> Id:
    if text is None:
        return b""
    try:
        return parse_id(text)
    except SkepError:
        raise InvalidCursor(f"{text[:80]!r} is not the `next` of a page of shares.") from None


_SHARES = "/api/filesystem/shares"
OPERATIONS = (
    Operation("POST", _SHARES, give_share, "files:write", TAG, also=(201,)),
    Operation("GET", _SHARES, list_shares, "files:read", TAG),
    Operation("GET", f"{_SHARES}/held", list_held_shares, "files:read", TAG),
    Operation("GET", f"{_SHARES}/held/{{share_id}}", get_held_share, "files:read", TAG),
    Operation("POST", f"{_SHARES}/held/{{share_id}}", answer_share, "files:write", TAG),
    Operation("GET", f"{_SHARES}/{{share_id}}", get_share, "files:read", TAG),
    Operation("PATCH", f"{_SHARES}/{{share_id}}", change_share, "files:write", TAG),
    Operation("DELETE", f"{_SHARES}/{{share_id}}", revoke_share, "files:write", TAG, status=204),
)
