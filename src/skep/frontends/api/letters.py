"""Letters: a password that was forgotten, an e-mail address to be proven."""

from __future__ import annotations

import msgspec

from skep.frontends.api.auth_records import User, user_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "auth"


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name`` may be the e-mail address."""

    name: str


class ResetPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token of a letter, and the password that shall count."""

    token: str
    new_password: str


class LetterToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token of a letter."""

    token: str


async def ask_reset(call: Call, body: Forgotten) -> None:
    """Write to whoever has this name or address how to set a new password.

    The answer is the same whether anybody has. A name has three letters, and one more every ten minutes.
    """
    await call.services.auth.ask_reset(body.name, call.client)


async def reset_password(call: Call, body: ResetPassword) -> User:
    """Set a new password with the token of a letter. All sessions end; second factors stay."""
    return user_record(await call.services.auth.reset_password(body.token, body.new_password, call.client))


async def ask_verification(call: Call) -> None:
    """Write to one's own address, to prove that letters reach it."""
    await call.services.auth.ask_verification(call.principal)


async def verify_email(call: Call, body: LetterToken) -> User:
    """Prove an e-mail address with the token of a letter."""
    return user_record(await call.services.auth.verify_email(body.token, call.client))


OPERATIONS = (
    Operation("POST", "/api/auth/reset", ask_reset, None, TAG, status=202),
    Operation("POST", "/api/auth/reset/confirm", reset_password, None, TAG),
    Operation("POST", "/api/auth/verify-email/ask", ask_verification, "account", TAG, status=202),
    Operation("POST", "/api/auth/verify-email", verify_email, None, TAG),
)
