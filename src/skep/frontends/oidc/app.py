"""The ASGI application of the door: from a request to its verb, and from an error to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from skep.auth.vouching import OAuthRefusal
from skep.base import errors as e
from skep.base.logs import get_logger
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.request import client_of
from skep.frontends.oidc import browser, pages, programs
from skep.frontends.oidc.exchange import FORM_BYTES_MAX, Exchange, OidcGround

log = get_logger("skep.oidc")
Verb = Callable[[Exchange], Awaitable[None]]
METADATA: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")

_VERBS: Mapping[str, Mapping[str, Verb]] = {
    "/oauth/authorize": {"GET": browser.authorize, "POST": browser.decide},
    "/oauth/signin": {"POST": browser.sign_in},
    "/oauth/signout": {"POST": browser.sign_out},
    "/oauth/device": {"GET": browser.device, "POST": browser.decide_device},
    "/oauth/password": {"GET": browser.password, "POST": browser.set_password},
    "/oauth/verify": {"GET": browser.verify, "POST": browser.verified},
    "/oauth/token": {"POST": programs.token},
    "/oauth/device_authorization": {"POST": programs.begin_device},
    "/oauth/revoke": {"POST": programs.revoke},
    "/oauth/userinfo": {"GET": programs.user_info, "POST": programs.user_info},
    "/oauth/jwks": {"GET": programs.keys},
    **{path: {"GET": programs.metadata} for path in METADATA},
}
_PAGES: Final = frozenset(
    {"/oauth/authorize", "/oauth/signin", "/oauth/signout", "/oauth/device", "/oauth/password", "/oauth/verify"}
)
_STATUS: Mapping[type[e.SkepError], int] = {
    e.BadInput: 400,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.BodyTooLarge: 413,
    e.LimitReached: 429,
    e.ClientGone: 400,
    e.Unavailable: 503,
}


class OidcApp:
    """The provider at ``/oauth/``."""

    def __init__(self, ground: OidcGround) -> None:
        self._ground = ground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["route"] = "/oauth"
        exchange = self._open(scope, receive, send)
        try:
            await self._answer(exchange)
        except OAuthRefusal as error:
            await exchange.refuse(error)
        except e.SkepError as error:
            await self._fail(exchange, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("bug", request_id=exchange.request_id)
            await self._fail(exchange, e.SkepError("Something went wrong inside the hive: its log has more."))

    def _open(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        ground, known = self._ground, scope["state"]
        headers = known.get("headers") or check_head(scope, ground.head_bytes)
        body = Body(
            receive,
            declared=declared_length(headers),
            limit_bytes=FORM_BYTES_MAX,
            idle_timeout_s=ground.idle_timeout_s,
        )
        return Exchange(
            ground=ground,
            scope=scope,
            headers=headers,
            body=body,
            request_id=known.get("request_id", ""),
            client=client_of(scope),
            _send=send,
        )

    async def _answer(self, exchange: Exchange) -> None:
        exchange.body.check_declared()
        path, method = exchange.scope["path"], exchange.scope["method"]
        verbs = _VERBS.get(path)
        if verbs is None:
            raise e.NotFound(f"There is nothing at {path[:200]!r}.")
        verb = verbs.get("GET" if method == "HEAD" else method)
        if verb is not None:
            await verb(exchange)
            return
        allow = ("allow", ", ".join(sorted({*verbs, "OPTIONS"})))
        open_to_pages = (
            []
            if path in _PAGES
            else [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-headers", "authorization, content-type"),
            ]
        )
        await send_bytes(exchange.send, 204 if method == "OPTIONS" else 405, b"", [allow, *open_to_pages])

    async def _fail(self, exchange: Exchange, error: e.SkepError) -> None:
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
        if exchange.started:
            return
        if exchange.scope["path"] in _PAGES:
            await pages.told(exchange, "That did not work", error.message, status=status)
            return
        headers = [("www-authenticate", 'Bearer realm="skep", error="invalid_token"')] if status == 401 else []
        if status in (429, 503):
            headers.append(("retry-after", str(error.details.get("retry_after_s", 1))))
        word = "invalid_request" if status == 400 else "temporarily_unavailable" if status >= 429 else error.code
        await exchange.json({"error": word, "error_description": error.message}, status, *headers)
