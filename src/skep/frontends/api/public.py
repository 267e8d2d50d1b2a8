"""What whoever knows a link's address may do, without an account: ``/api/public/<token>``.

Every call opens the link anew (frontends/common/links), so one that was taken back, expired or used up ends at once.
Paths are those of the link: ``/`` is what it is on, also when that is a file. Nobody is named.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import Forbidden, SkepError
from skep.filesystem import NodeInfo
from skep.frontends.api.archive import send_zip
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.content_tickets import TICKET_S
from skep.frontends.common.disposition import safe_content_type
from skep.frontends.common.links import PASS_HEADER, Opened
from skep.frontends.common.preconditions import expected_digests
from skep.frontends.common.serving import Content, serve

TAG = "public"
_NO_TYPE = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})


class LinkPassQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``pass``: what the right password gave; the header Skep-Link-Pass does the same."""

    passed: str | None = msgspec.field(name="pass", default=None)


class PublicListQuery(LinkPassQuery, frozen=True, kw_only=True):
    """A directory of the link; ``after``: the name that the page before ended with."""

    path: str = "/"
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    after: str | None = None


class PublicContentQuery(LinkPassQuery, frozen=True, kw_only=True):
    """A file or directory of the link; ``ticket``: of a download that was begun; ``download``: to save it."""

    path: str = "/"
    ticket: str | None = None
    download: bool = False


class PublicPutQuery(LinkPassQuery, frozen=True, kw_only=True):
    """Where in the link a file goes."""

    path: str
    modified_us: int | None = None


class LinkPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password of a link."""

    password: str


class LinkPass(msgspec.Struct, frozen=True):
    """What to show instead of the password from now on, as header Skep-Link-Pass or in the query as ``pass``."""

    passed: str = msgspec.field(name="pass")
    expires_in_s: int


class NewDownload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be downloaded: a file, or a directory as an archive."""

    path: str = "/"


class Download(msgspec.Struct, frozen=True):
    """A download: with its ticket it may be read in as many requests as it takes, until then."""

    ticket: str
    expires_in_s: int
    downloads_left: int | None


class PublicLink(msgspec.Struct, frozen=True, kw_only=True):
    """What a link is. Of one whose password was not given nothing else is told."""

    needs_password: bool
    name: str | None = None
    rights: str | None = None
    """``read``; ``upload``: a drop box, into which files may be put."""
    kind: str | None = None
    """``file`` or ``directory``."""
    size_bytes: int | None = None
    mime: str | None = None
    modified_us: int | None = None
    expires_us: int | None = None
    downloads_left: int | None = None
    file_bytes_max: int | None = None
    bytes_left: int | None = None


class PublicEntry(msgspec.Struct, frozen=True):
    """A file or directory in a link."""

    name: str
    path: str
    kind: str
    size_bytes: int
    mime: str
    modified_us: int


class PublicEntries(msgspec.Struct, frozen=True):
    """A page of a directory. ``next``: there may be more after this name."""

    entries: list[PublicEntry]
    next: str | None


class PublicFile(msgspec.Struct, frozen=True):
    """A file that was put into a drop box, under the name that was free."""

    name: str
    size_bytes: int


async def look_at_link(call: Call, query: LinkPassQuery) -> PublicLink:
    """What a link is, and whether it wants a password first."""
    opened, is_locked = await call.services.links.look(call.path["token"], _passed(call, query), call.client)
    if is_locked:
        return PublicLink(needs_password=True)
    link = opened.link
    more: dict[str, object] = {"kind": "directory"}
    if link.rights != "upload":
        node = await call.services.filesystem.by_path(opened.principal, opened.space_id, "/")
        more = {"kind": node.kind, "size_bytes": node.size_bytes, "mime": node.mime, "modified_us": node.modified_us}
    return msgspec.convert(
        {
            "needs_password": False,
            "name": link.name,
            "rights": link.rights,
            "expires_us": link.expires_us,
            "downloads_left": link.downloads_left,
            "file_bytes_max": link.file_bytes_max,
            "bytes_left": link.bytes_left,
            **more,
        },
        PublicLink,
    )


async def unlock_link(call: Call, body: LinkPassword) -> LinkPass:
    """Give the password of a link: what stands for it from then on."""
    passed = await call.services.links.unlock(call.path["token"], body.password, call.client)
    return LinkPass(passed, TICKET_S)


