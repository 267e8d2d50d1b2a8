"""One's own account: profile, password, sessions, app passwords."""

from __future__ import annotations

import msgspec

from skep.base.errors import NotFound
from skep.base.ids import Id
from skep.frontends.api.auth_records import (
    AppPassword,
    Session,
    SshKey,
    Tokens,
    User,
    app_password_record,
    id_or_name,
    session_record,
    ssh_key_record,
    tokens_record,
    user_record,
)
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "account"


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; an empty ``email`` removes the address."""

    email: str | None = None
    full_name: str | None = None


class NewPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password that counts now, and the one that shall."""

    old_password: str
    new_password: str
    agent: str = ""


class NewAppPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``scopes``: files:read and files:write unless given; ``expires_in_s``: never unless given."""

    name: str
    scopes: tuple[str, ...] = ("files:read", "files:write")
    expires_in_s: float | None = None


class OfUser(msgspec.Struct, frozen=True, kw_only=True):
    """``user``: another's, by id or name (administrators)."""

    user: str = ""


class Ended(msgspec.Struct, frozen=True):
    """How many sessions ended."""

    sessions: int


class Sessions(msgspec.Struct, frozen=True):
    """Newest first."""

    sessions: list[Session]


class AppPasswords(msgspec.Struct, frozen=True):
    """Oldest first."""

    app_passwords: list[AppPassword]


class NewSshKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``public_key``: the line of a ``.pub`` file; ``name``: its comment unless given."""

    public_key: str
    name: str = ""
    scopes: tuple[str, ...] = ("files:read", "files:write")


class SshKeys(msgspec.Struct, frozen=True):
    """Oldest first."""

    ssh_keys: list[SshKey]


async def get_me(call: Call) -> User:
    """Show who the credential acts for."""
    return user_record(await call.services.auth.me(call.principal))


async def change_me(call: Call, body: Profile) -> User:
    """Change one's own e-mail address or full name."""
    principal = call.principal
    return user_record(
        await call.services.auth.update_user(principal, principal.user_id, email=body.email, full_name=body.full_name)
    )


async def change_password(call: Call, body: NewPassword) -> Tokens:
    """Set a new password. All sessions end; the answer begins a new one. App passwords stay."""
    pair = await call.services.auth.change_password(call.principal, body.old_password, body.new_password, body.agent)
    return tokens_record(pair)


async def _user_id(call: Call, query: OfUser) -> Id | None:
    """The user that a query names, if any."""
    return (await call.services.auth.get_user(call.principal, id_or_name(query.user))).id if query.user else None


async def list_sessions(call: Call, query: OfUser) -> Sessions:
    """List one's own sessions; administrators also another's."""
    found = await call.services.auth.list_sessions(call.principal, await _user_id(call, query))
    return Sessions([session_record(session) for session in found])


async def revoke_other_sessions(call: Call, query: OfUser) -> Ended:
    """End all of one's own sessions but this one; administrators also all of another's."""
    return Ended(await call.services.auth.revoke_other_sessions(call.principal, await _user_id(call, query)))


async def revoke_session(call: Call) -> None:
    """End a session."""
    await call.services.auth.revoke_session(call.principal, call.id("session_id", NotFound))


async def list_app_passwords(call: Call) -> AppPasswords:
    """List one's own app passwords, without their secrets."""
    found = await call.services.auth.list_app_passwords(call.principal)
    return AppPasswords([app_password_record(info) for info in found])


async def create_app_password(call: Call, body: NewAppPassword) -> AppPassword:
    """Make a password for one program; its secret is in this answer only."""
    made = await call.services.auth.create_app_password(
        call.principal, body.name, scopes=body.scopes, expires_in_s=body.expires_in_s
    )
    return app_password_record(made.info, made.secret)


async def revoke_app_password(call: Call) -> None:
    """Make an app password useless at once."""
    await call.services.auth.revoke_app_password(call.principal, call.id("app_password_id", NotFound))


async def list_ssh_keys(call: Call) -> SshKeys:
    """List one's own SSH keys."""
    return SshKeys([ssh_key_record(info) for info in await call.services.auth.list_ssh_keys(call.principal)])


async def add_ssh_key(call: Call, body: NewSshKey) -> SshKey:
    """Let whoever holds the private half of a key sign in over SFTP."""
    return ssh_key_record(
        await call.services.auth.add_ssh_key(call.principal, body.public_key, body.name, scopes=body.scopes)
    )


async def remove_ssh_key(call: Call) -> None:
    """Take an SSH key away."""
    await call.services.auth.remove_ssh_key(call.principal, call.id("ssh_key_id", NotFound))


OPERATIONS = (
    Operation("GET", "/api/auth/me", get_me, "", TAG),
    Operation("PATCH", "/api/auth/me", change_me, "account", TAG),
    Operation("POST", "/api/auth/password", change_password, "account", TAG),
    Operation("GET", "/api/auth/sessions", list_sessions, "account", TAG),
    Operation("DELETE", "/api/auth/sessions", revoke_other_sessions, "account", TAG),
    Operation("DELETE", "/api/auth/sessions/{session_id}", revoke_session, "account", TAG, status=204),
    Operation("GET", "/api/auth/app-passwords", list_app_passwords, "account", TAG),
    Operation("POST", "/api/auth/app-passwords", create_app_password, "account", TAG, status=201),
    Operation("DELETE", "/api/auth/app-passwords/{app_password_id}", revoke_app_password, "account", TAG, status=204),
    Operation("GET", "/api/auth/ssh-keys", list_ssh_keys, "account", TAG),
    Operation("POST", "/api/auth/ssh-keys", add_ssh_key, "account", TAG, status=201),
    Operation("DELETE", "/api/auth/ssh-keys/{ssh_key_id}", remove_ssh_key, "account", TAG, status=204),
)
