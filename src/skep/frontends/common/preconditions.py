"""The conditions under which a write is made, and the digests that its body must have."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from skep.base.errors import MalformedRequest
from skep.filesystem import Conditions
from skep.frontends.common.conditions import parse_tags
from skep.frontends.common.headers import Headers
from skep.frontends.common.httpdate import parse_http_date

DIGEST_BYTES: Mapping[str, int] = {"md5": 16, "sha1": 20, "sha256": 32}
_HTTP_NAMES = {"md5": "md5", "sha": "sha1", "sha-1": "sha1", "sha-256": "sha256"}
_MEMBER = re.compile(r"\s*([A-Za-z0-9*_-]+)\s*=\s*:?([A-Za-z0-9+/=]+):?\s*")


def write_conditions(headers: Headers) -> Conditions:
    """The conditions in a request's head (RFC 9110 section 13.1). Raises MalformedRequest."""
    unmodified = headers.get("if-unmodified-since")
    return Conditions(
        if_match=parse_tags(headers.get("if-match"), weak=False),
        if_none_match=parse_tags(headers.get("if-none-match"), weak=True),
        if_unmodified_since_us=None if unmodified is None else parse_http_date(unmodified),
    )


ALL = ("repr-digest", "content-digest", "digest")


def expected_digests(headers: Headers, names: tuple[str, ...] = ALL) -> dict[str, bytes]:
    """The digests that the head declares: Repr-Digest, Content-Digest (RFC 9530), Digest, Content-MD5.

    With ``names`` only those of these headers. Kinds that we do not compute are passed over. Raises MalformedRequest
    for a value that is no digest.
    """
    found: dict[str, bytes] = {}
    for header in names:
        for member in (headers.get(header) or "").split(","):
            match = _MEMBER.fullmatch(member)
            name = None if match is None else _HTTP_NAMES.get(match.group(1).lower())
            if match is not None and name is not None:
                found[name] = _from_base64(name, match.group(2))
    text = headers.get("content-md5") if names is ALL else None
    if text is not None:
        found["md5"] = digest_of_text("md5", text)
    return found


def digest_of_text(name: str, text: str) -> bytes:
    """A digest written in hex or base64. Raises MalformedRequest."""
    size = DIGEST_BYTES[name]
    if len(text) == 2 * size:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    return _from_base64(name, text)


def _from_base64(name: str, text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != DIGEST_BYTES[name]:
        raise MalformedRequest(f"{text[:80]!r} is not a {name} digest in hex or base64.")
    return value
