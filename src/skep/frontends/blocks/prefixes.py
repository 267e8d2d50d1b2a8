"""``/api/v0/prefix/``: a user's prefixes. They cannot be taken away again."""

from __future__ import annotations

import msgspec

from skep.base.errors import LimitReached
from skep.frontends.blocks.call import BlockCall
from skep.frontends.common.answers import send_bytes

JSON = [("content-type", "application/json"), ("cache-control", "no-store")]
PREFIXES_MAX = 10_000
"""Of one user."""


async def post_prefix(call: BlockCall) -> None:
    """Make a prefix: 201 with its name. Raises Refusal, LimitReached."""
    caller = await call.who()
    filesystem = call.ground.filesystem
    if len(await filesystem.prefixes(caller.principal, count=PREFIXES_MAX)) >= PREFIXES_MAX:
        raise LimitReached(f"there are {PREFIXES_MAX} prefixes already: use one of them")
    made = await filesystem.make_prefix(caller.principal)
    await send_bytes(call.send, 201, msgspec.json.encode({"prefix": made}), JSON)


async def get_prefixes(call: BlockCall) -> None:
    """List the caller's own prefixes. Raises Refusal."""
    caller = await call.who()
    found = await call.ground.filesystem.prefixes(caller.principal, count=PREFIXES_MAX)
    await send_bytes(call.send, 200, msgspec.json.encode({"prefixes": found}), JSON)
