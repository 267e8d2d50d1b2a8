"""Groups and who is in them; ``{group}`` and ``{user}`` are ids or names."""

from __future__ import annotations

import msgspec

from skep.frontends.api.auth_records import (
    Group,
    GroupWithMembers,
    group_record,
    id_or_name,
    members_record,
)
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.api.users import PageQuery

TAG = "groups"


class NewGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a group, which has a space of its own, is called."""

    name: str


class Membership(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``role``: ``member`` or ``manager``."""

    role: str = "member"


class Groups(msgspec.Struct, frozen=True):
    """``next``: there may be more after this name."""

    groups: list[Group]
    next: str | None


async def list_groups(call: Call, query: PageQuery) -> Groups:
    """List one's own groups, or as an administrator all."""
    found = await call.services.auth.list_groups(call.principal, after=query.after, limit=query.limit)
    return Groups([group_record(group) for group in found], found[-1].name if len(found) == query.limit else None)


async def create_group(call: Call, body: NewGroup) -> Group:
    """Make an empty group with a space."""
    return group_record(await call.services.auth.create_group(call.principal, body.name))


async def get_group(call: Call) -> GroupWithMembers:
    """Show a group and who is in it."""
    return members_record(await call.services.auth.get_group(call.principal, id_or_name(call.path["group"])))


async def change_group(call: Call, body: NewGroup) -> Group:
    """Give a group, and its space, another name."""
    group = id_or_name(call.path["group"])
    return group_record(await call.services.auth.rename_group(call.principal, group, body.name))


async def delete_group(call: Call) -> None:
    """Delete a group; 409 while its space has files."""
    await call.services.auth.delete_group(call.principal, id_or_name(call.path["group"]))


async def put_member(call: Call, body: Membership) -> GroupWithMembers:
    """Put a user into a group, or change the role there."""
    detail = await call.services.auth.add_member(
        call.principal, id_or_name(call.path["group"]), id_or_name(call.path["user"]), body.role
    )
    return members_record(detail)


async def remove_member(call: Call) -> None:
    """Take a user out of a group."""
    await call.services.auth.remove_member(
        call.principal, id_or_name(call.path["group"]), id_or_name(call.path["user"])
    )


OPERATIONS = (
    Operation("GET", "/api/auth/groups", list_groups, "account", TAG),
    Operation("POST", "/api/auth/groups", create_group, "admin", TAG, admin=True, status=201),
    Operation("GET", "/api/auth/groups/{group}", get_group, "account", TAG),
    Operation("PATCH", "/api/auth/groups/{group}", change_group, "admin", TAG, admin=True),
    Operation("DELETE", "/api/auth/groups/{group}", delete_group, "admin", TAG, admin=True, status=204),
    Operation("PUT", "/api/auth/groups/{group}/members/{user}", put_member, "account", TAG),
    Operation("DELETE", "/api/auth/groups/{group}/members/{user}", remove_member, "account", TAG, status=204),
)
