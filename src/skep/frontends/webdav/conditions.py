"""What must hold before a verb does anything: the If header, and the conditions of HTTP for its commit."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from skep.base.errors import Forbidden, NotFound, SkepError
from skep.filesystem import Conditions
from skep.frontends.common.preconditions import write_conditions
from skep.frontends.webdav import if_header
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.if_header import State
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Url, parse_url_path, place_of


async def submit(exchange: Exchange) -> None:
    """Read the If header: the caller knows the locks that it names. Raises MalformedRequest; Refusal 412."""
    text = exchange.headers.get("if")
    if text is None:
        return
    clauses = if_header.parse_if(text)
    principal = exchange.principal
    tokens = principal.lock_tokens | if_header.submitted(clauses)
    exchange.caller = replace(principal, lock_tokens=tokens)

    async def state_of(resource: str | None) -> State:
        return await _state(exchange, exchange.url if resource is None else _url(resource))

    if exchange.method in ("GET", "HEAD", "OPTIONS") or await if_header.holds(clauses, state_of):
        return
    raise Refusal(412, "No list of the header If holds: look at the resource and its locks again.")


async def _state(exchange: Exchange, url: Url | None) -> State:
    nothing: State = (None, ())
    if url is None or url.is_list_of_spaces:
        return nothing
    filesystem, principal = exchange.services.filesystem, exchange.principal
    try:
        place = await place_of(url, filesystem, principal)
        return await filesystem.state(principal, place.root.space_id, place.path)
    except (NotFound, Forbidden):  # what a drop box holds is not known to who adds to it
        return nothing


def _url(resource: str) -> Url | None:
    """The URL of a tagged list; one of another place has no state here."""
    try:
        return parse_url_path(urlsplit(resource).path.encode("latin-1"))
    except (ValueError, SkepError):
        return None


def at_commit(exchange: Exchange) -> Conditions:
    """What the transaction itself must check. Raises MalformedRequest."""
    conditions = write_conditions(exchange.headers)
    text = exchange.headers.get("if")
    etag = None if text is None else if_header.required_etag(if_header.parse_if(text))
    if etag is None or conditions.if_match is not None:
        return conditions
    return msgspec.structs.replace(conditions, if_match=(etag,))
