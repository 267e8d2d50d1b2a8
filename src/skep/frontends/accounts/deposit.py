"""``POST /accounts/token/deposit/<token>`` with ``{"bytes": …}`` and a program's key in ``Authentication``."""

from __future__ import annotations

from skep.frontends.accounts.amounts import byte_count
from skep.frontends.accounts.call import Answer, TokenCall


async def deposit(call: TokenCall) -> Answer:
    """Credit a token. ``{"key": …}`` makes it happen once."""
    program = await call.program("deposit")
    body = await call.json()
    key = body.get("key")
    amount = byte_count(body.get("bytes"))
    await call.credit.deposit(program, call.account, "bytes", amount, key=key if isinstance(key, str) else "")
    return Answer({"status": "ok"})
