"""PUT (RFC 4918 section 9.7, RFC 9110 section 9.3.4): a new file, or a new version of the one that is there.

The old version stays until the new one is whole and durable, whatever happens to the request.
"""

from __future__ import annotations

from skep.base.errors import MalformedRequest, NameClash, NodeNotFound
from skep.filesystem import WriteResult
from skep.frontends.common.conditions import quoted
from skep.frontends.common.disposition import safe_content_type
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.preconditions import DIGEST_BYTES, digest_of_text, expected_digests
from skep.frontends.webdav import conditions, request_headers
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import place_of

_NO_TYPE = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})


async def handle(exchange: Exchange) -> None:
    """Write the body: 201 for a new file, 204 for a new version."""
    _check(exchange)
    place = await place_of(exchange.url, exchange.services.filesystem, exchange.principal)
    modified_us = request_headers.modified_us(exchange.headers)
    exchange.body.check_declared()
    async with exchange.services.uploads.enter_as(exchange.principal.user_id):
        try:
            result = await exchange.services.filesystem.write_file(
                exchange.principal,
                place.root.space_id,
                place.path,
                exchange.body,
                length=_length(exchange),
                conditions=conditions.at_commit(exchange),
                mime=_mime(exchange),
                modified_us=modified_us,
                expected_digests=_digests(exchange),
            )
        except NodeNotFound:
            raise Refusal(409, f"The collection {place.parent!r} does not exist: make it first.") from None
        except NameClash as clash:
            status = 405 if clash.details.get("path") == place.path else 409
            raise Refusal(status, f"{clash.message}: a file cannot be written there.", code=clash.code) from None
    await _answer(exchange, result, has_time=modified_us is not None)


def _check(exchange: Exchange) -> None:
    if not exchange.url.segments or exchange.url.is_collection:
        raise Refusal(405, "A collection has no content to write: give the URL of a file, with no slash at the end.")
    if "content-range" in exchange.headers:
        raise MalformedRequest("Parts of a file are not written by PUT: send the whole file (RFC 9110 section 14.5).")


def _length(exchange: Exchange) -> int | None:
    if exchange.body.declared is not None:
        return exchange.body.declared
    return request_headers.expected_length(exchange.headers)


def _mime(exchange: Exchange) -> str | None:
    kind = exchange.headers.get("content-type") or ""
    return None if kind in _NO_TYPE else safe_content_type(kind)


def _digests(exchange: Exchange) -> dict[str, bytes]:
    """Digests to be checked: those of HTTP, and ownCloud's ``OC-Checksum: SHA1:hex``."""
    found = expected_digests(exchange.headers)
    kind, _, value = (exchange.headers.get("oc-checksum") or "").partition(":")
    if kind.lower() in DIGEST_BYTES:
        found[kind.lower()] = digest_of_text(kind.lower(), value.strip())
    return found


async def _answer(exchange: Exchange, result: WriteResult, *, has_time: bool) -> None:
    etag = quoted(result.node.etag)
    headers = [("etag", etag), ("oc-etag", etag), ("last-modified", http_date(result.node.modified_us))]
    if has_time:
        headers.append(("x-oc-mtime", "accepted"))
    await exchange.answer(201 if result.created else 204, headers=headers)
