"""Making, changing, suspending and deleting users; registration and invites."""

from __future__ import annotations

from typing import Any

from skep.auth import names
from skep.auth.access_keys import drop_access_keys
from skep.auth.app_passwords import drop_app_passwords
from skep.auth.buckets import address_key
from skep.auth.factors import drop_factors
from skep.auth.facts import drop_facts, set_deletion
from skep.auth.groups import drop_memberships, set_member, the_group
from skep.auth.identity_providers import drop_identities
from skep.auth.invites import (
    drop_invites_by,
    insert_invite,
    list_invite_rows,
    remove_invite,
    spend_invite,
    usable_invite,
)
from skep.auth.logins import Logins
from skep.auth.opaque_tokens import new_invite_token
from skep.auth.outside_rows import drop_outside
from skep.auth.password_rules import check_password
from skep.auth.records import CreatedInvite, InviteInfo, Principal, UserInfo
from skep.auth.scopes import ACCOUNT
from skep.auth.sessions import end_sessions_of
from skep.auth.ssh_keys import drop_ssh_keys
from skep.auth.users import (
    ACTIVE,
    SUSPENDED,
    NewUser,
    check_not_last_admin,
    find_login,
    insert_user,
    list_user_rows,
    remove_user,
    set_profile,
    set_state,
    the_user,
)
from skep.base.errors import BadInput, Forbidden, InUse, UserNotFound
from skep.base.ids import Id
from skep.db import Transaction

PAGE_MAX = 1000
INVITE_USES_MAX = 1000
INVITE_MAX_S = 365 * 86_400


