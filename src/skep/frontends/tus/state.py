"""HEAD: where an upload stands."""

from __future__ import annotations

from skep.filesystem import Upload
from skep.frontends.common.id_text import text_of
from skep.frontends.tus.exchange import DOOR, Exchange, Pairs, expiry


async def state(exchange: Exchange) -> None:
    """tus: 200. The draft (section 4.3): 204; a request that is still being sent ends before, so the offset holds."""
    filesystem = exchange.ground.filesystem
    upload = await filesystem.upload(exchange.principal, DOOR, exchange.upload_id, hurry=not exchange.is_tus)
    if exchange.is_tus:
        await exchange.answer(200, tus_state(upload))
    else:
        await exchange.answer(204, draft_state(exchange, upload))


def tus_state(upload: Upload) -> Pairs:
    """Offset, length and what was said at the creation."""
    pairs: Pairs = [("upload-offset", str(upload.offset_bytes))]
    if upload.length_bytes is None:
        pairs.append(("upload-defer-length", "1"))
    else:
        pairs.append(("upload-length", str(upload.length_bytes)))
    for name, member in (("upload-metadata", "raw"), ("upload-concat", "concat")):
        if upload.metadata.get(member):
            pairs.append((name, upload.metadata[member]))
    return pairs + expiry(upload)


def draft_state(exchange: Exchange, upload: Upload) -> Pairs:
    """Offset, completeness, length and limits."""
    pairs: Pairs = [
        ("upload-offset", str(upload.offset_bytes)),
        ("upload-complete", "?1" if upload.state == "done" else "?0"),
        exchange.limits(upload),
    ]
    if upload.length_bytes is not None:
        pairs.append(("upload-length", str(upload.length_bytes)))
    if upload.node_id is not None:
        pairs.append(("content-location", f"/api/filesystem/data/{text_of(upload.node_id)}"))
    return pairs
