"""``DELETE /api/find/<hash>``: administrators take a published file away."""

from __future__ import annotations

from skep.base.errors import Unauthenticated
from skep.frontends.common.answers import send_bytes
from skep.frontends.metadisk.call import CORS, MetadiskCall


async def remove(call: MetadiskCall) -> None:
    """Forget a file: its hash is not found any more, and its bytes go after the grace period."""
    await call.sign_in("admin")
    if call.caller is None:
        raise Unauthenticated("This needs the login of an administrator.")
    call.caller.require_admin()
    await call.ground.publisher.delete(call.content_hash)
    await send_bytes(call.send, 204, b"", CORS)
