"""DELETE (RFC 4918 section 9.6): into the trash, with all that is below, or nothing of it."""

from __future__ import annotations

from skep.frontends.common.dropbox import node_at
from skep.frontends.webdav import conditions, request_headers
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import place_of


async def handle(exchange: Exchange) -> None:
    """Put a node into the trash: 204."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    if not exchange.url.segments:
        raise Refusal(403, "The root of a space cannot be deleted: delete what is in it.")
    place = await place_of(exchange.url, filesystem, principal)
    node = await node_at(filesystem, principal, place.root.space_id, place.path)
    if node.is_directory:
        request_headers.depth(exchange.headers, "infinity", ("infinity",))
    await filesystem.delete(principal, node.id, conditions=conditions.at_commit(exchange))
    await exchange.answer(204)
