"""``GET /api/v0/files/<prefix>/<path>``: for whoever asks; the owner of the prefix pays."""

from __future__ import annotations

from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.errors import NOT_FOUND, Refusal
from skep.frontends.common.serving import Content, serve


async def get_file(call: BlockCall) -> None:
    """Answer with a file, a range of it, or 304. Raises Refusal, NodeNotFound, TrafficExceeded, CreditExhausted."""
    prefix = await call.ground.filesystem.prefix(call.prefix_name)
    if prefix is None:
        raise Refusal(404, NOT_FOUND)
    if not prefix.is_active:
        raise Refusal(403, "The owner of this prefix is suspended")
    await call.ground.callers.refresh_owner(prefix)
    found = await call.ground.filesystem.open_prefixed(prefix, call.path)
    content = Content(
        found.node.name, found.size_bytes, found.etag, found.mime, found.modified_us, found.read, found.whole
    )
    await serve(call, content, download=True)
