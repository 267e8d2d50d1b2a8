"""``/api/chunk/``: content without a file, under an id that the hive gives.

``POST`` is the form of the first specification: fields ``encryption`` and ``durability``, then the
data. It is read tolerantly (``common/form.py``). ``PUT`` takes the plain body and both as query.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal, cast, get_args

import msgspec
from msgspec import Meta

from skep.base.errors import ChunkNotFound, MalformedRequest
from skep.base.ids import id_text
from skep.chunks.manifest import etag
from skep.chunks.scheme import Scheme
from skep.durability.held import REPLICAS_MAX
from skep.durability.objects import StoredObject
from skep.durability.records import ChunkPlaces
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.form import FormReader
from skep.frontends.common.id_text import text_of
from skep.frontends.common.serving import Content, serve

TAG = "chunks"
SEALED_WITH = "aes256-gcm"
ENCRYPTION_NAMES = ("aes256-gcm", "aes256", "aes256-md5")
"""What may be asked for. All are sealed alike, with AES-256-GCM under a key of the owner's own, which
also proves that the bytes are whole: ``md5`` in the old name asks for no more than that."""
FIELD_LIMIT_BYTES = 256
Over = Literal["stores", "array", "cloud", "both"]


class ChunkQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``durability``: a scheme, the hive's unless given; ``encryption``: one of the accepted names.

    ``over``: ``stores`` (by the caller's placement), ``array`` (agents), ``cloud`` (clouds and buckets) or ``both``;
    the hive says which unless it is given. On members there are whole replicas: ``durability`` is ``none`` or
    ``raid1(n)`` there, or ``replicas`` says how many.
    """

    durability: str | None = None
    encryption: str = SEALED_WITH
    over: Over | None = None
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] | None = None


class Place(msgspec.Struct, frozen=True):
    """A store with a shard of it. ``state``: ok, missing or corrupt."""

    store: str
    zone: str
    state: str


class StoredChunk(msgspec.Struct, frozen=True):
    """One sealed chunk of the content and where it lies."""

    id: str
    size_bytes: int
    sealed_bytes: int
    scheme: str
    places: list[Place]


class ChunkRecord(msgspec.Struct, frozen=True):
    """What was stored, and where."""

    chunk_id: str
    size_bytes: int
    encryption: str
    """As it was asked for."""
    sealed_with: str
    durability: str
    created_us: int
    replicas: list[str]
    """The stores that hold a part of it."""
    chunks: list[StoredChunk]


class DownloadFlag(msgspec.Struct, frozen=True, kw_only=True):
    """``download``: as an attachment to save."""

    download: bool = False


async def post_chunk(call: Call, query: ChunkQuery) -> None:
    """Store content as multipart/form-data: fields ``encryption`` and ``durability``, then the data."""
    form = FormReader(call.headers.text("content-type"), call.body.limited(_limit(call)), tolerant=True)
    replicas = None if query.replicas is None else str(query.replicas)
    asked = {
        "durability": query.durability, "encryption": query.encryption, "over": query.over, "replicas": replicas
    }  # fmt: skip
    while (part := await form.next_part()) is not None:
        if part.name not in asked:
            break
        asked[part.name] = (await form.value(FIELD_LIMIT_BYTES)).decode("utf-8", "replace").strip()
    if part is None:
        raise MalformedRequest("The form has no data: send it as the last part, after encryption and durability.")
    wanted = ChunkQuery(
        durability=asked["durability"], encryption=asked["encryption"] or SEALED_WITH, over=_over(asked["over"]),
        replicas=_number(asked["replicas"]),
    )  # fmt: skip
    await _store(call, wanted, _data_then_end(form))


async def put_chunk(call: Call, query: ChunkQuery) -> None:
    """Store the body as it is."""
    body = call.body.limited(_limit(call))
    body.check_declared()
    await _store(call, query, body)


async def get_chunk(call: Call, query: DownloadFlag) -> None:
    """Read stored content; answers ranges and conditions like a file."""
    stored = await call.services.objects.get(call.principal.user_id, call.id("chunk_id", ChunkNotFound))
    content = Content(
        name=id_text(stored.id),
        size_bytes=stored.size_bytes,
        etag=etag(stored.manifest),
        mime="application/octet-stream",
        modified_us=stored.created_us,
        read=lambda offset, length: call.services.objects.read(stored, offset, length),
    )
    await serve(call, content, download=query.download)


async def get_chunk_info(call: Call) -> ChunkRecord:
    """Show where stored content lies."""
    stored = await call.services.objects.get(call.principal.user_id, call.id("chunk_id", ChunkNotFound))
    return _record(stored, await call.services.objects.places(stored))


