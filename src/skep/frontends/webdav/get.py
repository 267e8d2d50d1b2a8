"""GET and HEAD (RFC 4918 section 9.4, RFC 9110 sections 13 to 15): a file's content, a collection as a small page."""

from __future__ import annotations

from skep.base.errors import Forbidden, NodeNotFound
from skep.filesystem import FileContent, NodeInfo
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.conditions import quoted
from skep.frontends.common.dropbox import is_dropbox_root, node_at
from skep.frontends.common.serving import Content, serve
from skep.frontends.common.xml import escape
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.roots import Place, encoded, place_of, roots_of

PAGE_ENTRIES = 1000
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


async def handle(exchange: Exchange) -> None:
    """Send a file, with ranges and conditions; of a collection a list of names for browsers."""
    services = exchange.services
    if exchange.url.is_list_of_spaces:
        spaces = roots_of(await services.filesystem.spaces(exchange.principal))
        await _page(exchange, "Spaces", [(f"{root.prefix}/", space.name) for space, root in spaces])
        return
    place = await place_of(exchange.url, services.filesystem, exchange.principal)
    try:
        found = await services.filesystem.open_path(exchange.principal, place.root.space_id, place.path)
    except (NodeNotFound, Forbidden):
        await _collection(exchange, place)
    else:
        await serve(exchange, _content(found), download=False)


def _content(found: FileContent) -> Content:
    node = found.node
    return Content(node.name, found.size_bytes, found.etag, found.mime, found.modified_us, found.read, found.whole)


async def _collection(exchange: Exchange, place: Place) -> None:
    """What is there instead of a file: raises NodeNotFound if that is nothing, Forbidden."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    node = await node_at(filesystem, principal, place.root.space_id, place.path)
    entries: list[NodeInfo] = []
    if not is_dropbox_root(node):
        entries = await filesystem.listing(principal, node.id, 1, PAGE_ENTRIES, digests=False)
    links = [(place.root.href(one.path, is_directory=one.is_directory), one.name) for one in entries]
    if place.path != "/":
        links.insert(0, (place.root.href(place.parent, is_directory=True), ".."))
    exchange.answer_headers.append(("etag", quoted(node.etag)))
    await _page(exchange, node.name or encoded(place.root.prefix), links, more=len(entries) == PAGE_ENTRIES)


async def _page(exchange: Exchange, title: str, links: list[tuple[str, str]], *, more: bool = False) -> None:
    items = "".join(f'<li><a href="{escape(href)}">{escape(name)}</a></li>' for href, name in links)
    rest = "<p>… and more: open this address with a WebDAV client to see all.</p>" if more else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1><ul>{items}</ul>{rest}</body></html>\n"
    )
    headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "private, no-cache"),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        *exchange.answer_headers,
    ]
    await send_bytes(exchange.send, 200, text.encode(), headers, head_only=exchange.head_only)
