"""Who somebody is: logging in and out, one's own account, users, groups, invites, app passwords."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from skep.base.clock import Clock, SystemClock
from skep.client.calls import Caller
from skep.client.sessions import Tokens

AUTH = "/api/auth"
PAGE_ITEMS = 500
Record: TypeAlias = dict[str, Any]
"""What the API tells of one thing."""


class Accounts:
    """Calls of ``/api/auth``. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller, clock: Clock | None = None) -> None:
        self._caller = caller
        self._clock = clock or SystemClock()

    def login(self, name: str, password: str) -> Tokens:
        """Exchange a name and password for tokens. Raises BadCredentials, RateLimited; SecondFactorNeeded."""
        return self._tokens(f"{AUTH}/login", {"name": name, "password": password})

    def answer(self, question: str, code: str) -> Tokens:
        """Answer the ``question`` of SecondFactorNeeded with a code. Raises BadCredentials, InvalidToken."""
        return self._tokens(f"{AUTH}/login/second", {"question": question, "code": code})

    def refresh(self, refresh_token: str) -> Tokens:
        """Exchange a refresh token, which is spent by this, for new tokens. Raises InvalidToken, TokenExpired."""
        return self._tokens(f"{AUTH}/refresh", {"refresh_token": refresh_token})

    def logout(self) -> None:
        """End the session on the hive."""
        self._caller.json("POST", f"{AUTH}/logout")

    def register(self, name: str, password: str, *, email: str = "", invite: str | None = None) -> Record:
        """Make one's own account, as far as the hive allows it."""
        send = {"name": name, "password": password, "email": email, "invite": invite}
        return self._record("POST", f"{AUTH}/register", send)

    def personal_data(self) -> Record:
        """All that the hive knows of one's account."""
        return self._record("GET", f"{AUTH}/me/data")

    def leave(self, password: str | None) -> Record:
        """Give up one's own account."""
        return self._record("POST", f"{AUTH}/me/leave", {"password": password})

    def schedule_deletion(self, user: str, grace_s: float) -> Record:
        """Shut an account now, and delete it after a time (administrators)."""
        return self._record("POST", f"{_named('users', user)}/deletion", {"grace_s": grace_s})

    def export_users(self, *, hashes: bool) -> Iterator[Record]:
        """All users as another hive can take them (administrators)."""
        asked = {"limit": PAGE_ITEMS, "hashes": hashes}
        return self._caller.pages("/api/admin/users/export", asked, "users")

    def import_users(self, users: Sequence[Record]) -> list[Record]:
        """Make up to 500 users; what became of each (administrators)."""
        return list(self._record("POST", "/api/admin/users/import", {"users": list(users)})["users"])

    def ask_reset(self, name: str) -> None:
        """Have a letter written that leads to a new password; nothing tells whether there is such a user."""
        self._caller.json("POST", f"{AUTH}/reset", send={"name": name})

    def ask_verification(self) -> None:
        """Have a letter written to one's own address, to prove it."""
        self._caller.json("POST", f"{AUTH}/verify-email/ask")

    def me(self) -> Record:
        """The user that the credential belongs to."""
        return self._record("GET", f"{AUTH}/me")

    def change_password(self, old: str, new: str) -> Tokens:
        """Set a new password; all sessions end and the answer begins a new one."""
        return self._tokens(f"{AUTH}/password", {"old_password": old, "new_password": new})

    def users(self) -> Iterator[Record]:
        """All users by name."""
        return self._caller.pages(f"{AUTH}/users", {"limit": PAGE_ITEMS}, "users")

    def user(self, user: str) -> Record:
        """A user by id or name."""
        return self._record("GET", _named("users", user))

    def create_user(self, name: str, password: str, **facts: object) -> Record:
        """Make an account; ``facts``: email, full_name, is_admin."""
        return self._record("POST", f"{AUTH}/users", {"name": name, "password": password, **facts})

    def change_user(self, user: str, **facts: object) -> Record:
        """Change an account; ``facts``: name, email, full_name, is_admin, is_active, password."""
        return self._record("PATCH", _named("users", user), facts)

    def delete_user(self, user: str) -> None:
        """Delete an account. Raises InUse while something of theirs stands in the way."""
        self._caller.json("DELETE", _named("users", user))

    def groups(self) -> Iterator[Record]:
        """One's own groups by name; of an administrator all."""
        return self._caller.pages(f"{AUTH}/groups", {"limit": PAGE_ITEMS}, "groups")

    def group(self, group: str) -> Record:
        """A group and who is in it."""
        return self._record("GET", _named("groups", group))

    def create_group(self, name: str) -> Record:
        """Make an empty group with a space."""
        return self._record("POST", f"{AUTH}/groups", {"name": name})

    def rename_group(self, group: str, name: str) -> Record:
        """Give a group, and its space, another name."""
        return self._record("PATCH", _named("groups", group), {"name": name})

    def delete_group(self, group: str) -> None:
        """Delete a group. Raises InUse while its space has files."""
        self._caller.json("DELETE", _named("groups", group))

    def space_of(self, kind: str, name: str) -> Record:
        """The space of one of the ``users`` or ``groups``: its size and quota, for administrators."""
        return self._record("GET", f"{_named(kind, name)}/space")

    def set_quota(self, kind: str, name: str, quota_bytes: int | None) -> Record:
        """Limit that space to so many bytes; None: no limit."""
        return self._record("PATCH", f"{_named(kind, name)}/space", {"quota_bytes": quota_bytes})

    def put_member(self, group: str, user: str, role: str) -> Record:
        """Put a user into a group as ``member`` or ``manager``."""
        return self._record("PUT", f"{_named('groups', group)}/members/{quote(user, safe='')}", {"role": role})

    def remove_member(self, group: str, user: str) -> None:
        """Take a user out of a group."""
        self._caller.json("DELETE", f"{_named('groups', group)}/members/{quote(user, safe='')}")

    def invites(self) -> list[Record]:
        """The invites that can still be used."""
        return list(self._record("GET", f"{AUTH}/invites")["invites"])

    def create_invite(self, *, uses: int, expires_in_s: float | None, group_id: str | None, is_admin: bool) -> Record:
        """Make an invite; its ``token`` is in this answer only."""
        send = {"uses": uses, "expires_in_s": expires_in_s, "group_id": group_id, "is_admin": is_admin}
        return self._record("POST", f"{AUTH}/invites", send)

    def revoke_invite(self, invite_id: str) -> None:
        """Make an invite useless."""
        self._caller.json("DELETE", _named("invites", invite_id))

    def factors(self, user: str | None = None) -> Record:
        """Second factors: one's own, or as an administrator another's."""
        return self._record("GET", f"{AUTH}/factors" if user is None else f"{_named('users', user)}/factors")

    def begin_totp(self, password: str | None, name: str) -> Record:
        """The secret for an authenticator app; it counts after ``confirm_totp``."""
        return self._record("POST", f"{AUTH}/factors/totp", {"password": password, "name": name})

    def confirm_totp(self, factor_id: str, code: str) -> list[str]:
        """Let it count; recovery codes, if it is the first."""
        path = f"{_named('factors', factor_id)}/confirm"
        return list(self._record("POST", path, {"code": code})["recovery_codes"])

    def remove_factor(self, factor_id: str, password: str | None) -> None:
        """Take a second factor away."""
        self._caller.json("DELETE", _named("factors", factor_id), send={"password": password})

    def renew_recovery_codes(self, password: str | None) -> list[str]:
        """New recovery codes; the old ones are void."""
        return list(self._record("POST", f"{AUTH}/recovery-codes", {"password": password})["recovery_codes"])

    def clear_factors(self, user: str) -> Record:
        """Take all second factors from a user (administrators)."""
        return self._record("DELETE", f"{_named('users', user)}/factors")

    def sessions(self, user: str = "") -> list[Record]:
        """Sessions that are still good, newest first: one's own, or as an administrator another's."""
        return list(self._record("GET", f"{AUTH}/sessions{_of(user)}")["sessions"])

    def revoke_session(self, session_id: str) -> None:
        """End a session."""
        self._caller.json("DELETE", _named("sessions", session_id))

    def revoke_other_sessions(self, user: str = "") -> int:
        """End all of one's own but this one, or as an administrator all of another's; how many."""
        return int(self._record("DELETE", f"{AUTH}/sessions{_of(user)}")["sessions"])

    def app_passwords(self) -> list[Record]:
        """One's own app passwords, without their secrets."""
        return list(self._record("GET", f"{AUTH}/app-passwords")["app_passwords"])

    def create_app_password(self, name: str, scopes: Sequence[str], expires_in_s: float | None) -> Record:
        """Make an app password; its ``secret`` is in this answer only."""
        send = {"name": name, "scopes": list(scopes), "expires_in_s": expires_in_s}
        return self._record("POST", f"{AUTH}/app-passwords", send)

    def revoke_app_password(self, app_password_id: str) -> None:
        """Make an app password useless at once."""
        self._caller.json("DELETE", _named("app-passwords", app_password_id))

    def ssh_keys(self) -> list[Record]:
        """One's own SSH keys."""
        return list(self._record("GET", f"{AUTH}/ssh-keys")["ssh_keys"])

    def add_ssh_key(self, public_key: str, name: str, scopes: Sequence[str]) -> Record:
        """Let the holder of a key act for one."""
        return self._record(
            "POST", f"{AUTH}/ssh-keys", {"public_key": public_key, "name": name, "scopes": list(scopes)}
        )

    def remove_ssh_key(self, key_id: str) -> None:
        """Take a key away."""
        self._caller.json("DELETE", _named("ssh-keys", key_id))

    def access_keys(self) -> list[Record]:
        """One's own access keys for S3, without their secrets."""
        return list(self._record("GET", f"{AUTH}/access-keys")["access_keys"])

    def create_access_key(self, name: str, scopes: Sequence[str], **bounds: object) -> Record:
        """Make an access key; its ``secret`` is in this answer only. ``bounds``: space, bucket, prefix …"""
        return self._record("POST", f"{AUTH}/access-keys", {"name": name, "scopes": list(scopes), **bounds})

    def revoke_access_key(self, access_key: str) -> None:
        """Make an access key useless at once."""
        self._caller.json("DELETE", _named("access-keys", access_key))

    def _tokens(self, path: str, send: object) -> Tokens:
        """Tokens out of their JSON; lifetimes become times of this machine's clock."""
        raw, now_s = self._caller.json("POST", path, send=send), self._clock.now_us() / 1e6
        return Tokens(
            access_token=raw["access_token"],
            access_expires_s=now_s + float(raw["expires_in_s"]),
            refresh_token=raw["refresh_token"],
            refresh_expires_s=now_s + float(raw["refresh_expires_in_s"]),
        )

    def _record(self, method: str, path: str, send: object = None) -> Record:
        found: Record = self._caller.json(method, path, send=send)
        return found


def _of(user: str) -> str:
    return f"?user={quote(user, safe='')}" if user else ""


def _named(kind: str, name: str) -> str:
    return f"{AUTH}/{kind}/{quote(name, safe='')}"
