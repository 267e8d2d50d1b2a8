"""Links as their makers see them: shares that whoever knows an address holds. ``public`` is the other side."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from skep.base.errors import InvalidCursor, MalformedRequest, NodeNotFound, ShareNotFound, SkepError
from skep.base.ids import Id, parse_id
from skep.filesystem import LinkChange, LinkInfo, LinkRules
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import NodeRef, referred, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.common.id_text import text_of

TAG = "links"
PAGE = "/l/"
"""Where the page shows a link; its token follows."""
_Many = Annotated[int, Meta(ge=1, le=1 << 53)]
_Size = Annotated[int, Meta(ge=1, le=1 << 62)]
_Time = Annotated[int, Meta(ge=0, le=1 << 62)]
_Seconds = Annotated[int, Meta(ge=1, le=100 * 366 * 86_400)]
_Name = Annotated[str, Meta(min_length=1, max_length=255)]


class NewLink(NodeRef, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node, and what its link lets people do. What is left out is without limit.

    ``rights``: read; upload (a drop box: add files, see none). ``name``: what those who open it see. ``expires_us``
    or ``expires_in_s``: one of them. ``downloads_max``: of a link to read; ``file_bytes_max`` (one file) and
    ``bytes_max`` (all files): of a link to upload.
    """

    rights: Literal["read", "upload"] = "read"
    name: _Name | None = None
    password: str | None = None
    expires_us: _Time | None = None
    expires_in_s: _Seconds | None = None
    downloads_max: _Many | None = None
    file_bytes_max: _Size | None = None
    bytes_max: _Size | None = None


class LinkPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is left out stays, null takes a limit or the password away.

    ``renew``: give it another address; the old one ends.
    """

    name: _Name | UnsetType = UNSET
    password: str | UnsetType | None = UNSET
    expires_us: _Time | UnsetType | None = UNSET
    expires_in_s: _Seconds | UnsetType = UNSET
    downloads_max: _Many | UnsetType | None = UNSET
    file_bytes_max: _Size | UnsetType | None = UNSET
    bytes_max: _Size | UnsetType | None = UNSET
    renew: bool = False


class Link(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A link. ``token`` and ``url`` are only in answers that made it or gave it another address: nothing keeps them."""

    id: str
    node_id: str
    space_id: str
    """The space, or the share that it was passed on from."""
    path: str | None
    """None: in the trash, where the link does not work."""
    name: str
    rights: str
    """``read`` or ``upload``."""
    has_password: bool
    expires_us: int | None
    downloads_max: int | None
    downloads: int
    file_bytes_max: int | None
    bytes_max: int | None
    received_bytes: int
    created_by: str
    created_us: int
    last_used_us: int | None
    token: str | None = None
    url: str | None = None
    """The page's address; without the hive's own part where the hive does not know that (server.public_url)."""


class Links(msgspec.Struct, frozen=True):
    """Links. ``next``: there may be more."""

    links: list[Link]
    next: str | None


class LinksQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One's own; or of a node (``node``: its id), or all of a space (``space``: its id). ``after``: the last page's."""

    node: str | None = None
    space: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    after: str | None = None


async def make_link(call: Call, body: NewLink) -> Link:
    """Make a link on a file or a directory: whoever knows its address may what it allows, without an account.

    The address is in this answer alone. Who may share something may make links on it; its owner's space takes and pays
    for what comes in.
    """
    if body.expires_us is not None and body.expires_in_s is not None:
        raise MalformedRequest("Say when it ends by `expires_us` or `expires_in_s`, one of them.")
    node = await referred(call, body)
    kept = None if body.password is None else await call.services.auth.hash_of(body.password)
    rules = LinkRules(
        name=body.name,
        password_hash=kept,
        expires_us=_end(body.expires_in_s, call) if body.expires_in_s is not None else body.expires_us,
        downloads_max=body.downloads_max,
        file_bytes_max=body.file_bytes_max,
        bytes_max=body.bytes_max,
    )
    made, token = await call.services.filesystem.make_link(call.principal, node.id, body.rights, rules)
    return _record(call, made, token)


async def list_links(call: Call, query: LinksQuery) -> Links:
    """List one's own links, those on a node, or all of a space (its owner and the managers of its group)."""
    files, after = call.services.filesystem, _after(query.after)
    if query.node is not None:
        found = await files.links_on(call.principal, _node_id(query.node))
        return Links([_record(call, one) for one in found], None)
    if query.space is not None:
        found = await files.links_of_space(call.principal, space_id(query.space), query.limit, after)
    else:
        found = await files.links_made(call.principal, query.limit, after)
    records = [_record(call, one) for one in found]
    return Links(records, records[-1].id if len(records) == query.limit else None)


