"""Coming and going: register, login, refresh, logout, and the keys that verify tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from skep.frontends.api.auth_records import Tokens, User, tokens_record, user_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "auth"


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new account of one's own. ``invite``: the token of an invite, where the hive asks for one."""

    name: str
    password: str
    email: str = ""
    full_name: str = ""
    invite: str | None = None


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name`` may be the e-mail address; ``agent`` is shown in the list of sessions; ``code``: of a second factor."""

    name: str
    password: str
    agent: str = ""
    scopes: list[str] | None = None
    code: str | None = None


class SecondFactor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``question`` that a login was answered with, and a code of an authenticator app or a recovery code."""

    question: str
    code: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``question`` that a login was answered with."""

    question: str


class PasskeyAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``question``, and what the browser's ``navigator.credentials.get`` gave, as JSON."""

    question: str
    credential: dict[str, Any]


class NewPasskeyLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``agent`` is shown in the list of sessions."""

    agent: str = ""
    scopes: list[str] | None = None


class PasskeyQuestion(msgspec.Struct, frozen=True):
    """``options``: what ``navigator.credentials.get`` takes as ``publicKey``, as JSON."""

    question: str
    options: dict[str, Any]


class Refresh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The refresh token of the pair before."""

    refresh_token: str


async def register(call: Call, body: Register) -> User:
    """Make one's own account, as far as the hive allows it."""
    user = await call.services.auth.register(
        body.name, body.password, body.email, body.full_name, body.invite, address=call.client
    )
    return user_record(user)


async def login(call: Call, body: Login) -> Tokens:
    """Begin a session with name and password.

    Where the account has a second factor and no code came, the answer is 401 with the code ``second-factor-needed``:
    its details have a ``question`` for ``/api/auth/login/second``. After too many wrong passwords 429 says in
    Retry-After how long to wait.
    """
    agent = body.agent or (call.headers.text("user-agent") or "")[:200]
    pair = await call.services.auth.login(
        body.name, body.password, agent, call.client, scopes=body.scopes, code=body.code
    )
    return tokens_record(pair)


async def login_second(call: Call, body: SecondFactor) -> Tokens:
    """Begin the session that a login asked a second factor for.

    Five wrong codes end the question: log in anew.
    """
    return tokens_record(await call.services.auth.answer(body.question, body.code, call.client))


async def ask_passkey(call: Call, body: Asked) -> PasskeyQuestion:
    """Ask what a passkey is to sign, to answer the question of a login with it."""
    return PasskeyQuestion(body.question, await call.services.auth.ask_passkey(body.question))


async def answer_passkey(call: Call, body: PasskeyAnswer) -> Tokens:
    """Begin the session that a login asked a second factor for, with a passkey."""
    return tokens_record(await call.services.auth.answer_passkey(body.question, body.credential, call.client))


async def begin_passkey_login(call: Call, body: NewPasskeyLogin) -> PasskeyQuestion:
    """Begin to log in with a passkey in place of name and password."""
    agent = body.agent or (call.headers.text("user-agent") or "")[:200]
    scopes = None if body.scopes is None else frozenset(body.scopes)
    return PasskeyQuestion(*await call.services.auth.begin_passkey_login(agent, call.client, scopes=scopes))


async def login_passkey(call: Call, body: PasskeyAnswer) -> Tokens:
    """Begin a session with a passkey whose device has verified its user."""
    return tokens_record(await call.services.auth.login_passkey(body.question, body.credential, call.client))


async def refresh(call: Call, body: Refresh) -> Tokens:
    """Exchange a refresh token for a new pair; the old one is used up."""
    return tokens_record(await call.services.auth.refresh(body.refresh_token))


async def logout(call: Call) -> None:
    """End the session whose access token is sent."""
    await call.services.auth.logout(call.principal)


async def jwks(call: Call) -> dict[str, Any]:
    """The public keys that verify access tokens (RFC 7517)."""
    call.answer_headers.append(("access-control-allow-origin", "*"))
    return await call.services.auth.jwks()


OPERATIONS = (
    Operation("POST", "/api/auth/register", register, None, TAG, status=201),
    Operation("POST", "/api/auth/login", login, None, TAG),
    Operation("POST", "/api/auth/login/second", login_second, None, TAG),
    Operation("POST", "/api/auth/login/second/ask", ask_passkey, None, TAG),
    Operation("POST", "/api/auth/login/second/passkey", answer_passkey, None, TAG),
    Operation("POST", "/api/auth/login/passkey/ask", begin_passkey_login, None, TAG),
    Operation("POST", "/api/auth/login/passkey", login_passkey, None, TAG),
    Operation("POST", "/api/auth/refresh", refresh, None, TAG),
    Operation("POST", "/api/auth/logout", logout, "", TAG, status=204),
    Operation("GET", "/api/auth/jwks", jwks, None, TAG),
    Operation("GET", "/.well-known/jwks.json", jwks, None, TAG),
)
