"""DELETE: an upload is given up, and what it held goes (tus: termination; draft section 4.5)."""

from __future__ import annotations

from skep.frontends.tus.exchange import DOOR, Exchange


async def cancel(exchange: Exchange) -> None:
    """204. A request that is still being sent ends. The file that a finished upload became stays."""
    await exchange.ground.filesystem.abort_upload(exchange.principal, DOOR, exchange.upload_id)
    await exchange.answer(204)
