"""The ASGI application of the door: routes, JSON in and out, and this door's own words for what failed.

Its callers know ``{"status": …}`` and ``{"error": "balance-insufficient"}`` and go by the HTTP status; problem details
would be news to them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from skep.base.errors import (
    BadInput,
    CreditExhausted,
    Denied,
    Forbidden,
    LimitReached,
    NotFound,
    SkepError,
    Unauthenticated,
    Unavailable,
)
from skep.base.logs import get_logger
from skep.frontends.accounts import balance, callback, deposit, new, prices, redeem, withdraw
from skep.frontends.accounts.call import Answer, TokenCall
from skep.frontends.accounts.services import AccountsGround
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.request import client_of

log = get_logger("skep.accounts")
ROOT = "/accounts"
_WHOSE = r"(?P<token>[^/]{1,200})"
_ROUTES: tuple[tuple[str, str, Callable[[TokenCall], Awaitable[Answer]]], ...] = (
    ("POST", r"/token/new", new.new_token),
    ("GET", r"/token/prices", prices.prices),
    ("GET", rf"/token/balance/{_WHOSE}", balance.balance),
    ("POST", rf"/token/redeem/{_WHOSE}", redeem.redeem),
    ("POST", rf"/token/deposit/{_WHOSE}", deposit.deposit),
    ("POST", rf"/token/withdraw/{_WHOSE}", withdraw.withdraw),
    ("POST", r"/coinbase/success/(?P<key>[^/]{1,400})/(?P<bytes>[^/]{1,40})", callback.success),
)
_ERRORS: Mapping[type[SkepError], tuple[int, Mapping[str, str]]] = {
    CreditExhausted: (402, {"error": "balance-insufficient"}),
    LimitReached: (429, {"status": "too-many-requests"}),
    Unauthenticated: (401, {"status": "invalid-authentication"}),
    Forbidden: (403, {"status": "error"}),
    Denied: (403, {"status": "error"}),
    NotFound: (404, {"status": "not-found"}),
    BadInput: (400, {"status": "bad-request"}),
    Unavailable: (503, {"status": "unavailable"}),
    SkepError: (409, {"status": "error"}),
}
"""The most specific class counts."""


class AccountsApp:
    """Anonymous tokens at ``/accounts/``."""

    def __init__(self, ground: AccountsGround) -> None:
        self._ground = ground
        self._routes = [(method, re.compile(pattern), verb) for method, pattern, verb in _ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(ROOT)
        if len(path) > 1:
            path = path.rstrip("/")
        found = [(method, match, verb) for method, form, verb in self._routes if (match := form.fullmatch(path))]
        asked = "GET" if scope["method"] == "HEAD" else scope["method"]
        chosen = next(((match, verb) for method, match, verb in found if method == asked), None)
        scope.setdefault("state", {})["route"] = ROOT
        if chosen is None:
            status = 405 if found else 404
            await self._send(scope, send, Answer({"status": "not-found" if status == 404 else "not-allowed"}, status))
            return
        try:
            answer = await chosen[1](self._call(scope, receive, chosen[0].groupdict()))
        except SkepError as error:
            answer = answer_of(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("bug", path=ROOT)
            answer = Answer({"status": "error"}, 500)
        await self._send(scope, send, answer)

    def _call(self, scope: Scope, receive: Receive, parts: Mapping[str, str]) -> TokenCall:
        ground = self._ground
        headers = scope["state"].get("headers") or check_head(scope, ground.head_bytes)
        body = Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=ground.body_bytes,
            idle_timeout_s=ground.idle_timeout_s,
        )
        return TokenCall(ground.credit, headers, body, parts, client_of(scope), ground.body_bytes)

    async def _send(self, scope: Scope, send: Send, answer: Answer) -> None:
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        body = msgspec.json.encode(answer.value)
        await send_bytes(send, answer.status, body, headers, head_only=scope["method"] == "HEAD")


def answer_of(error: SkepError) -> Answer:
    """What this door says of an error."""
    for kind in type(error).__mro__:
        if kind in _ERRORS:
            status, value = _ERRORS[kind]
            return Answer(dict(value), status)
    raise AssertionError("SkepError is in the table")


def accounts_app(ground: AccountsGround) -> AccountsApp:
    """The ASGI application of the door."""
    return AccountsApp(ground)
