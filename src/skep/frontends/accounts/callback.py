"""``POST /accounts/coinbase/success/<key>/<bytes>``: a payment callback that has its key in the URL.

The order's own id, where it has one, makes it count once: replayed, it credits nothing.
"""

from __future__ import annotations

from skep.base.errors import MalformedRequest
from skep.frontends.accounts.amounts import byte_count
from skep.frontends.accounts.call import Answer, TokenCall


async def success(call: TokenCall) -> Answer:
    """Credit the token that ``order.custom`` names."""
    program = await call.credit.require_key(call.path["key"], "deposit")
    amount = byte_count(call.path["bytes"])
    order = (await call.json()).get("order")
    token = order.get("custom") if isinstance(order, dict) else None
    if not isinstance(order, dict) or not isinstance(token, str):
        raise MalformedRequest("The callback names no token in order.custom.")
    order_id = order.get("id")
    key = f"order {order_id[:100]}" if isinstance(order_id, str) and order_id else ""
    await call.credit.deposit(program, f"token:{token}", "bytes", amount, key=key)
    return Answer({"status": "ok"})