async def delete_chunk(call: Call) -> None:
    """Delete stored content; its room is free after the grace period."""
    await call.services.objects.delete(call.principal.user_id, call.id("chunk_id", ChunkNotFound))


def _limit(call: Call) -> int:
    return call.services.limits.chunk_bytes


async def _store(call: Call, query: ChunkQuery, stream: AsyncIterator[bytes]) -> None:
    encryption, me = query.encryption, call.principal.user_id
    if encryption.lower() not in ENCRYPTION_NAMES:
        raise MalformedRequest(
            f"unsupported encryption: {encryption[:64]!r}: write one of {', '.join(ENCRYPTION_NAMES)}"
            " (all are sealed with AES-256-GCM)"
        )
    over = query.over or call.services.limits.chunks_over
    async with call.services.uploads.enter_as(me):
        if over == "stores":
            if query.replicas is not None:
                raise MalformedRequest("`replicas` counts members: say `over` array, cloud or both; or `durability`.")
            scheme = _scheme(call, query.durability) if query.durability else None
            stored = await call.services.objects.put(me, stream, scheme=scheme, encryption=encryption.lower())
        else:
            count = _replicas(query)
            held, _ = await call.services.held.put(me, over, None, stream, count, encryption=encryption.lower())
            stored = await call.services.objects.get(me, held.object_id)
    call.answer_headers.append(("location", f"/api/chunk/{text_of(stored.id)}"))
    await call.answer(_record(stored, await call.services.objects.places(stored)), 201)


def _over(text: str | None) -> Over | None:
    if not text:
        return None
    if text not in get_args(Over):
        raise MalformedRequest(f"unsupported `over`: {text[:64]!r}: write one of {', '.join(get_args(Over))}")
    return cast(Over, text)


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text[:4]) <= REPLICAS_MAX:
        raise MalformedRequest(f"`replicas` is a number from 1 to {REPLICAS_MAX}, not {text[:64]!r}")
    return int(text)


def _replicas(query: ChunkQuery) -> int:
    """How many whole replicas are asked for. Raises InvalidScheme, MalformedRequest."""
    if not query.durability:
        return query.replicas or 1
    scheme = Scheme.parse(query.durability)
    if scheme.data_shards != 1 or query.replicas not in (None, scheme.total):
        raise MalformedRequest("Members hold whole replicas: write `durability` none or raid1(n), or `replicas`.")
    return scheme.total


def _scheme(call: Call, text: str) -> Scheme:
    """What ``durability`` asks for: the hive's own scheme, one that users may choose, an administrator any.

    Raises InvalidScheme, Forbidden.
    """
    scheme = Scheme.parse(text)
    if scheme.name == call.services.chunks.scheme.name or call.principal.acts_as_admin:
        return scheme
    return call.services.filesystem.allowed_scheme(scheme)


def _record(stored: StoredObject, places: Sequence[ChunkPlaces]) -> ChunkRecord:
    chunks = [
        StoredChunk(
            id=chunk.chunk_id.hex(),
            size_bytes=chunk.plain_bytes,
            sealed_bytes=chunk.sealed_bytes,
            scheme=chunk.scheme,
            places=[Place(*place) for place in chunk.stores],
        )
        for chunk in places
    ]
    return ChunkRecord(
        chunk_id=text_of(stored.id),
        size_bytes=stored.size_bytes,
        encryption=stored.encryption,
        sealed_with=SEALED_WITH,
        durability=stored.durability,
        created_us=stored.created_us,
        replicas=sorted({place.store for chunk in chunks for place in chunk.places}),
        chunks=chunks,
    )


async def _data_then_end(form: FormReader) -> AsyncIterator[bytes]:
    """The data's bytes; what follows it must be nothing but small fields."""
    async for piece in form.data():
        yield piece
    while await form.next_part() is not None:
        await form.value(FIELD_LIMIT_BYTES)


_ANY = ("application/octet-stream", "*/*")
_GIVES = ("application/octet-stream",)
OPERATIONS = (
    Operation("POST", "/api/chunk", post_chunk, "chunks:write", TAG, status=201, takes=("multipart/form-data",)),
    Operation("PUT", "/api/chunk", put_chunk, "chunks:write", TAG, status=201, takes=_ANY),
    Operation("GET", "/api/chunk/{chunk_id}", get_chunk, "chunks:read", TAG, gives=_GIVES, also=(206, 304)),
    Operation("GET", "/api/chunk/{chunk_id}/info", get_chunk_info, "chunks:read", TAG),
    Operation("DELETE", "/api/chunk/{chunk_id}", delete_chunk, "chunks:write", TAG, status=204),
)
