"""The part of ``Auth`` for access keys: making them, and finding the secret that a request was signed with."""

from __future__ import annotations

from collections.abc import Collection

from skep.auth.access_keys import (
    AccessGrant,
    AccessKeyRow,
    find_access_key,
    insert_access_key,
    list_access_key_rows,
    new_access_key,
    remove_access_key,
    touch_access_key,
)
from skep.auth.core import AuthCore, principal_of
from skep.auth.records import AccessKeyInfo, CreatedAccessKey, Principal
from skep.auth.scopes import ACCOUNT, FILE_SCOPES, checked_scopes
from skep.auth.users import find_user
from skep.base.errors import BadInput, Forbidden, InvalidToken, Unavailable
from skep.base.ids import Id
from skep.db import Transaction

KEY_NAME_LENGTH = 100
KEY_LASTS_MAX_S = 10 * 365 * 86_400
PREFIX_LENGTH = 1024


class Signing(AuthCore):
    """Access keys. A key acts as its user, within its scopes, in one space, and if so made in one bucket or prefix."""

    async def create_access_key(
        self,
        principal: Principal,
        name: str,
        *,
        scopes: Collection[str] = FILE_SCOPES,
        space_id: Id | None = None,
        bucket: str | None = None,
        prefix: str | None = None,
        expires_in_s: float | None = None,
    ) -> CreatedAccessKey:
        """Make a key for one program; its secret is in the answer only. ``space_id`` None: the user's own space.

        Whether the space may be used is decided at each request. Raises Forbidden, BadInput, LimitReached.
        """
        principal.require(ACCOUNT)
        wanted = checked_scopes(scopes)
        if not wanted <= FILE_SCOPES & principal.scopes:
            raise Forbidden("an access key has files:read, files:write or both, as far as you have them")
        shown = " ".join(name.split())
        if not 1 <= len(shown) <= KEY_NAME_LENGTH or not shown.isprintable():
            raise BadInput(f"an access key needs a name of 1 to {KEY_NAME_LENGTH} printable characters")
        if expires_in_s is not None and not 0 < expires_in_s <= KEY_LASTS_MAX_S:
            raise BadInput(f"an access key lasts up to {KEY_LASTS_MAX_S} s, not {expires_in_s}")
        if prefix and not bucket:
            raise BadInput("a prefix is one of a bucket: name the bucket too")
        if bucket is not None and (not 1 <= len(bucket.encode()) <= 255 or "/" in bucket or not bucket.isprintable()):
            raise BadInput("that is no name of a bucket")
        if prefix is not None and len(prefix) > PREFIX_LENGTH:
            raise BadInput(f"a prefix has at most {PREFIX_LENGTH} characters")
        access_key, secret = new_access_key()

        def keep(tx: Transaction) -> AccessKeyInfo:
            user_id = self._live_user(tx, principal).info.id
            until_us = None if expires_in_s is None else tx.now_us + int(expires_in_s * 1e6)
            info = AccessKeyInfo(
                bytes(16), access_key, shown, space_id, wanted, bucket, prefix or None, tx.now_us, None, until_us
            )
            self._note(tx, "access-key-made", principal, key=access_key, scopes=sorted(wanted))
            return insert_access_key(tx, self._secrets_key, user_id, info, secret)

        return CreatedAccessKey(await self._db.write(keep), secret)

    async def list_access_keys(self, principal: Principal) -> list[AccessKeyInfo]:
        """One's own access keys, oldest first."""
        principal.require(ACCOUNT)
        return await self._db.read(lambda tx: list_access_key_rows(tx, principal.user_id))

    async def revoke_access_key(self, principal: Principal, access_key: str) -> None:
        """Make one of one's own useless at once. Raises NotFound."""
        principal.require(ACCOUNT)

        def revoke(tx: Transaction) -> None:
            remove_access_key(tx, principal.user_id, access_key)
            self._note(tx, "access-key-revoked", principal, key=access_key[:64])
            self._void_after(tx, principal.user_id)

        await self._db.write(revoke)

    def known_access_key(self, access_key: str) -> AccessGrant | None:
        """The grant of a key that was used a moment ago, at once; None: ask ``access_key``."""
        grant = self._grants.get(access_key.encode())
        if grant is None or (grant.info.expires_us is not None and grant.info.expires_us <= self._clock.now_us()):
            return None
        return grant

    async def access_key(self, access_key: str) -> AccessGrant:
        """The grant of a key by its name, for who goes on to check a signature made with its secret.

        Raises InvalidToken (no such key, expired, its user suspended), CorruptRecord.
        """
        known = self.known_access_key(access_key)
        if known is not None:
            return known
        voids = self._grants.voids

        def look(tx: Transaction) -> tuple[AccessKeyRow, AccessGrant]:
            row = find_access_key(tx, access_key)
            user = find_user(tx, row.user_id) if row is not None and row.is_good(tx.now_us) else None
            if row is None or user is None or not user.is_active:
                raise InvalidToken("there is no such access key (any more): make one")
            principal = self._demanded(tx, principal_of(tx, user, row.info.scopes, "app"))
            return row, AccessGrant(principal, row.info, row.secret(self._secrets_key))

        row, grant = await self._db.read(look)
        self._grants.put(access_key.encode(), grant, for_s=self._rules.verdict_cache_s, voids=voids)
        if row.wants_touch(self._clock.now_us()):
            try:
                await self._db.write(lambda tx: touch_access_key(tx, row.info.id))
            except Unavailable:  # a busy database is no reason to refuse
                pass
        return grant