async def list_public(call: Call, query: PublicListQuery) -> PublicEntries:
    """List a directory of a link."""
    opened = await _open(call, query)
    node = await _node(call, opened, query.path)
    found = await call.services.filesystem.listing(
        opened.principal, node.id, 1, query.limit, query.after, digests=False
    )
    entries = [PublicEntry(one.name, one.path, one.kind, one.size_bytes, one.mime, one.modified_us) for one in found]
    return PublicEntries(entries, entries[-1].name if len(entries) == query.limit else None)


async def begin_download(call: Call, query: LinkPassQuery, body: NewDownload) -> Download:
    """Begin a download: counted once, however often it is interrupted and goes on with its ticket."""
    opened = await _open(call, query)
    node = await _node(call, opened, body.path)
    ticket = await call.services.links.begin_download(opened, node.path)
    left = opened.link.downloads_left
    return Download(ticket, TICKET_S, None if left is None else max(0, left - 1))


async def get_public_data(call: Call, query: PublicContentQuery) -> None:
    """Read a file of a link. Without a ticket each request is a download of its own, whatever range it asks for.

    Answers Range, If-Range and conditions as every content does.
    """
    opened = await _open(call, query)
    node = await _node(call, opened, query.path)
    found = await call.services.filesystem.open_path(opened.principal, opened.space_id, query.path)
    await _let_out(call, opened, node, query.ticket)
    content = Content(node.name, found.size_bytes, found.etag, found.mime, found.modified_us, found.read, found.whole)
    await serve(call, content, download=query.download)


async def get_public_zip(call: Call, query: PublicContentQuery) -> None:
    """Read a directory of a link, with all below it, as one zip archive."""
    opened = await _open(call, query)
    node = await _node(call, opened, query.path)
    await _let_out(call, opened, node, query.ticket)
    await send_zip(call, [node], node.name or opened.link.name)


async def put_public_data(call: Call, query: PublicPutQuery) -> None:
    """Put a file into a drop box. A name that is taken becomes another; resumable uploads (/tus/) do the same."""
    opened = await _open(call, query)
    if opened.link.rights != "upload":
        raise Forbidden("this link is for reading: nothing can be put into it")
    kind, length = call.headers.get("content-type") or "", call.body.declared
    taken = await call.services.filesystem.take_link_room(opened.link, length)
    try:
        async with call.services.uploads.enter_as(opened.principal.user_id):
            result = await call.services.filesystem.write_file(
                opened.principal,
                opened.space_id,
                query.path,
                call.body,
                length=length,
                mime=None if kind in _NO_TYPE else safe_content_type(kind),
                modified_us=query.modified_us,
                expected_digests=expected_digests(call.headers),
                parents=True,
            )
    except SkepError:  # a call that was cancelled may have written the file: that stays counted
        await call.services.filesystem.give_link_room_back(opened.link.id, taken)
        raise
    await call.answer(PublicFile(result.node.name, result.node.size_bytes), 201)


def _passed(call: Call, query: LinkPassQuery) -> str | None:
    return call.headers.get(PASS_HEADER) or query.passed


async def _open(call: Call, query: LinkPassQuery) -> Opened:
    opened = await call.services.links.open(call.path["token"], _passed(call, query), call.client)
    call.caller = opened.principal
    return opened


async def _node(call: Call, opened: Opened, path: str) -> NodeInfo:
    return await call.services.filesystem.by_path(opened.principal, opened.space_id, path)


async def _let_out(call: Call, opened: Opened, node: NodeInfo, ticket: str | None) -> None:
    """Count what is about to be sent, unless its ticket was; a HEAD is free."""
    if not call.head_only or ticket is not None:
        await call.services.links.download(opened, node.path, ticket)


_PUBLIC = "/api/public/{token}"
_BYTES = ("application/octet-stream",)
OPERATIONS = (
    Operation("GET", _PUBLIC, look_at_link, None, TAG),
    Operation("POST", f"{_PUBLIC}/unlock", unlock_link, None, TAG),
    Operation("GET", f"{_PUBLIC}/entries", list_public, None, TAG),
    Operation("POST", f"{_PUBLIC}/downloads", begin_download, None, TAG),
    Operation("GET", f"{_PUBLIC}/data", get_public_data, None, TAG, gives=_BYTES, also=(206, 304)),
    Operation("PUT", f"{_PUBLIC}/data", put_public_data, None, TAG, takes=(*_BYTES, "*/*"), status=201),
    Operation("GET", f"{_PUBLIC}/zip", get_public_zip, None, TAG, gives=("application/zip",)),
)
