"""Accounts that go, come over from elsewhere, or are taken along.

What always holds: an account that is to go is shut at once and deleted when its time has come, with all its files;
until then an administrator may resume it. What is exported of a person holds no secret. A password comes over as the
argon2id string that it was stored as, with parameters that a check here can bear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from skep.auth import names
from skep.auth.access_keys import list_access_key_rows
from skep.auth.app_passwords import list_app_password_rows
from skep.auth.audit import PAGE_MAX, list_entries
from skep.auth.core import principal_of
from skep.auth.factors import codes_left, factors_of
from skep.auth.facts import deletion_of, due_deletions, is_verified, set_deletion
from skep.auth.groups import insert_group, list_group_rows, set_member, the_group
from skep.auth.identity_providers import identities_of
from skep.auth.mail import Mail
from skep.auth.records import GroupInfo, Principal, UserInfo
from skep.auth.scopes import ACCOUNT, ALL_SCOPES
from skep.auth.second_factor import SecondFactors
from skep.auth.sessions import list_session_rows
from skep.auth.ssh_keys import list_ssh_key_rows
from skep.auth.users import SUSPENDED, NewUser, find_user, list_user_rows, set_state, the_user
from skep.base.errors import BadInput, GroupNotFound, SkepError
from skep.base.ids import Id
from skep.db import Transaction

GRACE_MAX_S: Final = 365 * 86_400
IMPORT_MAX: Final = 500
GROUPS_MAX: Final = 100
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_MEMORY_KIB_MAX, _PASSES_MAX, _LANES_MAX = 262_144, 10, 16


@dataclass(frozen=True, slots=True)
class ExportedUser:
    """A user as another hive can take it. ``password_hash`` is an argon2id string, left out unless asked for."""

    info: UserInfo
    groups: tuple[str, ...]
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A user to be made."""

    name: str
    email: str = ""
    full_name: str = ""
    is_admin: bool = False
    is_active: bool = True
    groups: Sequence[str] = ()
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one of them: a user, or why not."""

    name: str
    error: SkepError | None = None


class Leaving(Mail, SecondFactors):
    """The part of ``Auth`` for people who come and go."""

    async def schedule_deletion(self, principal: Principal, user: Id | str, grace_s: float) -> UserInfo:
        """Shut an account now and delete it, files and all, after a time (administrators).

        ``resume_user`` calls it off. Raises Forbidden, UserNotFound, BadInput, InUse for the last administrator.
        """
        principal.require_admin()
        return await self._shut(principal, user, grace_s)

    async def leave(self, principal: Principal, password: str | None) -> UserInfo:
        """Give up one's own account: it is shut now and deleted after the hive's time of grace.

        Raises BadCredentials (the password), InUse for the last administrator, RateLimited.
        """
        principal.require(ACCOUNT)
        await self._prove_again(principal, password)
        return await self._shut(principal, principal.user_id, self._rules.deletion_grace_s)

    @property
    def deletion_grace_s(self) -> float:
        """How long an account that goes can be brought back, unless said otherwise."""
        return self._rules.deletion_grace_s

    async def _shut(self, principal: Principal, user: Id | str, grace_s: float) -> UserInfo:
        if not 0 <= grace_s <= GRACE_MAX_S:
            raise BadInput(f"an account is deleted within {GRACE_MAX_S} s, not after {grace_s}")

        def shut(tx: Transaction) -> UserInfo:
            user_id = the_user(tx, user).info.id
            set_state(tx, user_id, SUSPENDED)
            set_deletion(tx, user_id, tx.now_us + int(grace_s * 1e6))
            self._void_credentials(tx, user_id)
            info = the_user(tx, user_id).info
            self._note(tx, "deletion-scheduled", principal, info, grace_s=grace_s)
            return info

        return await self._db.write(shut)

    async def deletion_at(self, principal: Principal, user: Id | str) -> int | None:
        """When an account is to go (µs since 1970), for administrators; None: it stays."""
        principal.require_admin()
        return await self._db.read(lambda tx: deletion_of(tx, the_user(tx, user).info.id))

    async def due_users(self, limit: int = 10) -> list[Principal]:
        """Users whose time has come, as principals that may remove what is theirs. For the worker that does it."""

        def look(tx: Transaction) -> list[Principal]:
            rows = [find_user(tx, user_id) for user_id in due_deletions(tx, limit)]
            return [principal_of(tx, row, ALL_SCOPES, "internal") for row in rows if row is not None]

        return await self._db.read(look)

    # --- taking along ---------------------------------------------------------------------------

    async def personal_data(self, principal: Principal) -> dict[str, Any]:
        """All that the hive knows of somebody as an account; their files are theirs to download. No secrets."""
        principal.require(ACCOUNT)

        def look(tx: Transaction) -> dict[str, Any]:
            user = self._live_user(tx, principal).info
            return {
                "user": user,
                "email_verified": is_verified(tx, user.id, user.email),
                "groups": [group.name for group in _groups_of(tx, user.id)],
                "sessions": [row.info(principal.session_id) for row in list_session_rows(tx, user.id)],
                "app_passwords": list_app_password_rows(tx, user.id),
                "ssh_keys": list_ssh_key_rows(tx, user.id),
                "access_keys": list_access_key_rows(tx, user.id),
                "factors": [row.info for row in factors_of(tx, user.id, confirmed=True)],
                "recovery_codes_left": codes_left(tx, user.id),
                "identities": identities_of(tx, user.id),
                "audit": list_entries(tx, before=None, limit=PAGE_MAX, user_id=user.id),
            }

        return await self._db.read(look)

    async def export_users(
        self, principal: Principal, *, after: str = "", limit: int = 100, hashes: bool = False
    ) -> list[ExportedUser]:
        """Users by name with their groups (administrators); ``hashes``: what their passwords are checked against."""
        principal.require_admin()
        count = max(1, min(limit, PAGE_MAX))

        def look(tx: Transaction) -> list[ExportedUser]:
            return [_exported(tx, info, hashes=hashes) for info in list_user_rows(tx, after=after, limit=count)]

        found = await self._db.read(look)
        await self._db.write(lambda tx: self._note(tx, "users-exported", principal, users=len(found), hashes=hashes))
        return found

    async def import_users(self, principal: Principal, incoming: Sequence[Incoming]) -> list[Imported]:
        """Make users, and the groups that they name, each by itself (administrators); those that fail say why.

        Raises Forbidden, BadInput for more than 500.
        """
        principal.require_admin()
        if len(incoming) > IMPORT_MAX:
            raise BadInput(f"at most {IMPORT_MAX} users come over at once, not {len(incoming)}")
        done = []
        for one in incoming:
            try:
                await self._import(principal, one)
                done.append(Imported(one.name))
            except SkepError as error:
                done.append(Imported(one.name[: names.NAME_LENGTH], error))
        return done

    async def _import(self, principal: Principal, one: Incoming) -> None:
        if one.password_hash is not None:
            checked_hash(one.password_hash)
        if len(one.groups) > GROUPS_MAX:
            raise BadInput(f"a user comes with at most {GROUPS_MAX} groups")
        shown, address = names.user_name(one.name), names.email_address(one.email)
        groups = [names.group_name(group) for group in one.groups]
        new = NewUser(shown, address, names.full_name(one.full_name), one.password_hash, one.is_admin)

        def make(tx: Transaction) -> None:
            user = self._insert_user(tx, new)
            for name in groups:
                set_member(tx, self._group_called(tx, name).id, user.id, "member")
            if not one.is_active:
                set_state(tx, user.id, SUSPENDED)
            self._note(tx, "user-created", principal, user, admin=user.is_admin, imported=True)

        await self._db.write(make)

    def _group_called(self, tx: Transaction, name: str) -> GroupInfo:
        try:
            return the_group(tx, name)
        except GroupNotFound:
            group = insert_group(tx, name)
            if self._hooks is not None:
                self._hooks.group_created(tx, group.id, group.name)
            return group


def checked_hash(text: str) -> None:
    """Raise BadInput unless it is an argon2id string that is not too dear to check."""
    found = _ARGON2ID.fullmatch(text)
    numbers = [int(number) for number in found.groups()] if found else []
    if not numbers or not (8 <= numbers[0] <= _MEMORY_KIB_MAX and 1 <= numbers[1] <= _PASSES_MAX):
        raise BadInput("a password comes over as an argon2id string of at most 256 MiB and 10 passes, or not at all")
    if not 1 <= numbers[2] <= _LANES_MAX:
        raise BadInput(f"a password's argon2id string has at most {_LANES_MAX} lanes")


def _groups_of(tx: Transaction, user_id: Id) -> list[GroupInfo]:
    return list_group_rows(tx, of_user=user_id, after="", limit=GROUPS_MAX)


def _exported(tx: Transaction, info: UserInfo, *, hashes: bool) -> ExportedUser:
    row = find_user(tx, info.id) if hashes else None
    groups = tuple(group.name for group in _groups_of(tx, info.id))
    return ExportedUser(info, groups, row.password_hash if row is not None else None)
