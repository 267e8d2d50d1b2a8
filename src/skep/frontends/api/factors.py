"""Second factors of one's own account, and their recovery codes. Whoever changes them shows the password again."""

from __future__ import annotations

from typing import Any

import msgspec

from skep.auth import FactorInfo
from skep.base.errors import NotFound
from skep.frontends.api.auth_records import User, id_or_name, user_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.id_text import text_of

TAG = "account"


class Factor(msgspec.Struct, frozen=True):
    """A second factor without its secret. ``kind``: ``totp`` or ``passkey``."""

    id: str
    kind: str
    name: str
    created_us: int
    last_used_us: int | None


class FactorsOfUser(msgspec.Struct, frozen=True):
    """Those that count, oldest first."""

    factors: list[Factor]
    recovery_codes_left: int


class Again(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password once more; not needed where the account has none."""

    password: str | None = None


class NewTotpFactor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name``: what to call the app or device."""

    password: str | None = None
    name: str = ""


class TotpSecret(msgspec.Struct, frozen=True):
    """What an authenticator app needs; told once. The factor counts after a first code was sent."""

    factor: Factor
    secret: str
    uri: str


class TotpCode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Six digits that the app shows."""

    code: str


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Each gets its owner in once, in place of a second factor. Told once; empty: those from before stay good."""

    recovery_codes: list[str]


class PasskeyBegun(msgspec.Struct, frozen=True):
    """``options``: what ``navigator.credentials.create`` takes as ``publicKey``; ``ticket`` goes with its answer."""

    ticket: str
    options: dict[str, Any]


class PasskeyMade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``ticket``, and what the browser made, as JSON."""

    ticket: str
    credential: dict[str, Any]


class PasskeyAdded(msgspec.Struct, frozen=True):
    """It counts at once; recovery codes come with the first factor."""

    factor: Factor
    recovery_codes: list[str]


def factor_record(info: FactorInfo) -> Factor:
    """The JSON of a factor."""
    return Factor(text_of(info.id), info.kind, info.name, info.created_us, info.last_used_us)


async def list_factors(call: Call) -> FactorsOfUser:
    """List one's own second factors."""
    found = await call.services.auth.list_factors(call.principal)
    return FactorsOfUser([factor_record(info) for info in found.factors], found.recovery_codes_left)


async def begin_totp(call: Call, body: NewTotpFactor) -> TotpSecret:
    """Begin to add an authenticator app."""
    made = await call.services.auth.begin_totp(call.principal, body.password, body.name)
    return TotpSecret(factor_record(made.factor), made.secret, made.uri)


async def confirm_totp(call: Call, body: TotpCode) -> RecoveryCodes:
    """Let an authenticator app count from now on; with the first factor come the recovery codes."""
    factor_id = call.id("factor_id", NotFound)
    return RecoveryCodes(await call.services.auth.confirm_totp(call.principal, factor_id, body.code))


async def begin_passkey(call: Call, body: NewTotpFactor) -> PasskeyBegun:
    """Begin to add a passkey; needs ``server.public_url``, to which passkeys are bound."""
    return PasskeyBegun(*await call.services.auth.begin_passkey(call.principal, body.password, body.name))


async def finish_passkey(call: Call, body: PasskeyMade) -> PasskeyAdded:
    """Keep the passkey that the browser made."""
    info, codes = await call.services.auth.finish_passkey(call.principal, body.ticket, body.credential)
    return PasskeyAdded(factor_record(info), codes)


async def remove_factor(call: Call, body: Again) -> None:
    """Take a second factor away."""
    await call.services.auth.remove_factor(call.principal, call.id("factor_id", NotFound), body.password)


async def renew_recovery_codes(call: Call, body: Again) -> RecoveryCodes:
    """Make new recovery codes; the old ones are void."""
    return RecoveryCodes(await call.services.auth.renew_recovery_codes(call.principal, body.password))


async def list_factors_of(call: Call) -> FactorsOfUser:
    """List a user's second factors: oneself, or as an administrator anybody's."""
    found = await call.services.auth.list_factors(call.principal, id_or_name(call.path["user"]))
    return FactorsOfUser([factor_record(info) for info in found.factors], found.recovery_codes_left)


async def clear_factors(call: Call) -> User:
    """Take all second factors from a user who has lost them; their sessions end."""
    return user_record(await call.services.auth.clear_factors(call.principal, id_or_name(call.path["user"])))


OPERATIONS = (
    Operation("GET", "/api/auth/factors", list_factors, "account", TAG),
    Operation("POST", "/api/auth/factors/totp", begin_totp, "account", TAG, status=201),
    Operation("POST", "/api/auth/factors/passkey", begin_passkey, "account", TAG),
    Operation("POST", "/api/auth/factors/passkey/finish", finish_passkey, "account", TAG, status=201),
    Operation("POST", "/api/auth/factors/{factor_id}/confirm", confirm_totp, "account", TAG),
    Operation("DELETE", "/api/auth/factors/{factor_id}", remove_factor, "account", TAG, status=204),
    Operation("POST", "/api/auth/recovery-codes", renew_recovery_codes, "account", TAG),
    Operation("GET", "/api/auth/users/{user}/factors", list_factors_of, "account", TAG),
    Operation("DELETE", "/api/auth/users/{user}/factors", clear_factors, "admin", TAG, admin=True),
)
