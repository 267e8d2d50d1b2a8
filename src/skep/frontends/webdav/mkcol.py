"""MKCOL (RFC 4918 section 9.3): a new collection; its parent must be there."""

from __future__ import annotations

from skep.base.errors import NameClash, NodeNotFound
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import place_of


async def handle(exchange: Exchange) -> None:
    """Make a directory: 201; 405 if something is there, 409 without a parent, 415 for a body."""
    if await exchange.body.read(exchange.services.xml_bytes):
        raise Refusal(415, "MKCOL takes no body here.")
    if not exchange.url.segments:
        raise Refusal(405, "This collection is there.")
    place = await place_of(exchange.url, exchange.services.filesystem, exchange.principal)
    try:
        await exchange.services.filesystem.make_directory(
            exchange.principal, place.root.space_id, place.path, parents=False, exist_ok=False
        )
    except NodeNotFound:
        raise Refusal(409, f"The collection {place.parent!r} does not exist: make it first.") from None
    except NameClash as clash:
        status = 405 if clash.details.get("path") == place.path else 409
        raise Refusal(status, clash.message, code=clash.code) from None
    await exchange.answer(201)
