"""``GET /accounts/token/balance/<token>``: 0 for a token that nobody has heard of, never 404."""

from __future__ import annotations

from skep.frontends.accounts.call import Answer, TokenCall


async def balance(call: TokenCall) -> Answer:
    """Tell how many bytes of credit a token has."""
    return Answer({"balance": await call.credit.token_balance(call.path["token"])})
