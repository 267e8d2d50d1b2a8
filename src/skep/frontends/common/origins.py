"""Whose page made a browser send a request: RFC 6454, and Fetch Metadata (https://www.w3.org/TR/fetch-metadata/)."""

from __future__ import annotations

from urllib.parse import urlsplit

from skep.frontends.common.headers import Headers

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def is_own(origin: str, host: str) -> bool:
    """Whether an Origin is that of the hive, which the client reached under this Host."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _PORTS.get(page.scheme)
        if default is None or not page.hostname or page.hostname != here.hostname:
            return False
        return (page.port or default) == (here.port or default)
    except ValueError:
        return False


def is_of_another_site(headers: Headers) -> bool:
    """Whether a page of another site made the request.

    ``Sec-Fetch-Site`` says so of every request, but browsers leave it out where the hive is reached without TLS;
    ``Origin`` comes there too, with whatever is not a GET or HEAD. Programs send neither.
    """
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and not is_own(origin, headers.get("host") or "")
