"""Letters to people: to prove an e-mail address, and to set a password that was forgotten.

What always holds:
- whoever asks for a reset learns nothing: the answer is given before anything is looked up;
- a link is good once, for its user, its purpose and the address that it went to; a newer one of the purpose voids it;
- a reset ends every session, and asks for the second factor at the next login like any other.
"""

from __future__ import annotations

import asyncio
from typing import Final

import sqlalchemy as sa

from skep.auth.accounts import Accounts
from skep.auth.buckets import address_key
from skep.auth.facts import set_verified_email
from skep.auth.names import login_key
from skep.auth.opaque_tokens import new_mail_token, secret_hash
from skep.auth.outbox import Letter, post
from skep.auth.records import Principal, UserInfo
from skep.auth.scopes import ACCOUNT
from skep.auth.users import find_login, find_user, the_user
from skep.base.errors import BadInput, InvalidToken, NotFound, RateLimited, SkepError
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_signin import mail_tokens

log = get_logger("skep.mail")
ERRANDS_MAX: Final = 100
VERIFY_S: Final = 2 * 86_400
RESET_S: Final = 3_600
_USED = "the link is unknown, used or too old: ask for a new one"

_INSERT = insert_new(mail_tokens)
_FIND = prepared(
    sa.select(mail_tokens.c.user_id, mail_tokens.c.address, mail_tokens.c.expires_us).where(
        mail_tokens.c.token_hash == sa.bindparam("for_hash"), mail_tokens.c.purpose == sa.bindparam("what")
    )
)
_SPEND = prepared(sa.delete(mail_tokens).where(mail_tokens.c.token_hash == sa.bindparam("for_hash")))
_VOID = prepared(
    sa.delete(mail_tokens).where(
        mail_tokens.c.user_id == sa.bindparam("user"), mail_tokens.c.purpose == sa.bindparam("what")
    )
)
_PURGE = prepared(sa.delete(mail_tokens).where(mail_tokens.c.expires_us <= sa.bindparam("now")))


class Mail(Accounts):
    """The part of ``Auth`` that writes to people."""

    @property
    def sends_mail(self) -> bool:
        """Whether letters go anywhere."""
        return self._rules.sends_mail

    async def ask_reset(self, name: str, address: str = "") -> None:
        """Write to whoever has this name or address how to set a new password; nobody learns whether anybody has.

        Raises NotFound (no mail is sent), RateLimited.
        """
        self._require_mail()
        self._addresses.take(address_key(address))
        self._resets.take(login_key(name))
        if len(self._errands) >= ERRANDS_MAX:
            raise RateLimited("too many ask at once: try again in a minute", retry_after_s=60, reason="overload")
        errand = asyncio.create_task(self._write_reset(login_key(name), address))
        self._errands.add(errand)  # not waited for: how long it takes would tell who is there
        errand.add_done_callback(self._errands.discard)

    async def _write_reset(self, login: str, address: str) -> None:
        token = new_mail_token()

        def write(tx: Transaction) -> None:
            user = find_login(tx, login)
            if user is None or not user.info.email or not user.is_active:
                return
            self._give(tx, user.info, "reset", token, RESET_S)
            post(tx, self._secrets_key, self._reset_letter(user.info, token))
            self._note(tx, "reset-asked", None, user.info, address=address)

        try:
            await self._db.write(write)
        except SkepError as error:
            log.warning("no letter was written", code=error.code)

    async def reset_password(self, token: str, new_password: str, address: str = "") -> UserInfo:
        """Set a new password with the token of a letter; all sessions end. Raises InvalidToken, BadInput."""
        self._addresses.take(address_key(address))
        found = await self._db.read(lambda tx: _owner(tx, "reset", token))
        new_hash = await self._new_hash(await self._db.read(lambda tx: the_user(tx, found)), new_password)

        def change(tx: Transaction) -> UserInfo:
            user = the_user(tx, self._spend(tx, "reset", token)).info
            self._replace_password(tx, user.id, new_hash)
            set_verified_email(tx, user.id, user.email)
            self._void_after(tx, user.id)
            self._note(tx, "password-reset", user, address=address)
            return user

        changed = await self._db.write(change)
        self._addresses.give_back(address_key(address))
        return changed

    async def ask_verification(self, principal: Principal) -> None:
        """Write to one's own address, to prove that letters reach it. Raises NotFound, BadInput, RateLimited."""
        principal.require(ACCOUNT)
        self._require_mail()
        self._resets.take(principal.user_id.hex())
        token = new_mail_token()

        def write(tx: Transaction) -> None:
            user = self._live_user(tx, principal).info
            if not user.email:
                raise BadInput("the account has no e-mail address: set one first")
            self._give(tx, user, "verify", token, VERIFY_S)
            text = (
                f"Somebody, probably you, gave this address to {self._rules.public_url} for the account {user.name}."
                f"\n\nTo say that it is yours, open\n{self._rules.public_url}/oauth/verify#token={token}\n\n"
                "If it is not, do nothing.\n"
            )
            post(tx, self._secrets_key, Letter(user.email, "Is this your e-mail address?", text))

        await self._db.write(write)

    async def verify_email(self, token: str, address: str = "") -> UserInfo:
        """Believe that letters reach an address. Raises InvalidToken, RateLimited."""
        self._addresses.take(address_key(address))

        def verify(tx: Transaction) -> UserInfo:
            user = the_user(tx, self._spend(tx, "verify", token)).info
            set_verified_email(tx, user.id, user.email)
            self._note(tx, "email-verified", user, address=address)
            self._void_after(tx, user.id)  # writing may have been withheld
            return user

        found = await self._db.write(verify)
        self._addresses.give_back(address_key(address))
        return found

    def _require_mail(self) -> None:
        if not self._rules.sends_mail or not self._rules.public_url:
            raise NotFound("this hive sends no letters: mail.url and server.public_url are not set")

    def _reset_letter(self, user: UserInfo, token: str) -> Letter:
        text = (
            f"Somebody, probably you, asked to set a new password for {user.name} at {self._rules.public_url}.\n\n"
            f"Within an hour, open\n{self._rules.public_url}/oauth/password#token={token}\n\n"
            "If it was not you, do nothing: your password is as it was.\n"
        )
        return Letter(user.email, "A new password", text)

    def _give(self, tx: Transaction, user: UserInfo, purpose: str, token: str, lasts_s: int) -> None:
        tx.run(_VOID, {"user": user.id, "what": purpose})
        row = {"token_hash": secret_hash(token), "user_id": user.id, "purpose": purpose, "address": user.email}
        tx.run(_INSERT, {**row, "expires_us": tx.now_us + lasts_s * 1_000_000})

    def _spend(self, tx: Transaction, purpose: str, token: str) -> Id:
        user_id = _owner(tx, purpose, token)
        if tx.run(_SPEND, {"for_hash": secret_hash(token)}) != 1:
            raise InvalidToken(_USED)
        return user_id


def _owner(tx: Transaction, purpose: str, token: str) -> Id:
    found = tx.one(_FIND, {"for_hash": secret_hash(token), "what": purpose})
    user = find_user(tx, bytes(found[0])) if found else None
    if found is None or user is None or found[2] <= tx.now_us or found[1] != user.info.email or not user.is_active:
        raise InvalidToken(_USED)
    return user.info.id


def purge_mail_tokens(tx: Transaction) -> int:
    """Remove links that are too old; how many."""
    return tx.run(_PURGE, {"now": tx.now_us})
