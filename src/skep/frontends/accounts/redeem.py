"""``POST /accounts/token/redeem/<token>`` with ``{"promocode": …}``: 201, or 403 for a code that gives nothing."""

from __future__ import annotations

from skep.base.errors import BadInput, PromoRefused
from skep.frontends.accounts.call import Answer, TokenCall


async def redeem(call: TokenCall) -> Answer:
    """Give a token what a code gives, once."""
    given = (await call.json()).get("promocode")
    code = given if isinstance(given, str) else ""
    try:
        await call.credit.redeem_for_token(call.path["token"], code, address=call.client)
    except BadInput:  # no token, or a code for people: to this door all is one
        raise PromoRefused("this code gives this token nothing") from None
    return Answer({"status": "ok"}, 201)
