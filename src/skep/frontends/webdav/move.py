"""MOVE (RFC 4918 section 9.9): another URL for the same resource, which keeps its id, versions and properties."""

from __future__ import annotations

from skep.frontends.webdav import conditions, relocation, request_headers
from skep.frontends.webdav.exchange import Exchange


async def handle(exchange: Exchange) -> None:
    """Move to the Destination; what is there goes to the trash if Overwrite allows it."""
    request_headers.depth(exchange.headers, "infinity", ("infinity",))
    both = await relocation.ends(exchange)
    with relocation.refusals(both.target):
        await exchange.services.filesystem.move(
            exchange.principal,
            both.node.id,
            both.target.root.space_id,
            both.target.path,
            overwrite=both.overwrite,
            replace_kind=True,
            conditions=conditions.at_commit(exchange),
        )
    await relocation.answer(exchange, both)
