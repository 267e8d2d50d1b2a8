"""The headers that WebDAV adds to a request (RFC 4918 section 10), but ``If``, which has a module of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from skep.base.errors import MalformedRequest, SkepError
from skep.base.ids import Id, parse_id
from skep.frontends.common.headers import Headers
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Url, parse_url_path

Depth = Literal["0", "1", "infinity"]
TOKEN_PREFIX = "urn:uuid:"  # noqa: S105
_SECONDS = re.compile(r"second-(\d{1,10})\Z", re.IGNORECASE | re.ASCII)
_SIZE_DIGITS = re.compile(r"\d{1,18}\Z", re.ASCII)
_MTIME = re.compile(r"-?\d{1,12}(\.\d{1,9})?\Z", re.ASCII)
INFINITE_S = 1 << 40


def depth(headers: Headers, default: Depth, allowed: Sequence[Depth]) -> Depth:
    """The Depth header (section 10.2). Raises MalformedRequest for a depth that the verb does not have."""
    text = (headers.get("depth") or default).strip().lower()
    for known in allowed:
        if text == known:
            return known
    raise MalformedRequest(f"The depth {text[:40]!r} is not one of {', '.join(allowed)}.")


def overwrite(headers: Headers) -> bool:
    """The Overwrite header (section 10.6): true unless it says F. Raises MalformedRequest."""
    text = (headers.get("overwrite") or "T").strip().upper()
    if text not in ("T", "F"):
        raise MalformedRequest(f"The header Overwrite is T or F, not {text[:40]!r}.")
    return text == "T"


def timeout_s(headers: Headers, default_s: float) -> float:
    """The first time that the Timeout header asks for and that makes sense (section 10.7), in seconds."""
    for wish in (headers.get("timeout") or "").split(",")[:16]:
        wish = wish.strip()
        if wish.lower() == "infinite":
            return float(INFINITE_S)
        if (match := _SECONDS.match(wish)) is not None:
            return float(match[1])
    return default_s


def lock_token(headers: Headers) -> Id:
    """The Lock-Token header of an UNLOCK (section 10.5). Raises MalformedRequest; Refusal for a token not of ours."""
    text = (headers.get("lock-token") or "").strip()
    if not (text.startswith("<") and text.endswith(">")):
        raise MalformedRequest("Say which lock to take off: Lock-Token: <urn:uuid:...>")
    token = parse_token(text[1:-1])
    if token is None:
        raise Refusal(409, "No lock here has this token.", condition="lock-token-matches-request-uri")
    return token


def parse_token(text: str) -> Id | None:
    """The id in a state token; None if it is not one that this hive gives."""
    text = text.strip()
    text = text.removeprefix("opaquelocktoken:") if not text.startswith(TOKEN_PREFIX) else text[len(TOKEN_PREFIX) :]
    try:
        return parse_id(text)
    except SkepError:
        return None


def destination(headers: Headers) -> Url:
    """Where a COPY or MOVE leads (section 10.3): an absolute URL of this host, or an absolute path.

    Raises MalformedRequest; InvalidPath; Refusal 502 for another host.
    """
    text = headers.get("destination")
    if not text:
        raise MalformedRequest("Say where to: the header Destination is missing.")
    try:
        raw = text.encode("latin-1")
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2].lower()
    except (ValueError, UnicodeEncodeError):
        raise MalformedRequest("The header Destination is no URL.") from None
    if not host:
        if not text.startswith("/"):
            raise MalformedRequest("The header Destination is neither a URL nor an absolute path.")
        return parse_url_path(raw.partition(b"?")[0].partition(b"#")[0])
    if parts.scheme.lower() not in ("http", "https") or _without_port(host) not in _own_hosts(headers):
        raise Refusal(502, f"The destination {host[:80]!r} is another server: copy through a client instead.")
    return parse_url_path(parts.path.encode("latin-1"))


def _own_hosts(headers: Headers) -> set[str]:
    """The names under which the client, or a proxy for it, reached this server."""
    named = [headers.get("host") or "", *(headers.get("x-forwarded-host") or "").split(",")[:4]]
    return {_without_port(name.strip().lower()) for name in named if name.strip()}


def _without_port(host: str) -> str:
    return re.sub(r":\d*\Z", "", host)


def expected_length(headers: Headers) -> int | None:
    """The length that Finder tells beside a chunked body: X-Expected-Entity-Length."""
    text = headers.get("x-expected-entity-length")
    return int(text) if text is not None and _SIZE_DIGITS.match(text) else None


def modified_us(headers: Headers) -> int | None:
    """The file's own time that ownCloud's clients and rclone send: X-OC-Mtime, in seconds, maybe with a fraction."""
    text = headers.get("x-oc-mtime")
    if text is None:
        return None
    if not _MTIME.match(text.strip()):
        raise MalformedRequest(f"The header X-OC-Mtime is {text[:40]!r}, not a number of seconds.")
    whole, _, fraction = text.strip().partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 1_000_000 + sign * int((fraction + "000000")[:6])
