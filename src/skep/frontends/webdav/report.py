"""REPORT (RFC 3253 section 3.6) with sync-collection (RFC 6578): what changed below a collection since a sync-token.

The token is the cursor of the space's journal, so it outlives restarts and is the same at every door. An answer says of
each URL that changed what is there now: its properties, or 404.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from lxml import etree

from skep.base.errors import CursorTooOld, InvalidCursor, MalformedRequest, NodeNotFound
from skep.events import Change
from skep.filesystem import ChangePage, NodeInfo
from skep.frontends.common.xml import escape
from skep.frontends.webdav import multistatus, propfind
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.properties import DAV, SYNC_PREFIX, View
from skep.frontends.webdav.propfind import Wanted
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Place, place_of

CHANGES_AT_ONCE = 5_000
_STRUCTURAL = frozenset({"moved", "trashed", "restored", "deleted"})


class Asked(NamedTuple):
    """A sync-collection element."""

    cursor: str
    """Empty: all there is."""
    is_deep: bool
    limit: int | None
    wanted: Wanted


async def handle(exchange: Exchange) -> None:
    """Answer with a multistatus that ends with the new token."""
    body = await exchange.xml()
    if body is None or body.tag != f"{DAV}sync-collection":
        raise Refusal(403, "The only report here is sync-collection.", condition="supported-report")
    if exchange.url.is_list_of_spaces:
        raise Refusal(403, "The list of spaces keeps no journal: ask each space.", condition="supported-report")
    asked = asked_of(body)
    filesystem, principal = exchange.services.filesystem, exchange.principal
    place = await place_of(exchange.url, filesystem, principal)
    node = await filesystem.by_path(principal, place.root.space_id, place.path)
    if not node.is_directory:
        raise Refusal(403, "Only collections are synchronised.", condition="supported-report")
    view = await propfind.view_of(exchange, place, node, asked.wanted)
    if asked.cursor:
        await _changed(exchange, place, asked, view)
    else:
        await _all(exchange, place, node, asked, view)


def asked_of(root: etree._Element) -> Asked:
    """What a sync-collection element asks for. Raises MalformedRequest; Refusal 403 for a token not of ours."""
    token = (root.findtext(f"{DAV}sync-token") or "").strip()
    if token and not token.startswith(SYNC_PREFIX):
        raise Refusal(403, "This sync-token was not given here: begin without one.", condition="valid-sync-token")
    level = (root.findtext(f"{DAV}sync-level") or "1").strip()
    if level not in ("1", "infinite"):
        raise MalformedRequest("The sync-level is 1 or infinite.")
    limit = root.findtext(f"{DAV}limit/{DAV}nresults")
    if limit is not None and not (limit.strip().isascii() and limit.strip().isdigit() and 0 < int(limit[:9]) < 1 << 31):
        raise MalformedRequest("The limit is a number of results, 1 or more.")
    prop = root.find(f"{DAV}prop")
    names = [] if prop is None else propfind.names_in(prop)
    return Asked(
        token.removeprefix(SYNC_PREFIX),
        level == "infinite",
        None if limit is None else int(limit[:9]),
        propfind.wanted_names(names),
    )


async def _all(exchange: Exchange, place: Place, node: NodeInfo, asked: Asked, view: View) -> None:
    """Everything, for a client that knows nothing yet. The token is taken first: what changes meanwhile comes again."""
    filesystem, principal = exchange.services.filesystem, exchange.principal
    cursor = (await filesystem.space(principal, place.root.space_id)).cursor
    most = min(asked.limit or exchange.services.tree_items, exchange.services.tree_items)
    depth = propfind.DEPTH_LEVELS_MAX if asked.is_deep else 1
    found = await filesystem.listing(principal, node.id, depth, most + 1)
    if len(found) > most:
        raise Refusal(
            507,
            f"More than {most} members: they cannot be told at once; list level by level with PROPFIND.",
            condition="number-of-matches-within-limits",
        )
    await exchange.stream(207, propfind.written(exchange, view, asked.wanted, found, tail=_token(cursor)))


async def _changed(exchange: Exchange, place: Place, asked: Asked, view: View) -> None:
    filesystem, principal = exchange.services.filesystem, exchange.principal
    count = min(asked.limit or CHANGES_AT_ONCE, CHANGES_AT_ONCE)
    try:
        page: ChangePage = await filesystem.changes(principal, place.root.space_id, asked.cursor, count)
    except (CursorTooOld, InvalidCursor) as error:
        raise Refusal(403, error.message, condition="valid-sync-token", code=error.code) from None
    if any(_moves_ground(change, place.path) for change in page.changes):
        raise Refusal(
            403, "The collection itself came to another place: begin without a token.", condition="valid-sync-token"
        )
    await exchange.stream(207, _told(exchange, place, asked, view, page))


def _moves_ground(change: Change, path: str) -> bool:
    """Whether a change put another collection under this URL, or this one under another."""
    if change.kind not in _STRUCTURAL or path == "/":
        return False
    return any(at is not None and _is_at_or_below(path, at) for at in (change.path, change.old_path))


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or top == "/" or path.startswith(top + "/")


def changed_paths(changes: Sequence[Change], top: str, *, is_deep: bool) -> tuple[list[str], list[str]]:
    """The paths below ``top`` of which something is to be told, in order; and those whose whole trees came in."""
    found: dict[str, None] = {}
    trees: dict[str, None] = {}
    prefix = top.rstrip("/") + "/"
    for change in changes:
        for path in (change.old_path, change.path):
            if path is None or not path.startswith(prefix) or path == prefix:
                continue
            shown = path if is_deep else prefix + path[len(prefix) :].partition("/")[0]
            found[shown] = None
            if is_deep and path == change.path and change.node_kind == "directory" and change.kind in _STRUCTURAL:
                trees[path] = None
    return list(found), list(trees)


async def _told(exchange: Exchange, place: Place, asked: Asked, view: View, page: ChangePage) -> AsyncIterator[bytes]:
    filesystem, principal = exchange.services.filesystem, exchange.principal
    paths, trees = changed_paths(page.changes, place.path, is_deep=asked.is_deep)
    there: dict[str, NodeInfo] = {}
    gone: list[str] = []
    for path in paths:
        try:
            there[path] = await filesystem.by_path(principal, place.root.space_id, path)
        except NodeNotFound:
            gone.append(path)
    for path in trees:
        if (node := there.get(path)) is not None and node.is_directory:
            for one in await propfind.whole_tree(exchange, node, asked.wanted):
                there[one.path] = one
    tail = [multistatus.status_response(place.root.href(path, is_directory=False), 404) for path in gone]
    if page.more:
        own = place.root.href(place.path, is_directory=True)
        tail.append(multistatus.status_response(own, 507, condition="number-of-matches-within-limits"))
    nodes = list(there.values())
    async for part in propfind.written(exchange, view, asked.wanted, nodes, tail="".join(tail) + _token(page.cursor)):
        yield part


def _token(cursor: str) -> str:
    return f"<d:sync-token>{SYNC_PREFIX}{escape(cursor)}</d:sync-token>\n"
