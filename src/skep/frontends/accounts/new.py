"""``POST /accounts/token/new``: a token, of which nothing is kept until it is given something."""

from __future__ import annotations

from skep.frontends.accounts.call import Answer, TokenCall


async def new_token(call: TokenCall) -> Answer:
    """Make up a token that nobody else has."""
    return Answer({"token": call.credit.new_token()})
