"""COPY (RFC 4918 section 9.8): a copy with its dead properties; a collection alone with ``Depth: 0``."""

from __future__ import annotations

from skep.frontends.webdav import conditions, relocation, request_headers
from skep.frontends.webdav.exchange import Exchange


async def handle(exchange: Exchange) -> None:
    """Copy to the Destination; no content is moved within a space."""
    shallow = request_headers.depth(exchange.headers, "infinity", ("0", "infinity")) == "0"
    both = await relocation.ends(exchange)
    with relocation.refusals(both.target):
        await exchange.services.filesystem.copy(
            exchange.principal,
            both.node.id,
            both.target.root.space_id,
            both.target.path,
            overwrite=both.overwrite,
            replace_kind=True,
            shallow=shallow,
            conditions=conditions.at_commit(exchange),
        )
    await relocation.answer(exchange, both)
