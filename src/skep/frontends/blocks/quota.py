"""``GET /api/v0/quota/``: how much a user may store, and stores."""

from __future__ import annotations

import msgspec

from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.prefixes import JSON
from skep.frontends.common.answers import send_bytes

NO_LIMIT_BYTES = (1 << 63) - 1
"""What is told where nothing limits the space: programs take a number."""


async def get_quota(call: BlockCall) -> None:
    """Tell the bytes allowed and used, of everything in the user's space. Raises Refusal."""
    caller = await call.who()
    home = await call.ground.filesystem.home(caller.principal)
    allowed = NO_LIMIT_BYTES if home.quota_bytes is None else home.quota_bytes
    await send_bytes(call.send, 200, msgspec.json.encode({"quota": allowed, "size": home.used_bytes}), JSON)
