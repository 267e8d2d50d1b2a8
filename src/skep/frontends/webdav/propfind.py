"""PROPFIND (RFC 4918 section 9.1): properties of a resource, of what is in it, or of all below it.

Depth 1 is streamed page by page, however many entries there are. An infinite depth is answered for trees of up to
``tree_items`` members and refused beyond with ``propfind-finite-depth``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from lxml import etree

from skep.base.errors import MalformedRequest
from skep.filesystem import Entries, NodeInfo, Wants
from skep.frontends.common.dropbox import is_dropbox_root, node_at
from skep.frontends.webdav import multistatus, request_headers, runs
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.multistatus import Writer
from skep.frontends.webdav.properties import ALWAYS, DAV, LIVE, NEED_DIGESTS, NEED_LOCKS, NEED_SPACE, View
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Place, Root, place_of, roots_of
from skep.frontends.webdav.runs import NO_DEAD, Dead

FIRST_PAGE = 250
"""Members of the first page: the client has something to read early."""
NAMES_MAX = 500
DEPTH_LEVELS_MAX = 1024


class Wanted(NamedTuple):
    """What a request asks of each node."""

    writer: Writer
    names: frozenset[str]
    """Live properties that may be shown."""
    has_dead: bool
    """Whether dead properties may be shown."""


async def handle(exchange: Exchange) -> None:
    """Answer with a multistatus."""
    depth = request_headers.depth(exchange.headers, "infinity", ("0", "1", "infinity"))
    wanted = wanted_of(await exchange.xml(), brief=is_brief(exchange))
    if exchange.url.is_list_of_spaces:
        if depth == "infinity":
            raise Refusal(403, "Ask each space for all that is in it.", condition="propfind-finite-depth")
        await exchange.stream(207, _spaces(exchange, wanted, depth))
        return
    filesystem, principal = exchange.services.filesystem, exchange.principal
    place = await place_of(exchange.url, filesystem, principal)
    node = await node_at(filesystem, principal, place.root.space_id, place.path)
    view = await view_of(exchange, place, node, wanted)
    if depth == "0" or not node.is_directory or is_dropbox_root(node):
        await exchange.answer(207, multistatus.BEGIN + await _one(exchange, view, wanted, node) + multistatus.END)
    elif depth == "1":
        await exchange.stream(207, _members(exchange, view, wanted, node))
    else:
        below = await whole_tree(exchange, node, wanted)
        head = await _one(exchange, view, wanted, node)
        await exchange.stream(207, written(exchange, view, wanted, below, head=head))


def wanted_of(root: etree._Element | None, *, brief: bool = False) -> Wanted:
    """What a propfind element asks for; no body means allprop. Raises MalformedRequest."""
    if root is None:
        return Wanted(multistatus.every(), frozenset(ALWAYS), has_dead=True)
    if root.tag != f"{DAV}propfind":
        raise MalformedRequest("The body of a PROPFIND is a propfind element of DAV:.")
    asked = [child for child in root if child.tag in (f"{DAV}allprop", f"{DAV}propname", f"{DAV}prop")]
    if len(asked) != 1:
        raise MalformedRequest("A propfind element holds one of allprop, propname and prop.")
    match asked[0].tag:
        case "{DAV:}allprop":
            more = [name for child in root if child.tag == f"{DAV}include" for name in names_in(child)]
            return Wanted(multistatus.every(more), frozenset({*ALWAYS, *more}), has_dead=True)
        case "{DAV:}propname":
            return Wanted(multistatus.names_only(), frozenset(LIVE), has_dead=True)
        case _:
            names = names_in(asked[0])
            return wanted_names(names, brief=brief)


def wanted_names(names: Sequence[str], *, brief: bool = False) -> Wanted:
    """These properties and no others."""
    return Wanted(
        multistatus.named(names, brief=brief), frozenset(names), has_dead=any(name not in LIVE for name in names)
    )


def names_in(element: etree._Element) -> list[str]:
    """The names of the properties in a prop or include element, each once. Raises MalformedRequest for too many."""
    names = list(dict.fromkeys(str(child.tag) for child in element))
    if len(names) > NAMES_MAX:
        raise MalformedRequest(f"{len(names)} properties are too many for one request; at most {NAMES_MAX}.")
    return names


def is_brief(exchange: Exchange) -> bool:
    """Whether to be silent on properties that are not there (RFC 8144; ``Brief: t`` of Microsoft's clients)."""
    prefer = (exchange.headers.get("prefer") or "").replace(" ", "").lower().split(",")
    return "return=minimal" in prefer or (exchange.headers.get("brief") or "").strip().lower() == "t"


async def view_of(exchange: Exchange, place: Place, node: NodeInfo, wanted: Wanted) -> View:
    """What the answer needs to know beside the nodes."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    view = View(place.root)
    if node.parent_id is None or wanted.names & NEED_SPACE:
        view.space = await filesystem.space(principal, place.root.space_id)
        view.free_bytes = exchange.services.free_bytes()
    if wanted.names & NEED_LOCKS and not is_dropbox_root(node):
        view.locks = await filesystem.locks(principal, place.root.space_id)
    return view


async def _members(exchange: Exchange, view: View, wanted: Wanted, top: NodeInfo) -> AsyncIterator[bytes]:
    """A directory and what is in it, page by page. Pages are written by the threads that read them."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    wants = Wants(digests=bool(wanted.names & NEED_DIGESTS), properties=wanted.has_dead)

    def make(entries: Entries) -> tuple[bytes, str | None]:
        return multistatus.written(runs.of_entries(entries), wanted.writer, view).encode(), entries.following

    head = multistatus.BEGIN + await _one(exchange, view, wanted, top)
    count = min(FIRST_PAGE, exchange.services.page_items)
    part, after = await filesystem.listed(principal, top.id, make, count, wants=wants)
    yield head.encode() + part
    while after is not None:
        part, after = await filesystem.listed(principal, top.id, make, exchange.services.page_items, after, wants=wants)
        yield part
    yield multistatus.END.encode()


async def whole_tree(exchange: Exchange, top: NodeInfo, wanted: Wanted) -> list[NodeInfo]:
    """All that is below a directory. Raises Refusal where it is too much for one answer."""
    limit = exchange.services.tree_items
    below = await exchange.services.filesystem.listing(
        exchange.principal, top.id, DEPTH_LEVELS_MAX, limit + 1, digests=bool(wanted.names & NEED_DIGESTS)
    )
    if len(below) > limit:
        raise Refusal(
            403,
            f"{top.path!r} holds more than {limit} members, too many for an infinite depth: ask level by level.",
            condition="propfind-finite-depth",
        )
    return below


async def written(
    exchange: Exchange, view: View, wanted: Wanted, nodes: Sequence[NodeInfo], *, head: str = "", tail: str = ""
) -> AsyncIterator[bytes]:
    """A multistatus of nodes, in parts, with responses before and more elements after them."""
    text = multistatus.BEGIN + head
    for start in range(0, len(nodes), exchange.services.page_items):
        page = nodes[start : start + exchange.services.page_items]
        batch = runs.of_nodes(page, await _dead(exchange, wanted, page))
        yield (text + multistatus.written(batch, wanted.writer, view)).encode()
        text = ""
    yield (text + tail + multistatus.END).encode()


async def _one(exchange: Exchange, view: View, wanted: Wanted, node: NodeInfo) -> str:
    """The response of one node, which may be the root of a space."""
    return multistatus.written(runs.of_node(node, await _dead(exchange, wanted, [node])), wanted.writer, view)


async def _dead(exchange: Exchange, wanted: Wanted, nodes: Sequence[NodeInfo]) -> Dead:
    known = [node for node in nodes if not is_dropbox_root(node)] if wanted.has_dead else []
    return await exchange.services.filesystem.properties(exchange.principal, known) if known else NO_DEAD


async def _spaces(exchange: Exchange, wanted: Wanted, depth: str) -> AsyncIterator[bytes]:
    """The collection of spaces, and each space as if it were in it."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    spaces = roots_of(await filesystem.spaces(principal))
    since_us = min((space.created_us for space, _ in spaces), default=0)
    none = bytes(16)
    collection = NodeInfo(none, none, none, "spaces", "directory", "/", 0, "spaces", "", None, since_us, since_us)
    view = View(Root(None, f"/{exchange.url.door}"))
    yield (multistatus.BEGIN + multistatus.written(runs.of_node(collection), wanted.writer, view)).encode()
    if depth != "0":
        for space, under in spaces:
            node = await node_at(filesystem, principal, space.id, "/")
            place = Place(under, "/")
            view = await view_of(exchange, place, node, wanted)
            yield (await _one(exchange, view, wanted, node)).encode()
    yield multistatus.END.encode()
