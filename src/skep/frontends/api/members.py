"""``/api/array/`` and ``/api/cloud/``: chunks on members of one's own, under ids that the client chooses.

The array's members are the agents that lend disk, the cloud's the accounts and buckets; one's own and, where the
placement allows them, the hive's. Each replica is whole and on another member. What the client sends is sealed once
more on its way, so a chunk that it sealed itself stays as it is, and reads verify whatever a member returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from skep.chunks.manifest import etag
from skep.durability.held import REPLICAS_MAX, HeldChunk
from skep.durability.records import ChunkPlaces
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.serving import Content, serve

TAG = "chunks"
Replicas = Annotated[int, Meta(ge=1, le=REPLICAS_MAX)]
PAGE = 1000


class ReplicasQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``replicas``: on how many members it is to lie, each on another."""

    replicas: Replicas = 1


class HeldPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``after``: the last id of the page before."""

    after: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE)] = PAGE


class HeldRecord(msgspec.Struct, frozen=True):
    """A chunk by its owner's id for it."""

    chunk_id: str
    size_bytes: int
    replicas: int
    created_us: int


class HeldDetail(HeldRecord, frozen=True):
    """And where it lies: the members that hold it, and those that should and have lost a part of it."""

    members: list[str]
    missing: list[str]


class HeldList(msgspec.Struct, frozen=True):
    """A page of chunks by id. ``more``: whether others follow the last of them."""

    chunks: list[HeldRecord]
    more: bool


async def put_array_chunk(call: Call, query: ReplicasQuery) -> None:
    """Store the body as a chunk on agents. 200 where the same content is there already, 409 where another is."""
    await _put(call, "array", query.replicas)


async def get_array_chunk(call: Call) -> None:
    """Read a chunk from whichever agent has it; answers ranges and conditions like a file."""
    await _get(call, "array")


async def get_array_chunk_info(call: Call) -> HeldDetail:
    """Show on which agents a chunk lies."""
    return await _info(call, "array")


async def delete_array_chunk(call: Call) -> None:
    """Forget a chunk; agents' room is free after the grace period."""
    await _delete(call, "array")


async def list_array_chunks(call: Call, query: HeldPageQuery) -> HeldList:
    """List one's chunks on agents by id."""
    return await _list(call, "array", query)


async def put_cloud_chunk(call: Call, query: ReplicasQuery) -> None:
    """Store the body as a chunk on clouds. 200 where the same content is there already, 409 where another is."""
    await _put(call, "cloud", query.replicas)


async def get_cloud_chunk(call: Call) -> None:
    """Read a chunk from whichever cloud has it; answers ranges and conditions like a file."""
    await _get(call, "cloud")


async def get_cloud_chunk_info(call: Call) -> HeldDetail:
    """Show on which clouds a chunk lies."""
    return await _info(call, "cloud")


async def delete_cloud_chunk(call: Call) -> None:
    """Forget a chunk; clouds' room is free after the grace period."""
    await _delete(call, "cloud")


async def list_cloud_chunks(call: Call, query: HeldPageQuery) -> HeldList:
    """List one's chunks on clouds by id."""
    return await _list(call, "cloud", query)


async def _put(call: Call, service: str, replicas: int) -> None:
    body = call.body.limited(call.services.limits.chunk_bytes)
    body.check_declared()
    me, chunk_id = call.principal.user_id, call.path["chunk_id"]
    async with call.services.uploads.enter_as(me):
        held, new = await call.services.held.put(me, service, chunk_id, body, replicas)
    detail = await _detail(call, service, held)
    call.answer_headers.append(("location", f"/api/{service}/{held.chunk_id}"))
    await call.answer(detail, 201 if new else 200)


async def _get(call: Call, service: str) -> None:
    held, stored = await call.services.held.get(call.principal.user_id, service, call.path["chunk_id"])
    content = Content(
        name=held.chunk_id,
        size_bytes=stored.size_bytes,
        etag=etag(stored.manifest),
        mime="application/octet-stream",
        modified_us=stored.created_us,
        read=lambda offset, length: call.services.objects.read(stored, offset, length),
    )
    await serve(call, content, download=False)


async def _info(call: Call, service: str) -> HeldDetail:
    held, _ = await call.services.held.get(call.principal.user_id, service, call.path["chunk_id"])
    return await _detail(call, service, held)


async def _detail(call: Call, service: str, held: HeldChunk) -> HeldDetail:
    _, stored = await call.services.held.get(call.principal.user_id, service, held.chunk_id)
    places = await call.services.objects.places(stored)
    members, missing = holders(places)
    return HeldDetail(held.chunk_id, held.size_bytes, held.replicas, held.created_us, members, missing)


def holders(places: Sequence[ChunkPlaces]) -> tuple[list[str], list[str]]:
    """Members that have what they should have of a content, and those that have not."""
    seen = {store for chunk in places for store, _, _ in chunk.stores}
    lacking = {store for chunk in places for store, _, state in chunk.stores if state != "ok"}
    return sorted(seen - lacking), sorted(lacking)


async def _delete(call: Call, service: str) -> None:
    await call.services.held.delete(call.principal.user_id, service, call.path["chunk_id"])


async def _list(call: Call, service: str, query: HeldPageQuery) -> HeldList:
    found = await call.services.held.list(call.principal.user_id, service, query.after, query.limit + 1)
    records = [HeldRecord(each.chunk_id, each.size_bytes, each.replicas, each.created_us) for each in found]
    return HeldList(records[: query.limit], len(records) > query.limit)


_ANY, _GIVES = ("application/octet-stream", "*/*"), ("application/octet-stream",)
_ARRAY, _CLOUD = "/api/array/{chunk_id}", "/api/cloud/{chunk_id}"
OPERATIONS = (
    Operation("GET", "/api/array", list_array_chunks, "chunks:read", TAG),
    Operation("POST", _ARRAY, put_array_chunk, "chunks:write", TAG, status=201, takes=_ANY, also=(200,)),
    Operation("GET", _ARRAY, get_array_chunk, "chunks:read", TAG, gives=_GIVES, also=(206, 304)),
    Operation("DELETE", _ARRAY, delete_array_chunk, "chunks:write", TAG, status=204),
    Operation("GET", f"{_ARRAY}/info", get_array_chunk_info, "chunks:read", TAG),
    Operation("GET", "/api/cloud", list_cloud_chunks, "chunks:read", TAG),
    Operation("POST", _CLOUD, put_cloud_chunk, "chunks:write", TAG, status=201, takes=_ANY, also=(200,)),
    Operation("GET", _CLOUD, get_cloud_chunk, "chunks:read", TAG, gives=_GIVES, also=(206, 304)),
    Operation("DELETE", _CLOUD, delete_cloud_chunk, "chunks:write", TAG, status=204),
    Operation("GET", f"{_CLOUD}/info", get_cloud_chunk_info, "chunks:read", TAG),
)
