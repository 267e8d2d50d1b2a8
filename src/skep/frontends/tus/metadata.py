"""What an upload is to become: from Upload-Metadata (tus: creation), query and head of the request that creates it.

The path of the file is ``path``; or ``directory`` (default ``/``) and the name: ``relativePath``, ``filename`` or
``name`` of the metadata, or the file name in Content-Disposition.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from skep.base.errors import MalformedRequest
from skep.base.ids import Id, parse_id
from skep.filesystem import Draft
from skep.frontends.common.disposition import safe_content_type
from skep.frontends.common.preconditions import expected_digests, write_conditions
from skep.frontends.tus.exchange import Exchange

MEMBERS_MAX = 64
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,128}\Z")
_QUERY = frozenset({"path", "directory", "name", "space", "modified_us"})
_FILENAME_STAR = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_FILENAME = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_UNKNOWN_TYPES = frozenset(
    {"", "application/octet-stream", "application/offset+octet-stream", "application/partial-upload"}
)


class Wanted(NamedTuple):
    """An upload to be opened, and the space or share that it goes into; None: the caller's own."""

    draft: Draft
    space_id: Id | None


def parse_metadata(text: str | None) -> dict[str, str]:
    """The pairs of an Upload-Metadata header: ``key base64,key base64,flag``. Raises MalformedRequest."""
    found: dict[str, str] = {}
    for member in (text or "").split(","):
        key, _, encoded = member.strip().partition(" ")
        if not key:
            continue
        if not _KEY.match(key) or key in found or len(found) >= MEMBERS_MAX:
            raise MalformedRequest(f"Upload-Metadata has the key {key[:80]!r} twice, or it cannot be one.")
        try:
            found[key] = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            raise MalformedRequest(
                f"The value of {key[:80]!r} in Upload-Metadata is not base64 of UTF-8 text."
            ) from None
    return found


def wanted(exchange: Exchange, length_bytes: int | None, *, is_piece: bool = False, **more: object) -> Wanted:
    """What the request asks for; ``is_piece``: no file of its own. Raises MalformedRequest and its kinds."""
    raw = exchange.headers.get("upload-metadata")
    metadata = parse_metadata(raw)
    query = _query(exchange)
    said = {**metadata, **query}
    draft = Draft(
        door="tus",
        path=None if is_piece else _path(exchange, metadata, query),
        length_bytes=length_bytes,
        mime=_mime(exchange, metadata),
        modified_us=_modified_us(said),
        conditions=write_conditions(exchange.headers),
        digests={} if is_piece else expected_digests(exchange.headers, ("repr-digest",)),
        metadata={name: value for name, value in {"raw": raw, **more}.items() if value is not None},
    )
    space = said.get("space")
    return Wanted(draft, None if space is None else parse_id(space))


def _query(exchange: Exchange) -> dict[str, str]:
    text = exchange.scope.get("query_string", b"").decode("latin-1")
    try:
        found = dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=len(_QUERY)))
    except (UnicodeDecodeError, ValueError):
        raise MalformedRequest("The query of the URL does not parse: percent-encode it as UTF-8.") from None
    unknown = sorted(found.keys() - _QUERY)
    if unknown:
        raise MalformedRequest(f"The query has {unknown[0][:80]!r}; it takes {', '.join(sorted(_QUERY))}.")
    return found


def _path(exchange: Exchange, metadata: Mapping[str, str], query: Mapping[str, str]) -> str:
    for said in (query, metadata):
        if said.get("path"):
            return said["path"]
    relative = metadata.get("relativePath") or ""
    name = query.get("name") or (relative if relative != "null" else "") or metadata.get("filename")
    name = name or metadata.get("name") or _disposed_name(exchange)
    if not name:
        raise MalformedRequest(
            "The upload does not say where it goes: give `path`, or `directory` and `filename`, in Upload-Metadata or "
            "the query.",
            missing=["path"],
        )
    directory = query.get("directory") or metadata.get("directory") or "/"
    return f"{directory.rstrip('/')}/{name.lstrip('/')}"


def _disposed_name(exchange: Exchange) -> str | None:
    """The file name of Content-Disposition (RFC 6266), without directories."""
    text = exchange.headers.text("content-disposition") or ""
    star, plain = _FILENAME_STAR.search(text), _FILENAME.search(text)
    if star is not None:
        name = unquote(star.group(1), errors="replace")
    elif plain is not None:
        name = re.sub(r"\\(.)", r"\1", plain.group(1) or plain.group(2) or "")
    else:
        return None
    return name.replace("\\", "/").rpartition("/")[2] or None


def _mime(exchange: Exchange, metadata: Mapping[str, str]) -> str | None:
    said = metadata.get("filetype") or metadata.get("type") or ""
    if not said and not exchange.is_tus:
        said = exchange.headers.get("content-type") or ""
    return None if said.partition(";")[0].strip().lower() in _UNKNOWN_TYPES else safe_content_type(said)


def _modified_us(said: Mapping[str, str]) -> int | None:
    """The file's own time: ``modified_us``, or ``mtime`` in seconds."""
    text, mtime = said.get("modified_us"), said.get("mtime")
    try:
        if text is not None:
            return int(text)
        return None if mtime is None else round(float(mtime) * 1e6)
    except (ValueError, OverflowError):
        raise MalformedRequest(f"The time {(text or mtime or '')[:40]!r} is not a number.") from None
