"""Second factors of a user: added, confirmed, listed, removed; recovery codes.

Whoever adds or removes one shows the password again, so that a stolen access token can do neither. Users who have no
password (an identity provider vouches for them) need none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.auth.factors import (
    FactorInfo,
    FactorRow,
    codes_left,
    confirm_factor,
    drop_factors,
    factors_of,
    insert_factor,
    new_recovery_codes,
    remove_factor,
)
from skep.auth.logins import Logins
from skep.auth.records import Principal, UserInfo
from skep.auth.scopes import ACCOUNT
from skep.auth.totp import SECRET_BYTES, key_uri, matching_step, secret_text
from skep.auth.users import UserRow, the_user
from skep.base.chance import random_bytes
from skep.base.errors import BadCredentials, BadInput, Conflict, NotFound
from skep.base.ids import Id
from skep.db import Transaction

FACTOR_NAME_LENGTH = 100
_WRONG_CODE = "the code is wrong, or was used before: wait for the next one, and see that the clocks are right"


@dataclass(frozen=True, slots=True)
class NewTotp:
    """A TOTP factor to be confirmed with a first code. Both forms hold the secret, shown this once."""

    factor: FactorInfo
    secret: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Factors:
    """A user's second factors that count, and how many recovery codes are left."""

    factors: tuple[FactorInfo, ...]
    recovery_codes_left: int


class SecondFactors(Logins):
    """The part of ``Auth`` that keeps second factors."""

    async def list_factors(self, principal: Principal, user: Id | str | None = None) -> Factors:
        """One's own second factors; an administrator may ask for another's. Raises UserNotFound, Forbidden."""
        principal.require(ACCOUNT)
        if user not in (None, principal.user_id, principal.name):
            principal.require_admin()

        def look(tx: Transaction) -> Factors:
            user_id = principal.user_id if user is None else the_user(tx, user).info.id
            rows = factors_of(tx, user_id, confirmed=True)
            return Factors(tuple(row.info for row in rows), codes_left(tx, user_id))

        return await self._db.read(look)

    async def begin_totp(self, principal: Principal, password: str | None, name: str = "") -> NewTotp:
        """Make a secret for an authenticator app; it counts once ``confirm_totp`` has seen a code of it.

        Raises BadCredentials (the password), BadInput, LimitReached, RateLimited.
        """
        principal.require(ACCOUNT)
        shown, secret = factor_name(name or "authenticator app"), random_bytes(SECRET_BYTES)
        await self._prove_again(principal, password)

        def keep(tx: Transaction) -> FactorRow:
            user = self._live_user(tx, principal).info
            return insert_factor(tx, self._factor_keys.secrets, user.id, kind="totp", name=shown, secret=secret)

        row = await self._db.write(keep)
        uri = key_uri(secret, issuer=self._rules.issuer, account=principal.name)
        return NewTotp(row.info, secret_text(secret), uri)

    async def confirm_totp(self, principal: Principal, factor_id: Id, code: str) -> list[str]:
        """Let a TOTP factor count. With the first factor the recovery codes are made: ten, told here only.

        Raises NotFound, Conflict (it counts already), BadCredentials (the code), RateLimited.
        """
        principal.require(ACCOUNT)
        key = principal.user_id.hex()
        self._codes.take(key)

        def confirm(tx: Transaction) -> list[str]:
            user = self._live_user(tx, principal).info
            row = _own_factor(tx, user.id, factor_id)
            secret, plain = row.opened(self._factor_keys.secrets), code.strip().replace(" ", "")
            step = matching_step(secret, plain, now_us=tx.now_us, used_step=row.counter)
            if step is None:
                raise BadCredentials(_WRONG_CODE)
            if not confirm_factor(tx, row, seen=step):
                raise Conflict("this second factor counts already")
            return self._added(tx, principal, user, row)

        codes = await self._db.write(confirm)
        self._codes.give_back(key)
        return codes

    async def remove_factor(self, principal: Principal, factor_id: Id, password: str | None) -> None:
        """Take one of one's own second factors away. Raises BadCredentials, NotFound, RateLimited."""
        principal.require(ACCOUNT)
        await self._prove_again(principal, password)

        def remove(tx: Transaction) -> None:
            user = self._live_user(tx, principal).info
            row = _own_factor(tx, user.id, factor_id)
            remove_factor(tx, user.id, factor_id)
            self._note(tx, "factor-removed", principal, kind=row.info.kind, name=row.info.name)
            self._void_after(tx, user.id)

        await self._db.write(remove)

    async def renew_recovery_codes(self, principal: Principal, password: str | None) -> list[str]:
        """Ten new recovery codes; the old ones are void. Raises BadCredentials, Conflict without a factor."""
        principal.require(ACCOUNT)
        await self._prove_again(principal, password)

        def renew(tx: Transaction) -> list[str]:
            user = self._live_user(tx, principal).info
            if not factors_of(tx, user.id, confirmed=True):
                raise Conflict("recovery codes stand in for a second factor: add one first")
            self._note(tx, "recovery-codes-made", principal)
            return new_recovery_codes(tx, self._factor_keys.recovery, user.id)

        return await self._db.write(renew)

    async def clear_factors(self, principal: Principal, user: Id | str) -> UserInfo:
        """Take all second factors from a user who has lost them (administrators); sessions end. Raises UserNotFound."""
        principal.require_admin()

        def clear(tx: Transaction) -> UserInfo:
            info = the_user(tx, user).info
            drop_factors(tx, info.id)
            self._void_credentials(tx, info.id)
            self._note(tx, "factors-cleared", principal, info)
            return info

        return await self._db.write(clear)

    async def _prove_again(self, principal: Principal, password: str | None) -> UserRow:
        """The user, whose password was shown again if there is one. Raises BadCredentials."""
        user = await self._db.read(lambda tx: self._live_user(tx, principal))
        if user.password_hash is None:
            return user
        proven = await self._prove(principal.name, password or "", "")
        if proven.info.id != principal.user_id:
            raise BadCredentials("the name or the password is wrong")
        return proven

    def _added(self, tx: Transaction, principal: Principal, user: UserInfo, row: FactorRow) -> list[str]:
        """What follows a factor that counts from now on: recovery codes, if it is the first."""
        self._note(tx, "factor-added", principal, factor=row.info.kind, name=row.info.name)
        self._void_after(tx, user.id)  # the password alone was believed for a while
        if len(factors_of(tx, user.id, confirmed=True)) > 1 and codes_left(tx, user.id):
            return []
        return new_recovery_codes(tx, self._factor_keys.recovery, user.id)


def factor_name(text: str) -> str:
    """A factor's name, spaces folded. Raises BadInput."""
    shown = " ".join(text.split())
    if not 1 <= len(shown) <= FACTOR_NAME_LENGTH or not shown.isprintable():
        raise BadInput(f"a second factor's name has 1 to {FACTOR_NAME_LENGTH} printable characters")
    return shown


def _own_factor(tx: Transaction, user_id: Id, factor_id: Id) -> FactorRow:
    found = next((row for row in factors_of(tx, user_id) if row.info.id == factor_id), None)
    if found is None:
        raise NotFound("no such second factor: list yours")
    return found
