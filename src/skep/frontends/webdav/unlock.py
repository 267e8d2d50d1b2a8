"""UNLOCK (RFC 4918 section 9.11): give a lock back."""

from __future__ import annotations

from skep.base.errors import Conflict, Forbidden
from skep.frontends.webdav import request_headers
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import place_of


async def handle(exchange: Exchange) -> None:
    """Take off the lock that Lock-Token names: 204; 409 if it is not on this resource, 403 if it is another's."""
    token = request_headers.lock_token(exchange.headers)
    if exchange.url.is_list_of_spaces:
        raise Refusal(409, "The list of spaces is never locked.", condition="lock-token-matches-request-uri")
    place = await place_of(exchange.url, exchange.services.filesystem, exchange.principal)
    try:
        await exchange.services.filesystem.unlock(exchange.principal, place.root.space_id, place.path, token)
    except Forbidden as error:
        raise Refusal(403, error.message, code=error.code) from None
    except Conflict as error:
        raise Refusal(409, error.message, condition="lock-token-matches-request-uri", code=error.code) from None
    await exchange.answer(204)
