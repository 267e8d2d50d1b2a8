"""What COPY and MOVE share (RFC 4918 sections 9.8 and 9.9): both ends, and what their refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from skep.base.errors import NameClash, NodeNotFound
from skep.filesystem import NodeInfo
from skep.frontends.webdav import request_headers
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Place, place_of


class Ends(NamedTuple):
    """From what to where."""

    source: Place
    node: NodeInfo
    target: Place
    replaced: NodeInfo | None
    """What is at the target."""
    overwrite: bool


async def ends(exchange: Exchange) -> Ends:
    """Both ends of a COPY or MOVE. Raises Refusal, NodeNotFound for the source, SpaceNotFound."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    if not exchange.url.segments:
        raise Refusal(403, "The root of a space stays where it is: take what is in it.")
    source = await place_of(exchange.url, filesystem, principal)
    overwrite = request_headers.overwrite(exchange.headers)
    url = request_headers.destination(exchange.headers)
    if not url.segments:
        raise Refusal(403, "The root of a space cannot be replaced.")
    target = await place_of(url, filesystem, principal)
    node = await filesystem.by_path(principal, source.root.space_id, source.path)
    try:
        replaced = await filesystem.by_path(principal, target.root.space_id, target.path)
    except NodeNotFound:
        replaced = None
    if replaced is not None and replaced.id == node.id:
        raise Refusal(403, "Source and destination are the same.")
    if replaced is not None and not overwrite:
        raise Refusal(412, f"{target.path!r} is there and Overwrite is F.")
    return Ends(source, node, target, replaced, overwrite)


@contextmanager
def refusals(target: Place) -> Iterator[None]:
    """What the file service refuses about a target, in WebDAV's statuses."""
    try:
        yield
    except NodeNotFound as error:
        raise Refusal(409, f"{error.message}: make the collection first.", code=error.code) from None
    except NameClash as clash:
        status = 412 if clash.details.get("path") == target.path else 409
        raise Refusal(status, clash.message, code=clash.code) from None


async def answer(exchange: Exchange, both: Ends) -> None:
    """201 for a new resource, 204 for one that was replaced."""
    await exchange.answer(201 if both.replaced is None else 204)
