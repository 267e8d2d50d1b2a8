"""Who asks: the Authorization header to a principal, for every door.

``Bearer`` carries an access token, ``Basic`` (RFC 7617) a name with an app password or the login
password. Which credential is wrong is never said.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import TYPE_CHECKING

from skep.base.errors import Forbidden, InvalidId, InvalidToken, Unauthenticated
from skep.base.ids import Id, parse_id
from skep.frontends.common.headers import Headers
from skep.frontends.common.origins import is_of_another_site

if TYPE_CHECKING:
    from skep.auth import Auth, Principal


async def authenticate(auth: Auth, headers: Headers, client: str) -> Principal:
    """The principal of a request. ``client`` is its address, for the rate limit.

    Raises Unauthenticated (no or unknown kind of credential), InvalidToken, TokenExpired,
    BadCredentials and RateLimited; Forbidden for a password that another site's page made a browser send.
    """
    principal = await _authenticated(auth, headers, client)
    tokens = lock_tokens(headers)
    return replace(principal, lock_tokens=tokens) if tokens else principal


def lock_tokens(headers: Headers) -> frozenset[Id]:
    """The lock that a request of any door says it knows of: ``Lock-Token: <urn:uuid:...>``, of RFC 4918."""
    text = headers.get("lock-token")
    if not text:
        return frozenset()
    try:
        return frozenset({parse_id(text.strip("<> ").removeprefix("urn:uuid:"))})
    except InvalidId:
        return frozenset()


async def _authenticated(auth: Auth, headers: Headers, client: str) -> Principal:
    value = headers.get("authorization")
    if value is None:
        raise Unauthenticated("This needs a login: send `Authorization: Bearer` with an access token.")
    kind, _, credential = value.partition(" ")
    match kind.lower():
        case "bearer":
            return await auth.authenticate_token(credential.strip())
        case "basic":
            _refuse_other_sites(headers)
            name, password = _name_and_password(credential.strip())
            return await auth.authenticate_password(name, password, client)
        case _:
            raise InvalidToken("Invalid authorization header: send `Bearer` with a token, or `Basic`.")


def _refuse_other_sites(headers: Headers) -> None:
    """A browser adds a remembered password to what any page sends here."""
    if is_of_another_site(headers):
        raise Forbidden("The page of another site made this request: a remembered password is not taken.")


def _name_and_password(credential: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(credential, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidToken("The Basic credential is not base64 of UTF-8 text.") from None
    if not colon:
        raise InvalidToken("The Basic credential has no colon between name and password.")
    return name, password
