"""Users, for administrators; ``{user}`` is an id or a name."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.frontends.api.auth_records import User, id_or_name, user_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "users"


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """By name, after the name ``after``."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a password nobody can log in to the account yet."""

    name: str
    password: str | None = None
    email: str = ""
    full_name: str = ""
    is_admin: bool = False


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change. ``is_active`` false suspends: every credential is void at once."""

    name: str | None = None
    email: str | None = None
    full_name: str | None = None
    is_admin: bool | None = None
    password: str | None = None
    is_active: bool | None = None


class Users(msgspec.Struct, frozen=True):
    """``next``: there may be more after this name."""

    users: list[User]
    next: str | None


async def list_users(call: Call, query: PageQuery) -> Users:
    """List users by name."""
    found = await call.services.auth.list_users(call.principal, after=query.after, limit=query.limit)
    return Users([user_record(user) for user in found], found[-1].name if len(found) == query.limit else None)


async def create_user(call: Call, body: NewUser) -> User:
    """Make an account for somebody."""
    user = await call.services.auth.create_user(
        call.principal, body.name, body.password, email=body.email, full_name=body.full_name, is_admin=body.is_admin
    )
    return user_record(user)


async def get_user(call: Call) -> User:
    """Show a user: oneself, or as an administrator anybody."""
    return user_record(await call.services.auth.get_user(call.principal, id_or_name(call.path["user"])))


async def change_user(call: Call, body: UserChange) -> User:
    """Change a user's profile, role, password or state."""
    auth, user = call.services.auth, id_or_name(call.path["user"])
    changed = await auth.update_user(
        call.principal,
        user,
        name=body.name,
        email=body.email,
        full_name=body.full_name,
        is_admin=body.is_admin,
        password=body.password,
    )
    if body.is_active is not None:
        set_state = auth.resume_user if body.is_active else auth.suspend_user
        changed = await set_state(call.principal, changed.id)
    return user_record(changed)


async def delete_user(call: Call) -> None:
    """Delete a user; 409 while something of theirs stands in the way."""
    await call.services.auth.delete_user(call.principal, id_or_name(call.path["user"]))


OPERATIONS = (
    Operation("GET", "/api/auth/users", list_users, "admin", TAG, admin=True),
    Operation("POST", "/api/auth/users", create_user, "admin", TAG, admin=True, status=201),
    Operation("GET", "/api/auth/users/{user}", get_user, "account", TAG),
    Operation("PATCH", "/api/auth/users/{user}", change_user, "account", TAG),
    Operation("DELETE", "/api/auth/users/{user}", delete_user, "admin", TAG, admin=True, status=204),
)
