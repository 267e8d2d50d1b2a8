"""Invites: rights to register, given out by administrators."""

from __future__ import annotations

import msgspec

from skep.base.errors import GroupNotFound, NotFound, SkepError
from skep.base.ids import Id, parse_id
from skep.frontends.api.auth_records import Invite, invite_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "invites"


class NewInvite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who registers with it joins the group, if one is given."""

    uses: int = 1
    expires_in_s: float | None = None
    group_id: str | None = None
    is_admin: bool = False


class Invites(msgspec.Struct, frozen=True):
    """Those that can still be used, oldest first."""

    invites: list[Invite]


async def list_invites(call: Call) -> Invites:
    """List the invites that can still be used."""
    return Invites([invite_record(info) for info in await call.services.auth.list_invites(call.principal)])


async def create_invite(call: Call, body: NewInvite) -> Invite:
    """Make an invite; its token is in this answer only."""
    made = await call.services.auth.create_invite(
        call.principal,
        uses=body.uses,
        expires_in_s=body.expires_in_s,
        group_id=_group_id(body.group_id),
        is_admin=body.is_admin,
    )
    return invite_record(made.info, made.token)


async def revoke_invite(call: Call) -> None:
    """Make an invite useless."""
    await call.services.auth.revoke_invite(call.principal, call.id("invite_id", NotFound))


def _group_id(text: str | None) -> Id | None:
    if text is None:
        return None
    try:
        return parse_id(text)
    except SkepError:
        raise GroupNotFound(f"There is no group with the id {text[:64]!r}.") from None


OPERATIONS = (
    Operation("GET", "/api/auth/invites", list_invites, "admin", TAG, admin=True),
    Operation("POST", "/api/auth/invites", create_invite, "admin", TAG, admin=True, status=201),
    Operation("DELETE", "/api/auth/invites/{invite_id}", revoke_invite, "admin", TAG, admin=True, status=204),
)
