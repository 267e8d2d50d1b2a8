"""OPTIONS: what can be done here (RFC 9110 section 9.3.7, RFC 4918 section 10.1).

Needs no login, as Windows and Finder ask before they have one; it says nothing about what is there.
"""

from __future__ import annotations

from skep.frontends.webdav.exchange import Exchange

CLASSES = "1, 2, 3"
ALLOW = "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT"
HEADERS = (
    ("dav", CLASSES),
    ("allow", ALLOW),
    ("ms-author-via", "DAV"),  # Windows takes a server without it for one of FrontPage
    ("accept-ranges", "bytes"),
)


async def handle(exchange: Exchange) -> None:
    """Answer with the compliance classes and methods."""
    await exchange.answer(200, headers=HEADERS)
