"""The room that users and groups have, for administrators: its size and its limit, never what is in it."""

from __future__ import annotations

from skep.filesystem import SpaceInfo
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.info import SpaceChange
from skep.frontends.api.operation import Operation
from skep.frontends.api.records import Space, space_record

TAG = "users"


async def get_user_space(call: Call) -> Space:
    """Show how much a user's space holds and may hold."""
    return space_record(await _user_space(call))


async def change_user_space(call: Call, body: SpaceChange) -> Space:
    """Set the quota of a user's space; null is no limit."""
    return await _set_quota(call, await _user_space(call), body)


async def get_group_space(call: Call) -> Space:
    """Show how much a group's space holds and may hold."""
    return space_record(await _group_space(call))


async def change_group_space(call: Call, body: SpaceChange) -> Space:
    """Set the quota of a group's space; null is no limit."""
    return await _set_quota(call, await _group_space(call), body)


async def _user_space(call: Call) -> SpaceInfo:
    user = await call.services.auth.get_user(call.principal, id_or_name(call.path["user"]))
    return await call.services.filesystem.space_of_owner(call.principal, "personal", user.id)


async def _group_space(call: Call) -> SpaceInfo:
    detail = await call.services.auth.get_group(call.principal, id_or_name(call.path["group"]))
    return await call.services.filesystem.space_of_owner(call.principal, "group", detail.group.id)


async def _set_quota(call: Call, space: SpaceInfo, change: SpaceChange) -> Space:
    return space_record(await call.services.filesystem.set_quota(call.principal, space.id, change.quota_bytes))


_USER, _GROUP = "/api/auth/users/{user}/space", "/api/auth/groups/{group}/space"
OPERATIONS = (
    Operation("GET", _USER, get_user_space, "admin", TAG, admin=True),
    Operation("PATCH", _USER, change_user_space, "admin", TAG, admin=True),
    Operation("GET", _GROUP, get_group_space, "admin", "groups", admin=True),
    Operation("PATCH", _GROUP, change_group_space, "admin", "groups", admin=True),
)
