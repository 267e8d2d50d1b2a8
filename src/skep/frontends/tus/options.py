"""OPTIONS: what the door can do (tus, section OPTIONS), what browsers may send (CORS), what the draft limits."""

from __future__ import annotations

from skep.frontends.tus.checksums import NAMES
from skep.frontends.tus.cors import METHODS, PREFLIGHT
from skep.frontends.tus.exchange import EXTENSIONS, VERSION, Exchange


async def options(exchange: Exchange) -> None:
    """Answer anybody; browsers ask without a login."""
    headers = [
        ("allow", METHODS),
        ("tus-resumable", VERSION),
        ("tus-version", VERSION),
        ("tus-extension", EXTENSIONS),
        ("tus-max-size", str(exchange.ground.file_bytes)),
        ("tus-checksum-algorithm", NAMES),
        ("accept-patch", "application/partial-upload, application/offset+octet-stream"),
        exchange.limits(),
        *PREFLIGHT,
    ]
    if exchange.is_tus:
        headers.remove(("tus-resumable", VERSION))
    await exchange.answer(204, headers)
