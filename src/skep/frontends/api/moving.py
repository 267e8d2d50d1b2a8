"""Accounts that come over, are taken along, or go."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.auth.leaving import IMPORT_MAX, Incoming
from skep.frontends.api.access_keys import AccessKey, access_key_record
from skep.frontends.api.audit import Entry, entry_record
from skep.frontends.api.auth_records import (
    AppPassword,
    Session,
    SshKey,
    User,
    app_password_record,
    id_or_name,
    session_record,
    ssh_key_record,
    user_record,
)
from skep.frontends.api.call import Call
from skep.frontends.api.factors import Again, Factor, factor_record
from skep.frontends.api.identity import Identity
from skep.frontends.api.operation import Operation

TAG = "users"


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """By name, after the name ``after``; ``hashes``: with what passwords are checked against."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    hashes: bool = False


class MovedUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A user between hives. ``password_hash``: an argon2id string."""

    name: str
    email: str = ""
    full_name: str = ""
    is_admin: bool = False
    is_active: bool = True
    groups: list[str] = []
    password_hash: str | None = None


class MovedUsers(msgspec.Struct, frozen=True):
    """``next``: there may be more after this name."""

    users: list[MovedUser]
    next: str | None


class IncomingUsers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most 500."""

    users: Annotated[list[MovedUser], Meta(max_length=IMPORT_MAX)]


class ImportedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one; ``code`` and ``detail`` say why not."""

    name: str
    code: str | None = None
    detail: str | None = None


class ImportedUsers(msgspec.Struct, frozen=True):
    """In the order in which they came."""

    users: list[ImportedUser]


class Grace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the account can still be brought back."""

    grace_s: float


class PersonalData(msgspec.Struct, frozen=True):
    """All that the hive knows of one's account; files are downloaded by themselves. No secrets."""

    user: User
    email_verified: bool
    groups: list[str]
    sessions: list[Session]
    app_passwords: list[AppPassword]
    ssh_keys: list[SshKey]
    access_keys: list[AccessKey]
    factors: list[Factor]
    recovery_codes_left: int
    identities: list[Identity]
    audit: list[Entry]


async def export_users(call: Call, query: ExportQuery) -> MovedUsers:
    """List users as another hive can take them."""
    found = await call.services.auth.export_users(
        call.principal, after=query.after, limit=query.limit, hashes=query.hashes
    )
    users = [
        MovedUser(
            name=one.info.name,
            email=one.info.email,
            full_name=one.info.full_name,
            is_admin=one.info.is_admin,
            is_active=one.info.state == "active",
            groups=list(one.groups),
            password_hash=one.password_hash,
        )
        for one in found
    ]
    return MovedUsers(users, found[-1].info.name if len(found) == query.limit else None)


async def import_users(call: Call, body: IncomingUsers) -> ImportedUsers:
    """Make users that come over from elsewhere, each by itself, with the groups that they name."""
    incoming = [Incoming(**msgspec.structs.asdict(one)) for one in body.users]
    done = await call.services.auth.import_users(call.principal, incoming)
    return ImportedUsers(
        [
            ImportedUser(one.name) if one.error is None else ImportedUser(one.name, one.error.code, one.error.message)
            for one in done
        ]
    )


async def schedule_deletion(call: Call, body: Grace) -> User:
    """Shut an account now, and delete it with its files after a time; to resume it calls that off."""
    user = id_or_name(call.path["user"])
    return user_record(await call.services.auth.schedule_deletion(call.principal, user, body.grace_s))


async def leave(call: Call, body: Again) -> User:
    """Give up one's own account: shut now, deleted with its files after ``auth.deletion_grace_s``."""
    return user_record(await call.services.auth.leave(call.principal, body.password))


async def get_personal_data(call: Call) -> PersonalData:
    """Show all that the hive knows of one's account."""
    found = await call.services.auth.personal_data(call.principal)
    return PersonalData(
        user=user_record(found["user"]),
        email_verified=found["email_verified"],
        groups=found["groups"],
        sessions=[session_record(one) for one in found["sessions"]],
        app_passwords=[app_password_record(one) for one in found["app_passwords"]],
        ssh_keys=[ssh_key_record(one) for one in found["ssh_keys"]],
        access_keys=[access_key_record(one) for one in found["access_keys"]],
        factors=[factor_record(one) for one in found["factors"]],
        recovery_codes_left=found["recovery_codes_left"],
        identities=[Identity(*one) for one in found["identities"]],
        audit=[entry_record(one) for one in found["audit"]],
    )


OPERATIONS = (
    Operation("GET", "/api/admin/users/export", export_users, "admin", TAG, admin=True),
    Operation("POST", "/api/admin/users/import", import_users, "admin", TAG, admin=True),
    Operation("POST", "/api/auth/users/{user}/deletion", schedule_deletion, "admin", TAG, admin=True),
    Operation("POST", "/api/auth/me/leave", leave, "account", "account"),
    Operation("GET", "/api/auth/me/data", get_personal_data, "account", "account"),
)
