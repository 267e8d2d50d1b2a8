"""``Auth``: the one object that front ends and the command line ask.

auth = Auth(db, keys, clock, AuthRules(registration="invite"), hooks=filesystem)
await auth.start()
pair = await auth.login("ada", "correct horse battery staple", agent="skep 1.0")
principal = await auth.authenticate_token(pair.access_token)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from skep.auth import names
from skep.auth.access_keys import purge_access_keys
from skep.auth.accounts import page_size
from skep.auth.app_passwords import (
    insert_app_password,
    list_app_password_rows,
    purge_app_passwords,
    remove_app_password,
)
from skep.auth.audit import prune
from skep.auth.auditing import Auditing
from skep.auth.clients import purge_client_sessions
from skep.auth.devices import Devices
from skep.auth.groups import (
    drop_member,
    group_detail,
    insert_group,
    list_group_rows,
    no_such_group,
    remove_group,
    role_in,
    set_group_name,
    set_member,
    the_group,
)
from skep.auth.invites import drop_invites_to_group, purge_invites
from skep.auth.keyring import add_key, purge_keys, rotate_if_due
from skep.auth.mail import purge_mail_tokens
from skep.auth.opaque_tokens import new_app_password
from skep.auth.outside import OutsideUsers
from skep.auth.records import AppPasswordInfo, CreatedAppPassword, GroupDetail, GroupInfo, Principal
from skep.auth.scopes import ACCOUNT, FILE_SCOPES, checked_scopes
from skep.auth.sessions import purge_sessions
from skep.auth.signing import Signing
from skep.auth.ssh_access import SshAccess
from skep.auth.things import Things
from skep.auth.users import the_user
from skep.base.errors import BadInput, Forbidden, InUse, UserNotFound
from skep.base.ids import Id
from skep.db import Transaction

APP_NAME_LENGTH = 100
APP_PASSWORD_MAX_S = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one round of upkeep removed, and whether it made a new signing key."""

    sessions: int
    invites: int
    app_passwords: int
    access_keys: int
    signing_keys: int
    audit_entries: int
    rotated: bool


