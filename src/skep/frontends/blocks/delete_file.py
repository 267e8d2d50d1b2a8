"""``DELETE /api/v0/files/<prefix>/<path>``: gone for good, whether it was there or not."""

from __future__ import annotations

from skep.filesystem.prefixes import Prefix
from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.callers import Caller
from skep.frontends.blocks.news import Happening
from skep.frontends.common.answers import send_bytes


async def delete_file(call: BlockCall, caller: Caller, prefix: Prefix) -> None:
    """Delete the file; 204. Conditions do not count. Raises Locked."""
    await call.ground.filesystem.remove_prefixed(caller.writer(prefix), prefix, call.path)
    call.ground.counts.told += 1
    call.ground.news.tell(Happening("DELETE", call.prefix_name, call.full_path))
    await send_bytes(call.send, 204, b"", [])
