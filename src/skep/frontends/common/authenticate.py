"""Who asks: the Authorization header to a principal, for every door.

``Bearer`` carries an access token or an app password, ``Basic`` (RFC 7617) a name and a password
of either kind. Which credential is wrong is never said.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from skep.base.errors import InvalidToken, Unauthenticated
from skep.frontends.common.headers import Headers

if TYPE_CHECKING:
    from skep.auth import Auth, Principal


async def authenticate(auth: Auth, headers: Headers, client: str) -> Principal:
    """The principal of a request. ``client`` is its address, for the rate limit.

    Raises Unauthenticated (no or unknown kind of credential), InvalidToken, TokenExpired,
    BadCredentials and RateLimited.
    """
    value = headers.get("authorization")
    if value is None:
        raise Unauthenticated("This needs a login: send `Authorization: Bearer` with an access token.")
    kind, _, credential = value.partition(" ")
    match kind.lower():
        case "bearer":
            return await auth.authenticate_token(credential.strip())
        case "basic":
            name, password = _name_and_password(credential.strip())
            return await auth.authenticate_password(name, password, client)
        case _:
            raise InvalidToken("Invalid authorization header: send `Bearer` with a token, or `Basic`.")


def _name_and_password(credential: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(credential, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidToken("The Basic credential is not base64 of UTF-8 text.") from None
    if not colon:
        raise InvalidToken("The Basic credential has no colon between name and password.")
    return name, password