class Auth(OutsideUsers, Devices, SshAccess, Signing, Auditing, Things):
    """Users, groups, credentials and the decision who may do what. Lives on one event loop.

    Every method that takes a principal decides itself whether that principal may: scope first,
    then role. What others may not know of is NotFound, what they may not do is Forbidden.
    """

    # --- groups -----------------------------------------------------------------------------

    async def create_group(self, principal: Principal, name: str) -> GroupInfo:
        """Make an empty group (administrators). Raises Forbidden, InvalidName, AlreadyExists."""
        principal.require_admin()
        shown = names.group_name(name)

        def make(tx: Transaction) -> GroupInfo:
            group = insert_group(tx, shown)
            if self._hooks is not None:
                self._hooks.group_created(tx, group.id, group.name)
            self._note(tx, "group-created", principal, group)
            return group

        return await self._db.write(make)

    async def rename_group(self, principal: Principal, group: Id | str, name: str) -> GroupInfo:
        """Give a group another name (administrators). Raises Forbidden, GroupNotFound, InvalidName, AlreadyExists."""
        principal.require_admin()
        shown = names.group_name(name)

        def rename(tx: Transaction) -> GroupInfo:
            found = the_group(tx, group)
            set_group_name(tx, found.id, shown)
            if self._hooks is not None:
                self._hooks.group_renamed(tx, found.id, shown)
            self._note(tx, "group-renamed", principal, found, to=shown)
            return the_group(tx, found.id)

        return await self._db.write(rename)

    async def list_groups(self, principal: Principal, *, after: str = "", limit: int = 100) -> list[GroupInfo]:
        """Groups by name, after the name ``after``: one's own, or all for an administrator."""
        principal.require(ACCOUNT)
        of_user = None if principal.acts_as_admin else principal.user_id
        page = page_size(limit)
        return await self._db.read(lambda tx: list_group_rows(tx, of_user=of_user, after=after, limit=page))

    async def get_group(self, principal: Principal, group: Id | str) -> GroupDetail:
        """A group by id or name with its members, for members and administrators. Raises GroupNotFound."""
        principal.require(ACCOUNT)

        def look(tx: Transaction) -> GroupDetail:
            return group_detail(tx, _seen_group(tx, principal, group))

        return await self._db.read(look)

    async def add_member(
        self, principal: Principal, group: Id | str, user: Id | str, role: str = "member"
    ) -> GroupDetail:
        """Put a user into a group as ``member`` or ``manager``, or change the role there.

        For administrators and the group's managers. Raises GroupNotFound, UserNotFound, Forbidden, BadInput.
        """
        principal.require(ACCOUNT)

        def add(tx: Transaction) -> GroupDetail:
            found = _managed_group(tx, principal, group)
            member = the_user(tx, user).info
            set_member(tx, found.id, member.id, role)
            self._note(tx, "member-added", principal, member, group=found.name, role=role)
            self._void_after(tx, member.id)
            return group_detail(tx, found)

        return await self._db.write(add)

    async def remove_member(self, principal: Principal, group: Id | str, user: Id | str) -> None:
        """Take a user out of a group: administrators, the group's managers, and everybody themselves.

        Raises GroupNotFound, UserNotFound (not a member), Forbidden.
        """
        principal.require(ACCOUNT)

        def remove(tx: Transaction) -> None:
            own = user in (principal.user_id, principal.name)
            found = _seen_group(tx, principal, group) if own else _managed_group(tx, principal, group)
            user_id = principal.user_id if own else the_user(tx, user).info.id
            if role_in(tx, found.id, user_id) is None:
                raise UserNotFound(f"that user is not in the group {found.name!r}")
            drop_member(tx, found.id, user_id)
            self._note(tx, "member-removed", principal, the_user(tx, user_id).info, group=found.name)
            self._void_after(tx, user_id)

        await self._db.write(remove)

    async def delete_group(self, principal: Principal, group: Id | str) -> None:
        """Delete a group (administrators); the deletion hooks decide on its space.

        Raises GroupNotFound, InUse when a hook refuses.
        """
        principal.require_admin()

        def delete(tx: Transaction) -> None:
            found = the_group(tx, group)
            if self._deletion is not None:
                self._deletion.group_deleting(tx, found.id, found.name)
            elif self._hooks is not None:
                raise InUse(f"the group {found.name!r} has a space: remove its members instead")
            drop_invites_to_group(tx, found.id)
            for member in group_detail(tx, found).members:
                self._void_after(tx, member.user_id)
            remove_group(tx, found.id)
            self._note(tx, "group-deleted", principal, found)

        await self._db.write(delete)

    # --- app passwords ------------------------------------------------------------------------

    async def create_app_password(
        self,
        principal: Principal,
        name: str,
        *,
        scopes: Collection[str] = FILE_SCOPES,
        expires_in_s: float | None = None,
    ) -> CreatedAppPassword:
        """Make a password for one program, for the user's own account; its secret is in the answer only.

        It may have no scope that the principal lacks. Raises Forbidden, BadInput, LimitReached.
        """
        principal.require(ACCOUNT)
        wanted = checked_scopes(scopes)
        if not wanted <= principal.scopes:
            lacking = ", ".join(sorted(wanted - principal.scopes))
            raise Forbidden(f"an app password cannot have more scopes than you: leave out {lacking}")
        shown = " ".join(name.split())
        if not 1 <= len(shown) <= APP_NAME_LENGTH or not shown.isprintable():
            raise BadInput(f"an app password needs a name of 1 to {APP_NAME_LENGTH} printable characters")
        if expires_in_s is not None and not 0 < expires_in_s <= APP_PASSWORD_MAX_S:
            raise BadInput(f"an app password lasts up to {APP_PASSWORD_MAX_S} s, not {expires_in_s}")
        secret = new_app_password()

        def keep(tx: Transaction) -> AppPasswordInfo:
            user_id = self._live_user(tx, principal).info.id
            until_us = None if expires_in_s is None else tx.now_us + int(expires_in_s * 1e6)
            self._note(tx, "app-password-made", principal, name=shown, scopes=sorted(wanted))
            return insert_app_password(tx, user_id, secret, name=shown, scopes=wanted, expires_us=until_us)

        return CreatedAppPassword(await self._db.write(keep), secret)

    async def list_app_passwords(self, principal: Principal, user_id: Id | None = None) -> list[AppPasswordInfo]:
        """The user's app passwords, oldest first; an administrator may ask for another's."""
        owner = self._own(principal, user_id)
        return await self._db.read(lambda tx: list_app_password_rows(tx, owner))

    async def revoke_app_password(self, principal: Principal, app_password_id: Id, user_id: Id | None = None) -> None:
        """Make one useless at once; an administrator may name another's. Raises NotFound."""
        owner = self._own(principal, user_id)

        def revoke(tx: Transaction) -> None:
            remove_app_password(tx, owner, app_password_id)
            self._note(tx, "app-password-revoked", principal, the_user(tx, owner).info)
            self._void_after(tx, owner)

        await self._db.write(revoke)

    # --- signing keys and upkeep --------------------------------------------------------------

    async def jwks(self) -> dict[str, Any]:
        """The public keys that verify access tokens, as a JWK set (RFC 7517 section 5)."""
        return (await self._keys()).jwks()

    async def rotate_keys(self, principal: Principal) -> str:
        """Make a new signing key now (administrators); tokens signed with the old one stay good. Its key id."""
        principal.require_admin()

        def rotate(tx: Transaction) -> str:
            self._note(tx, "signing-key-rotated", principal)
            return add_key(tx, self._token_key)

        key_id = await self._db.write(rotate)
        await self._reload_keys()
        return key_id

    async def maintain(self) -> Maintained:
        """One round of upkeep, to be called about hourly: remove what expired, rotate an old signing key."""
        expired_us, every_us = self._keys_expired_before_us(), int(self._rules.key_rotation_s * 1e6)
        keep_s = self._rules.audit_s

        def keep_up(tx: Transaction) -> Maintained:
            sessions = purge_sessions(tx)
            purge_client_sessions(tx)
            purge_mail_tokens(tx)
            return Maintained(
                sessions=sessions,
                invites=purge_invites(tx),
                app_passwords=purge_app_passwords(tx),
                access_keys=purge_access_keys(tx),
                signing_keys=purge_keys(tx, expired_before_us=expired_us),
                audit_entries=prune(tx, before_us=tx.now_us - int(keep_s * 1e6)) if keep_s else 0,
                rotated=rotate_if_due(tx, self._token_key, every_us=every_us),
            )

        done = await self._db.write(keep_up)
        await self._reload_keys()
        return done


def _seen_group(tx: Transaction, principal: Principal, group: Id | str) -> GroupInfo:
    """The group, if the principal may know of it."""
    found = the_group(tx, group)
    if not principal.acts_as_admin and role_in(tx, found.id, principal.user_id) is None:
        raise no_such_group()
    return found


def _managed_group(tx: Transaction, principal: Principal, group: Id | str) -> GroupInfo:
    """The group, if the principal may change who is in it."""
    found = _seen_group(tx, principal, group)
    if not principal.acts_as_admin and role_in(tx, found.id, principal.user_id) != "manager":
        raise Forbidden(f"only managers of {found.name!r} and administrators change its members")
    return found
