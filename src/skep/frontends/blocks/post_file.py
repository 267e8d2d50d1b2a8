"""``POST /api/v0/files/<prefix>/<path>``: the body becomes the file, whatever was there."""

from __future__ import annotations

import msgspec

from skep.filesystem import WriteResult
from skep.filesystem.prefixes import Prefix
from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.callers import Caller
from skep.frontends.blocks.news import Happening
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.conditions import quoted
from skep.frontends.common.preconditions import write_conditions

SPARE_BYTES = 150 << 10
"""Over quota, metadata may still be overwritten by what is larger or smaller by less than this."""
BLOCKS = ("block/", "blocks/")
"""Paths that begin so are blocks, all others metadata."""
SMALL_BYTES = 1 << 20
"""Bodies of at most this size take no place among the transfers."""


async def post_file(call: BlockCall, caller: Caller, prefix: Prefix) -> None:
    """Store the body; 204 with its ETag once it is durable.

    Raises PreconditionFailed, QuotaExceeded, CreditExhausted, BodyTooLarge, NameClash.
    """
    call.body.check_declared()
    declared = call.body.declared
    if declared is not None and declared <= SMALL_BYTES:
        written = await _write(call, caller, prefix)
    else:
        async with call.ground.transfers.enter_as(caller.principal.user_id):
            written = await _write(call, caller, prefix)
    etag = quoted(written.version.etag)
    call.ground.counts.told += 1
    call.ground.news.tell(Happening("POST", call.prefix_name, call.full_path, etag))
    await send_bytes(call.send, 204, b"", [("etag", etag)])


async def _write(call: BlockCall, caller: Caller, prefix: Prefix) -> WriteResult:
    spare_bytes = 0 if call.path.startswith(BLOCKS) else SPARE_BYTES
    conditions = msgspec.structs.replace(write_conditions(call.headers), replaces=True, spare_bytes=spare_bytes)
    return await call.ground.filesystem.write_prefixed(
        caller.writer(prefix), prefix, call.path, call.body, length=call.body.declared, conditions=conditions
    )