class Accounts(Logins):
    """The part of ``Auth`` that keeps users and invites."""

    async def register(
        self,
        name: str,
        password: str,
        email: str = "",
        full_name: str = "",
        invite: str | None = None,
        *,
        address: str = "",
    ) -> UserInfo:
        """Make one's own account, as the ``registration`` setting allows.

        Raises Forbidden (registration is closed, or the invite is no good), AlreadyExists, InvalidName,
        BadInput (the password), RateLimited.
        """
        registration = self._rules.registration
        if registration == "closed":
            raise Forbidden("this hive takes no registrations: ask its administrator for an account")
        if registration == "invite" and not invite:
            raise Forbidden("this hive takes registrations by invite: ask a member of it for one")
        self._addresses.take(address_key(address))
        if invite:
            await self._db.read(lambda tx: usable_invite(tx, invite))
        new = await self._new_user(name, password, email, full_name, is_admin=False)

        def join(tx: Transaction) -> UserInfo:
            spent = spend_invite(tx, invite) if invite else None
            user = self._insert_user(tx, new, is_admin=bool(spent and spent.is_admin))
            if spent is not None and spent.group_id is not None:
                set_member(tx, the_group(tx, spent.group_id).id, user.id, "member")
            self._note(tx, "registered", user, address=address, admin=user.is_admin, invited=spent is not None)
            return user

        return await self._db.write(join)

    async def create_user(
        self,
        principal: Principal,
        name: str,
        password: str | None = None,
        *,
        email: str = "",
        full_name: str = "",
        is_admin: bool = False,
    ) -> UserInfo:
        """Make an account for another (administrators). Without a password nobody can log in to it yet.

        Raises Forbidden, AlreadyExists, InvalidName, BadInput.
        """
        principal.require_admin()
        new = await self._new_user(name, password, email, full_name, is_admin=is_admin)

        def make(tx: Transaction) -> UserInfo:
            user = self._insert_user(tx, new)
            self._note(tx, "user-created", principal, user, admin=user.is_admin)
            return user

        return await self._db.write(make)

    async def list_users(self, principal: Principal, *, after: str = "", limit: int = 100) -> list[UserInfo]:
        """Users by name (administrators), after the name ``after``; at most 1000 at once."""
        principal.require_admin()
        page = page_size(limit)
        return await self._db.read(lambda tx: list_user_rows(tx, after=after, limit=page))

    async def get_user(self, principal: Principal, user: Id | str) -> UserInfo:
        """One user by id, name or e-mail address: oneself, or as an administrator any. Raises UserNotFound."""
        principal.require(ACCOUNT)
        return await self._db.read(lambda tx: _visible_user(tx, principal, user))

    async def me(self, principal: Principal) -> UserInfo:
        """The user that the principal acts for. Any credential may ask."""
        return await self._db.read(lambda tx: self._live_user(tx, principal).info)

    async def update_user(
        self,
        principal: Principal,
        user: Id | str,
        *,
        name: str | None = None,
        email: str | None = None,
        full_name: str | None = None,
        is_admin: bool | None = None,
        password: str | None = None,
    ) -> UserInfo:
        """Change what is given; an empty ``email`` removes the address.

        Everybody may change their own address and full name; the rest is for administrators. A password
        set here ends the user's sessions. Raises Forbidden, UserNotFound, AlreadyExists, InvalidName,
        BadInput, InUse for taking the role from the last administrator.
        """
        principal.require(ACCOUNT)
        if (name, is_admin, password) != (None, None, None):
            principal.require_admin()
        new_name = None if name is None else names.user_name(name)
        new_email = None if email is None else names.email_address(email)
        new_full_name = None if full_name is None else names.full_name(full_name)
        new_hash = None
        if password is not None:
            target = await self._db.read(lambda tx: the_user(tx, user))
            new_hash = await self._new_hash(target, password)

        def change(tx: Transaction) -> UserInfo:
            old = _visible_user(tx, principal, user)
            set_profile(
                tx,
                old.id,
                name=old.name if new_name is None else new_name,
                email=old.email if new_email is None else new_email,
                full_name=old.full_name if new_full_name is None else new_full_name,
                is_admin=old.is_admin if is_admin is None else is_admin,
            )
            if new_name not in (None, old.name) and self._hooks is not None:
                self._hooks.user_renamed(tx, old.id, str(new_name))
            if new_hash is not None:
                self._replace_password(tx, old.id, new_hash)
            self._void_after(tx, old.id)
            changed = the_user(tx, old.id).info
            facts = _differences(old, changed)
            self._note(tx, "user-changed", principal, changed, **facts, password=new_hash is not None)
            return changed

        return await self._db.write(change)

    async def suspend_user(self, principal: Principal, user: Id | str) -> UserInfo:
        """Shut a user out, at once and until resumed (administrators): sessions end, no credential works.

        Raises UserNotFound, InUse for the last administrator.
        """
        return await self._set_state(principal, user, SUSPENDED)

    async def resume_user(self, principal: Principal, user: Id | str) -> UserInfo:
        """Let a suspended user in again (administrators). Raises UserNotFound."""
        return await self._set_state(principal, user, ACTIVE)

    async def delete_user(self, principal: Principal, user: Id | str) -> None:
        """Delete a user and every credential (administrators); the deletion hooks decide on the space.

        Raises UserNotFound, InUse for the last administrator or when a hook refuses.
        """
        principal.require_admin()

        def delete(tx: Transaction) -> None:
            info = the_user(tx, user).info
            check_not_last_admin(tx, info.id)
            if self._deletion is not None:
                self._deletion.user_deleting(tx, info.id, info.name)
            elif self._hooks is not None:
                raise InUse(f"{info.name!r} has a space: suspend the user instead")
            for drop in (
                end_sessions_of,
                drop_app_passwords,
                drop_ssh_keys,
                drop_access_keys,
                drop_factors,
                drop_identities,
                drop_outside,
                drop_facts,
                drop_memberships,
                drop_invites_by,
                remove_user,
            ):
                drop(tx, info.id)
            self._note(tx, "user-deleted", principal, info)
            self._void_after(tx, info.id)

        await self._db.write(delete)

    # --- invites ------------------------------------------------------------------------------

    async def create_invite(
        self,
        principal: Principal,
        *,
        uses: int = 1,
        expires_in_s: float | None = None,
        group_id: Id | None = None,
        is_admin: bool = False,
    ) -> CreatedInvite:
        """Make an invite (administrators); who registers with it joins the group, if one is given.

        Raises Forbidden, BadInput, GroupNotFound.
        """
        principal.require_admin()
        lasts_s = self._rules.invite_s if expires_in_s is None else expires_in_s
        if not 1 <= uses <= INVITE_USES_MAX:
            raise BadInput(f"an invite has 1 to {INVITE_USES_MAX} uses, not {uses}")
        if not 0 < lasts_s <= INVITE_MAX_S:
            raise BadInput(f"an invite lasts up to {INVITE_MAX_S} s, not {lasts_s}")
        token = new_invite_token()

        def make(tx: Transaction) -> InviteInfo:
            group = None if group_id is None else the_group(tx, group_id).id
            expires_us = tx.now_us + int(lasts_s * 1e6)
            by = principal.user_id
            self._note(tx, "invite-made", principal, uses=uses, admin=is_admin)
            return insert_invite(
                tx, token, created_by=by, group_id=group, is_admin=is_admin, uses=uses, expires_us=expires_us
            )

        return CreatedInvite(await self._db.write(make), token)

    async def list_invites(self, principal: Principal) -> list[InviteInfo]:
        """Invites that can still be used, oldest first (administrators)."""
        principal.require_admin()
        return await self._db.read(lambda tx: list_invite_rows(tx, PAGE_MAX))

    async def revoke_invite(self, principal: Principal, invite_id: Id) -> None:
        """Make an invite useless (administrators). Raises NotFound."""
        principal.require_admin()

        def revoke(tx: Transaction) -> None:
            remove_invite(tx, invite_id)
            self._note(tx, "invite-revoked", principal)

        await self._db.write(revoke)

    # --- steps ----------------------------------------------------------------------------------

    async def _new_user(
        self, name: str, password: str | None, email: str, full_name: str, *, is_admin: bool
    ) -> NewUser:
        """Check everything that can be checked before the transaction, cheapest first; hash last."""
        shown, address, person = names.user_name(name), names.email_address(email), names.full_name(full_name)
        plain = None
        if password is not None:
            minimum = self._rules.password_length_min
            plain = check_password(password, min_length=minimum, name=shown, email=address, full_name=person)
        password_hash = None if plain is None else await self._hasher.hash(plain)
        return NewUser(shown, address, person, password_hash, is_admin)

    def _insert_user(self, tx: Transaction, new: NewUser, *, is_admin: bool | None = None) -> UserInfo:
        user = insert_user(tx, new if is_admin is None else _with_role(new, is_admin))
        if self._hooks is not None:
            self._hooks.user_created(tx, user.id, user.name)
        return user

    async def _set_state(self, principal: Principal, user: Id | str, state: str) -> UserInfo:
        principal.require_admin()

        def change(tx: Transaction) -> UserInfo:
            user_id = the_user(tx, user).info.id
            set_state(tx, user_id, state)
            if state == ACTIVE:
                set_deletion(tx, user_id, None)
            self._void_credentials(tx, user_id)
            changed = the_user(tx, user_id).info
            self._note(tx, "user-suspended" if state == SUSPENDED else "user-resumed", principal, changed)
            return changed

        return await self._db.write(change)


def page_size(limit: int) -> int:
    """A limit that a caller gave, within bounds."""
    return max(1, min(limit, PAGE_MAX))


def _differences(old: UserInfo, new: UserInfo) -> dict[str, Any]:
    """What changed: the facts of the audit log."""
    fields = ("name", "email", "full_name", "is_admin")
    return {name: getattr(new, name) for name in fields if getattr(new, name) != getattr(old, name)}


def _with_role(new: NewUser, is_admin: bool) -> NewUser:
    return NewUser(new.name, new.email, new.full_name, new.password_hash, is_admin)


def _visible_user(tx: Transaction, principal: Principal, user: Id | str) -> UserInfo:
    """The user, if the principal is that user or an administrator; else there is no such user."""
    row = find_login(tx, user) if isinstance(user, str) else None
    user_id = row.info.id if row else user
    if user_id != principal.user_id and not principal.acts_as_admin:
        raise UserNotFound("no such user: list the users to see their names")
    return the_user(tx, user_id).info
