"""``POST /accounts/token/withdraw/<token>``: as deposit; 402 where the credit does not suffice."""

from __future__ import annotations

from skep.frontends.accounts.amounts import byte_count
from skep.frontends.accounts.call import Answer, TokenCall


async def withdraw(call: TokenCall) -> Answer:
    """Take credit from a token. ``{"key": …}`` makes it happen once."""
    program = await call.program("withdraw")
    body = await call.json()
    key = body.get("key")
    amount = byte_count(body.get("bytes"))
    await call.credit.withdraw(program, call.account, "bytes", amount, key=key if isinstance(key, str) else "")
    return Answer({"status": "ok"})
