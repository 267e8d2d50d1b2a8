"""PATCH: an upload goes on where it stands (tus: core; draft section 4.4)."""

from __future__ import annotations

from skep.base.errors import LengthMismatch, MalformedRequest
from skep.filesystem import Appended
from skep.frontends.tus.checksums import expected
from skep.frontends.tus.errors import UnsupportedType
from skep.frontends.tus.exchange import DOOR, Exchange, expiry, written_headers
from skep.frontends.tus.structured import boolean, integer

TUS_TYPE = "application/offset+octet-stream"
DRAFT_TYPE = "application/partial-upload"


async def append(exchange: Exchange) -> None:
    """204 with the new offset. The draft is answered at the end like an upload of the API: with the new version."""
    await (_append_tus(exchange) if exchange.is_tus else _append_draft(exchange))


async def _append_tus(exchange: Exchange) -> None:
    if exchange.kind != TUS_TYPE:
        raise UnsupportedType(f"A PATCH has the Content-Type {TUS_TYPE}, not {exchange.kind[:80]!r}.")
    offset = exchange.length("upload-offset")
    if offset is None:
        raise MalformedRequest("A PATCH needs the header Upload-Offset.")
    appended = await _repeated(exchange, offset)
    if appended is None:
        appended = await take_body(exchange, offset, length_bytes=exchange.length("upload-length"), last=None)
    await exchange.answer(204, [("upload-offset", str(appended.upload.offset_bytes)), *after(appended)])


async def _repeated(exchange: Exchange, offset: int) -> Appended | None:
    """Where the upload stands, if it is done and the request adds nothing: its answer was lost."""
    if exchange.body.declared != 0:
        return None
    upload = await exchange.ground.filesystem.upload(exchange.principal, DOOR, exchange.upload_id)
    return Appended(upload) if upload.state == "done" and upload.offset_bytes == offset else None


async def _append_draft(exchange: Exchange) -> None:
    complete, offset = boolean(exchange.headers, "upload-complete"), integer(exchange.headers, "upload-offset")
    if exchange.kind != DRAFT_TYPE:
        raise UnsupportedType(f"A PATCH has the Content-Type {DRAFT_TYPE}, not {exchange.kind[:80]!r}.")
    if complete is None or offset is None:
        raise MalformedRequest("A PATCH needs the headers Upload-Complete (?0 or ?1) and Upload-Offset.")
    length = draft_length(exchange, offset, is_last=complete)
    appended = await take_body(exchange, offset, length_bytes=length, last=complete)
    await answer_draft(exchange, appended, 204)


async def take_body(exchange: Exchange, offset: int, *, length_bytes: int | None, last: bool | None) -> Appended:
    """Add the body to the upload in the URL. Raises what made it break off, after what came is saved."""
    return await take_body_of(exchange, exchange.upload_id, offset, length_bytes=length_bytes, last=last)


async def take_body_of(
    exchange: Exchange, upload_id: bytes, offset: int, *, length_bytes: int | None, last: bool | None
) -> Appended:
    """``take_body`` for an upload that the URL does not name."""
    ground = exchange.ground
    async with ground.uploads.enter():
        appended = await ground.filesystem.append(
            exchange.principal,
            DOOR,
            upload_id,
            offset,
            exchange.body,
            length_bytes=length_bytes,
            body_bytes=exchange.body.declared,
            last=last,
            expected=expected(exchange),
            hurry=not exchange.is_tus,
        )
    if appended.broken is not None:
        raise appended.broken
    return appended


def draft_length(exchange: Exchange, offset: int, *, is_last: bool) -> int | None:
    """The length of the whole (draft section 4.1.3). Raises LengthMismatch when it is said twice and differs."""
    said = integer(exchange.headers, "upload-length")
    declared = exchange.body.declared
    if not is_last or declared is None:
        return said
    if said is not None and said != offset + declared:
        raise LengthMismatch(f"Upload-Length is {said}, and the last body ends at {offset + declared}.", length=said)
    return offset + declared


async def answer_draft(exchange: Exchange, appended: Appended, status: int, *more: tuple[str, str]) -> None:
    """The answer to a body: where the upload stands, or the new version."""
    upload = appended.upload
    if appended.written is None:
        offset = ("upload-offset", str(upload.offset_bytes))
        await exchange.answer(status, [("upload-complete", "?0"), offset, exchange.limits(upload), *more])
        return
    created = appended.written.created
    await exchange.answer_written(201 if created else 200, appended.written, [("upload-complete", "?1")])


def after(appended: Appended) -> list[tuple[str, str]]:
    """What a tus client may want to know after a body: until when to go on, or what the upload became."""
    return expiry(appended.upload) if appended.written is None else written_headers(appended.written)
