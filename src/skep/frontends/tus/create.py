"""POST: an upload is opened (tus: creation, creation-with-upload, creation-defer-length, concatenation; draft 4.2)."""

from __future__ import annotations

from urllib.parse import urlsplit

from skep.base.errors import Forbidden, MalformedRequest, SkepError, UploadNotFound
from skep.base.ids import Id
from skep.filesystem import Appended, Draft, Upload
from skep.frontends.tus.append import TUS_TYPE, after, answer_draft, draft_length, take_body_of
from skep.frontends.tus.errors import UnsupportedVersion
from skep.frontends.tus.exchange import DOOR, ROOT, Exchange, expiry, location_of, parse_upload_id, written_headers
from skep.frontends.tus.metadata import wanted
from skep.frontends.tus.structured import boolean


async def create(exchange: Exchange) -> None:
    """201 with the upload's Location."""
    if exchange.is_tus:
        await _create_tus(exchange)
        return
    complete = boolean(exchange.headers, "upload-complete")
    if complete is None:
        raise UnsupportedVersion("Say Tus-Resumable: 1.0.0, or Upload-Complete: ?0 or ?1.")
    await _create_draft(exchange, is_last=complete)


async def _create_tus(exchange: Exchange) -> None:
    concat = (exchange.headers.get("upload-concat") or "").strip()
    if concat.startswith("final;"):
        await _join(exchange, concat)
        return
    if concat not in ("", "partial"):
        raise MalformedRequest(f"Upload-Concat is {concat[:80]!r}, neither `partial` nor `final;` with URLs.")
    length = _length(exchange)
    is_piece = concat == "partial"
    draft, space_id = wanted(exchange, length, is_piece=is_piece, concat=concat or None)
    upload = await _open(exchange, draft, space_id)
    headers = [("location", location_of(upload))]
    if length != 0 and exchange.kind != TUS_TYPE:
        await exchange.answer(201, [*headers, *expiry(upload)])
        return
    appended = await _first_body(exchange, upload, None, last=None)
    await exchange.answer(201, [*headers, ("upload-offset", str(appended.upload.offset_bytes)), *after(appended)])


async def _open(exchange: Exchange, draft: Draft, space_id: Id | None) -> Upload:
    """The upload; one through a link goes where that leads, and takes of what the link may take."""
    files, opened = exchange.ground.filesystem, exchange.opened
    if opened is None:
        return await files.open_upload(exchange.principal, space_id, draft)
    if draft.path is None:
        raise MalformedRequest("Through a link a file comes as one upload: leave Upload-Concat out.")
    if opened.link.rights != "upload":
        raise Forbidden("this link is for reading: nothing can be put into it")
    taken = await files.take_link_room(opened.link, draft.length_bytes)
    try:
        return await files.open_upload(exchange.principal, opened.space_id, draft)
    except SkepError:
        await files.give_link_room_back(opened.link.id, taken)
        raise


def _length(exchange: Exchange) -> int | None:
    length, deferred = exchange.length("upload-length"), exchange.headers.get("upload-defer-length")
    if deferred not in (None, "1") or (length is None) == (deferred is None):
        raise MalformedRequest("Say Upload-Length, or Upload-Defer-Length: 1, and not both.")
    return length


async def _first_body(exchange: Exchange, upload: Upload, length: int | None, *, last: bool | None) -> Appended:
    """Take the body of the creation. If that fails nobody has the address of the upload: it goes again."""
    try:
        return await take_body_of(exchange, upload.id, 0, length_bytes=length, last=last)
    except SkepError:
        await exchange.ground.filesystem.abort_upload(exchange.principal, DOOR, upload.id)
        raise


async def _join(exchange: Exchange, concat: str) -> None:
    """tus: concatenation. The pieces become one file without a byte moving; asked again, the answer is the same."""
    if exchange.opened is not None:
        raise MalformedRequest("Through a link a file comes as one upload: leave Upload-Concat out.")
    if "upload-length" in exchange.headers:
        raise MalformedRequest("An upload that is made of others has their length: leave Upload-Length out.")
    pieces = [_piece(text) for text in concat.removeprefix("final;").split()]
    draft, space_id = wanted(exchange, None, concat=concat)
    filesystem = exchange.ground.filesystem
    upload, result = await filesystem.join_uploads(exchange.principal, space_id, draft, pieces)
    await exchange.answer(201, [("location", location_of(upload)), *written_headers(result)])


def _piece(url: str) -> Id:
    """The upload that a URL, absolute or not, names. Raises UploadNotFound."""
    head, found, last = urlsplit(url).path.rpartition(ROOT)
    if not found or head:
        raise UploadNotFound(f"{url[:200]!r} is not the address of an upload here")
    return parse_upload_id(last)


async def _create_draft(exchange: Exchange, *, is_last: bool) -> None:
    length = draft_length(exchange, 0, is_last=is_last)
    draft, space_id = wanted(exchange, length)
    upload = await _open(exchange, draft, space_id)
    appended = await _first_body(exchange, upload, length, last=is_last)
    await answer_draft(exchange, appended, 201, ("location", location_of(upload)))
