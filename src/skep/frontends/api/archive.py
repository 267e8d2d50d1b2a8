"""Several contents as one download: ``GET /api/filesystem/zip``, and the tickets that browsers download with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from skep.base.errors import BodyTooLarge, MalformedRequest, NodeNotFound, SkepError
from skep.base.ids import Id, parse_id
from skep.filesystem import NodeInfo
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.answers import send_stream
from skep.frontends.common.content_tickets import TICKET_S
from skep.frontends.common.disposition import content_disposition
from skep.frontends.common.id_text import text_of
from skep.frontends.common.serving import closing_source, empty
from skep.frontends.common.zipping import Member, zip_size_bytes, zip_stream

TAG = "data"
MEMBERS_MAX = 100_000
NODES_MAX = 1_000
_PAGE = 10_000
_DEPTH = 1 << 16


class ZipQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``nodes``: ids, with commas between them; ``name``: of the archive, without its ending."""

    nodes: str
    name: str | None = None
    ticket: str | None = None


class TicketFor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a ticket opens: the content of one node, or the archive of several in this order."""

    nodes: list[str]


class Ticket(msgspec.Struct, frozen=True):
    """What goes into the URL of a download as ``ticket``; it ends with the login that asked for it, or then."""

    ticket: str
    expires_in_s: int


async def make_ticket(call: Call, body: TicketFor) -> Ticket:
    """Make a ticket that reads these contents: for downloads by a browser itself, which cannot send a header.

    With it, as ``ticket`` in the query, the content of the node is read, or the archive of the nodes, until
    the login ends.
    """
    ids = _ids(body.nodes)
    for node_id in ids:
        await call.services.filesystem.by_id(call.principal, node_id)
    authorization = call.headers.get("authorization") or ""
    return Ticket(call.services.tickets.make(authorization, ",".join(map(text_of, ids))), TICKET_S)


async def get_zip(call: Call, query: ZipQuery) -> None:
    """Read files and directories, with all below them, as one zip archive.

    It is made while it is read; its length is known before. Files keep the content that they had at the
    beginning. 413 for more than 100,000 entries.
    """
    ids = _ids(query.nodes.split(","))
    nodes = [await call.services.filesystem.by_id(call.principal, node_id) for node_id in ids]
    name = query.name or (nodes[0].name if len(nodes) == 1 and nodes[0].name else "files")
    await send_zip(call, nodes, name)


async def send_zip(call: Call, nodes: Sequence[NodeInfo], name: str) -> None:
    """Answer with an archive of nodes that the caller may read, with all below them."""
    members: list[Member] = []
    taken: set[str] = set()
    for node in nodes:
        await _collect(call, node, _free_name(node.name or "files", taken), members)
    headers = [
        ("content-type", "application/zip"),
        ("content-length", str(zip_size_bytes(members))),
        ("content-disposition", content_disposition(f"{name}.zip", attachment=True)),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    async with aclosing(closing_source(zip_stream(members))) as stream:
        source = empty() if call.head_only else stream
        await send_stream(call.send, 200, headers, source, stall_timeout_s=call.stall_timeout_s)


async def _collect(call: Call, node: NodeInfo, top: str, members: list[Member]) -> None:
    if not node.is_directory:
        members.append(_file(call, node, top))
        return
    members.append(Member(f"{top}/", 0, node.modified_us, None))
    below, after = len(node.path.rstrip("/")) + 1, None
    while True:
        found = await call.services.filesystem.listing(call.principal, node.id, _DEPTH, _PAGE, after, digests=False)
        for entry in found:
            path = f"{top}/{entry.path[below:]}"
            is_directory = entry.is_directory
            members.append(Member(f"{path}/", 0, entry.modified_us, None) if is_directory else _file(call, entry, path))
        if len(members) > MEMBERS_MAX:
            raise BodyTooLarge(f"An archive has at most {MEMBERS_MAX} entries: take the directories in it one by one.")
        if len(found) < _PAGE:
            return
        after = found[-1].path[below:]


def _file(call: Call, node: NodeInfo, path: str) -> Member:
    return Member(path, node.size_bytes, node.modified_us, partial(_read, call, node.id, node.version_number))


async def _read(call: Call, node_id: Id, version: int | None) -> AsyncIterator[bytes]:
    content = await call.services.filesystem.open_file(call.principal, node_id, version)
    async with aclosing(closing_source(content.read(0, content.size_bytes))) as parts:
        async for part in parts:
            yield part


def _free_name(name: str, taken: set[str]) -> str:
    """Two nodes of one name, from different places, stay apart in the archive."""
    stem, dot, ending = name.rpartition(".")
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{stem} ({number}).{ending}" if dot and stem else f"{name} ({number})"
    taken.add(free)
    return free


def _ids(texts: list[str]) -> list[Id]:
    if not 1 <= len(texts) <= NODES_MAX:
        raise MalformedRequest(f"Name between 1 and {NODES_MAX} nodes by their ids.")
    found = []
    for text in texts:
        try:
            found.append(parse_id(text))
        except SkepError:
            raise NodeNotFound(f"There is nothing with the id {text[:64]!r}.") from None
    return found


OPERATIONS = (
    Operation("POST", "/api/filesystem/tickets", make_ticket, "files:read", TAG),
    Operation("GET", "/api/filesystem/zip", get_zip, "files:read", TAG, gives=("application/zip",), ticketed=True),
)
