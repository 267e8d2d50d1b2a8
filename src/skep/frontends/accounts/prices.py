"""``GET /accounts/token/prices``: what credit costs now, in bytes and the currency's smallest coin."""

from __future__ import annotations

from skep.frontends.accounts.call import Answer, TokenCall


async def prices(call: TokenCall) -> Answer:
    """List the prices of this moment, the smallest amount first."""
    found = await call.credit.prices()
    return Answer({"prices": [{"amount": price.bytes, "cost": price.cost} for price in found]})