async def get_link(call: Call) -> Link:
    """Show one link, to those who may change it."""
    return _record(call, await call.services.filesystem.link(call.principal, _link_id(call)))


async def change_link(call: Call, body: LinkPatch) -> Link:
    """Change what a link asks for and allows, or give it another address."""
    if body.expires_us is not UNSET and body.expires_in_s is not UNSET:
        raise MalformedRequest("Say when it ends by `expires_us` or `expires_in_s`, one of them.")
    link_id = _link_id(call)
    kept: str | UnsetType | None = UNSET
    if isinstance(body.password, str):
        await call.services.filesystem.link(call.principal, link_id)
        kept = await call.services.auth.hash_of(body.password)
    elif body.password is None:
        kept = None
    changes = LinkChange(
        name=body.name,
        password_hash=kept,
        expires_us=body.expires_us if isinstance(body.expires_in_s, UnsetType) else _end(body.expires_in_s, call),
        downloads_max=body.downloads_max,
        file_bytes_max=body.file_bytes_max,
        bytes_max=body.bytes_max,
    )
    changed, token = await call.services.filesystem.change_link(call.principal, link_id, changes, renew=body.renew)
    return _record(call, changed, token)


async def end_link(call: Call) -> None:
    """Take a link back: its address ends at once."""
    await call.services.filesystem.end_link(call.principal, _link_id(call))


def _end(seconds: int, call: Call) -> int:
    return call.services.links.now_us() + seconds * 1_000_000


def _link_id(call: Call) -> Id:
    return call.id("link_id", ShareNotFound)


def _node_id(text: str) -> Id:
    try:
        return parse_id(text)
    except SkepError:
        raise NodeNotFound(f"There is nothing with the id {text[:64]!r}.") from None


def _after(text: str | None) -> Id:
    if text is None:
        return b""
    try:
        return parse_id(text)
    except SkepError:
        raise InvalidCursor(f"{text[:80]!r} is not the `next` of a page of links.") from None


def _record(call: Call, link: LinkInfo, token: str | None = None) -> Link:
    shown: dict[str, Any] = {}
    if token is not None:
        shown = {"token": token, "url": f"{call.services.links.public_url.rstrip('/')}{PAGE}{token}"}
    return Link(
        id=text_of(link.id),
        node_id=text_of(link.node_id),
        space_id=text_of(link.space_id),
        path=link.path,
        name=link.name,
        rights=link.rights,
        has_password=link.has_password,
        expires_us=link.expires_us,
        downloads_max=link.downloads_max,
        downloads=link.downloads,
        file_bytes_max=link.file_bytes_max,
        bytes_max=link.bytes_max,
        received_bytes=link.received_bytes,
        created_by=text_of(link.created_by),
        created_us=link.created_us,
        last_used_us=link.last_used_us,
        **shown,
    )


_LINKS = "/api/links"
OPERATIONS = (
    Operation("POST", _LINKS, make_link, "files:write", TAG, status=201),
    Operation("GET", _LINKS, list_links, "files:read", TAG),
    Operation("GET", f"{_LINKS}/{{link_id}}", get_link, "files:read", TAG),
    Operation("PATCH", f"{_LINKS}/{{link_id}}", change_link, "files:write", TAG),
    Operation("DELETE", f"{_LINKS}/{{link_id}}", end_link, "files:write", TAG, status=204),
)
