"""The part of ``Auth`` that keeps SSH keys, and says who comes with one."""

from __future__ import annotations

from collections.abc import Collection

from skep.auth.core import principal_of
from skep.auth.logins import Logins
from skep.auth.names import login_key
from skep.auth.records import Principal, SshKeyInfo
from skep.auth.scopes import ACCOUNT, FILE_SCOPES, checked_scopes
from skep.auth.ssh_keys import (
    find_ssh_key,
    insert_ssh_key,
    list_ssh_key_rows,
    parse_public_key,
    remove_ssh_key,
    touch_ssh_key,
    wants_touch,
)
from skep.auth.users import find_login, the_user
from skep.base.errors import BadCredentials, BadInput, Forbidden, Unavailable
from skep.base.ids import Id
from skep.crypto.hashing import keyed_digest
from skep.db import Transaction

NAME_LENGTH = 100


class SshAccess(Logins):
    """Keys in, principals out."""

    async def add_ssh_key(
        self, principal: Principal, public_key: str, name: str = "", *, scopes: Collection[str] = FILE_SCOPES
    ) -> SshKeyInfo:
        """Let whoever holds the private half act for the user, within the scopes. ``name`` defaults to the comment.

        Raises BadInput, AlreadyExists, LimitReached, Forbidden (a scope that the principal lacks).
        """
        principal.require(ACCOUNT)
        wanted = checked_scopes(scopes)
        if not wanted <= principal.scopes:
            lacking = ", ".join(sorted(wanted - principal.scopes))
            raise Forbidden(f"an SSH key cannot have more scopes than you: leave out {lacking}")
        key = parse_public_key(public_key)
        shown = " ".join((name or key.comment or key.kind).split())[:NAME_LENGTH]
        if not shown or not shown.isprintable():
            raise BadInput(f"an SSH key needs a name of 1 to {NAME_LENGTH} printable characters")

        def keep(tx: Transaction) -> SshKeyInfo:
            user_id = self._live_user(tx, principal).info.id
            made = insert_ssh_key(tx, user_id, key, name=shown, scopes=wanted)
            self._note(tx, "ssh-key-added", principal, name=shown, fingerprint=made.fingerprint, scopes=sorted(wanted))
            return made

        return await self._db.write(keep)

    async def list_ssh_keys(self, principal: Principal, user_id: Id | None = None) -> list[SshKeyInfo]:
        """The user's keys, oldest first; an administrator may ask for another's."""
        owner = self._own(principal, user_id)
        return await self._db.read(lambda tx: list_ssh_key_rows(tx, owner))

    async def remove_ssh_key(self, principal: Principal, key_id: Id, user_id: Id | None = None) -> None:
        """Take a key away, also from those who are in; an administrator may name another's. Raises NotFound."""
        owner = self._own(principal, user_id)

        def remove(tx: Transaction) -> None:
            remove_ssh_key(tx, owner, key_id)
            self._note(tx, "ssh-key-removed", principal, the_user(tx, owner).info)
            self._void_after(tx, owner)

        await self._db.write(remove)

    async def authenticate_ssh_key(self, name: str, fingerprint: bytes) -> Principal:
        """The principal of a user's key; that the private half signed is for the caller to see.

        A good verdict is remembered for ``verdict_cache_s``. Raises BadCredentials, Forbidden (suspended).
        """
        key = keyed_digest(self._verdict_key, b"ssh\0", login_key(name).encode(), b"\0", fingerprint)
        known = self._verdicts.get(key)
        if known is not None:
            return known
        voids = self._verdicts.voids

        def look(tx: Transaction) -> tuple[SshKeyInfo, Principal]:
            found, principal = _key_principal(tx, name, fingerprint)
            return found, self._demanded(tx, principal)

        found, principal = await self._db.read(look)
        if wants_touch(found, self._clock.now_us()):
            try:
                await self._db.write(lambda tx: touch_ssh_key(tx, found.id))
            except Unavailable:
                pass  # a busy database is no reason to refuse
        self._verdicts.put(key, principal, for_s=self._rules.verdict_cache_s, voids=voids)
        return principal


def _key_principal(tx: Transaction, name: str, fingerprint: bytes) -> tuple[SshKeyInfo, Principal]:
    user = find_login(tx, login_key(name))
    found = find_ssh_key(tx, user.info.id, fingerprint) if user else None
    if user is None or found is None:
        raise BadCredentials("the name or the key is wrong")
    if not user.is_active:
        raise Forbidden("the account is suspended: ask an administrator", reason="suspended")
    return found, principal_of(tx, user, found.scopes, "ssh")
