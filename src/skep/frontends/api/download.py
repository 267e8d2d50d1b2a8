"""Contents of files going out: ``GET|HEAD /api/filesystem/data``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.ids import Id
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import PathQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.api.versions import version_number
from skep.frontends.common.serving import Content, serve

TAG = "data"
Number = Annotated[int, Meta(ge=1, le=1 << 62)]


class DownloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``version``: an older content; ``download``: as an attachment to save; ``ticket``: instead of a login."""

    version: Number | None = None
    download: bool = False
    ticket: str | None = None


class DownloadPathQuery(PathQuery, frozen=True, kw_only=True):
    """A file by path; ``version``: an older content; ``download``: as an attachment to save."""

    version: Number | None = None
    download: bool = False


class SaveQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``download``: as an attachment to save; ``ticket``: instead of a login."""

    download: bool = False
    ticket: str | None = None


async def get_data(call: Call, query: DownloadQuery) -> None:
    """Read a file's content.

    Answers Range (also several, as multipart/byteranges), If-Range, If-Match, If-None-Match,
    If-Modified-Since and If-Unmodified-Since. Reads on a slow or broken store are rebuilt from others.
    """
    await _serve(call, call.id("node_id"), query.version, query.download)


async def get_data_by_path(call: Call, query: DownloadPathQuery) -> None:
    """Read the content of the file at a path."""
    node = await call.services.filesystem.by_path(call.principal, space_id(query.space), query.path)
    await _serve(call, node.id, query.version, query.download)


async def get_version_data(call: Call, query: SaveQuery) -> None:
    """Read one version of a file, numbered in the path."""
    await _serve(call, call.id("node_id"), version_number(call.path["number"]), query.download)


async def _serve(call: Call, node_id: Id, version: int | None, download: bool) -> None:
    found = await call.services.filesystem.open_file(call.principal, node_id, version)
    name, modified_us = found.node.name, found.modified_us
    content = Content(name, found.size_bytes, found.etag, found.mime, modified_us, found.read, found.whole)
    await serve(call, content, download=download)


_GIVES = ("application/octet-stream",)
_ALSO = (206, 304)
_DATA = "/api/filesystem/data"
_VERSION = f"{_DATA}/{{node_id}}/{{number}}"
OPERATIONS = (
    Operation("GET", _DATA, get_data_by_path, "files:read", TAG, gives=_GIVES, also=_ALSO),
    Operation("GET", f"{_DATA}/{{node_id}}", get_data, "files:read", TAG, gives=_GIVES, also=_ALSO, ticketed=True),
    Operation("GET", _VERSION, get_version_data, "files:read", TAG, gives=_GIVES, also=_ALSO, ticketed=True),
)
