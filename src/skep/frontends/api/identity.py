"""Signing in through identity providers, and which there are.

A browser opens ``/api/auth/sso/NAME?next=/path``, comes back through the provider, and is sent on to that path with
``#login=TICKET`` behind it, which no server sees; ``POST /api/auth/login/sso`` exchanges the ticket for tokens, once.
"""

from __future__ import annotations

import msgspec

from skep.auth import ClaimRules, ProviderInfo
from skep.base.errors import SkepError
from skep.frontends.api.auth_records import Tokens, tokens_record
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.browsers import base_url, cookie_of, redirect, set_cookie

TAG = "identity providers"
COOKIE = "skep_sso"
COOKIE_S = 600


class IdentityProvider(msgspec.Struct, frozen=True):
    """Somebody who vouches for people. ``callback``: what to register there as the redirect URI."""

    name: str
    issuer: str
    client_id: str
    has_secret: bool
    rules: ClaimRules
    callback: str
    created_us: int


class IdentityProviders(msgspec.Struct, frozen=True):
    """By name."""

    identity_providers: list[IdentityProvider]


class WayIn(msgspec.Struct, frozen=True):
    """A provider as a login page shows it."""

    name: str
    url: str


class WaysIn(msgspec.Struct, frozen=True):
    """How people may sign in besides name and password."""

    providers: list[WayIn]


class NewIdentityProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``issuer``: the provider's URL, as it calls itself; ``client_id``, ``client_secret``: what it gave the hive."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    rules: ClaimRules = ClaimRules()


class Identity(msgspec.Struct, frozen=True):
    """One's name at a provider."""

    provider: str
    subject: str
    last_used_us: int


class Identities(msgspec.Struct, frozen=True):
    """One's own."""

    identities: list[Identity]


class DepartQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: a path of the hive to go on to afterwards."""

    next: str = "/"


class ArriveQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider sends along."""

    state: str = ""
    code: str = ""
    error: str = ""
    error_description: str = ""
    iss: str = ""
    session_state: str = ""
    scope: str = ""


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What followed ``#login=``."""

    ticket: str


def _record(call: Call, info: ProviderInfo) -> IdentityProvider:
    callback = f"{_base(call)}/api/auth/sso/{info.name}/callback"
    return IdentityProvider(
        info.name, info.issuer, info.client_id, info.has_secret, info.rules, callback, info.created_us
    )


def _base(call: Call) -> str:
    return base_url(call, call.services.clouds.public_url or "")


async def list_ways_in(call: Call) -> WaysIn:
    """List the identity providers that people may sign in through."""
    found = await call.services.auth.list_providers()
    return WaysIn([WayIn(info.name, f"{_base(call)}/api/auth/sso/{info.name}") for info in found])


async def depart(call: Call, query: DepartQuery) -> None:
    """Send a browser to an identity provider. 302, with a cookie that the way back must show."""
    base = _base(call)
    url, cookie = await call.services.auth.depart(call.path["name"], base, query.next, call.client)
    await redirect(call, url, set_cookie(COOKIE, cookie, path="/api/auth/sso", lasts_s=COOKIE_S, base=base))


async def arrive(call: Call, query: ArriveQuery) -> None:
    """Take a browser back from an identity provider, and send it on with a ticket or the code of what went wrong."""
    base, name = _base(call), call.path["name"]
    gone = set_cookie(COOKIE, "", path="/api/auth/sso", lasts_s=0, base=base)
    agent = (call.headers.text("user-agent") or "")[:200]
    try:
        ticket, following = await call.services.auth.arrive(
            name,
            state=query.state,
            code=query.code,
            cookie=cookie_of(call, COOKIE),
            issuer=query.iss,
            agent=agent,
            address=call.client,
        )
    except SkepError as error:
        call.answer_headers.append(gone)
        raise error from None
    await redirect(call, f"{following or '/'}#login={ticket}", gone)


async def login_sso(call: Call, body: Ticket) -> Tokens:
    """Begin a session with the ticket that came back from an identity provider."""
    return tokens_record(await call.services.auth.login_sso(body.ticket))


async def list_identities(call: Call) -> Identities:
    """List one's own names at identity providers."""
    return Identities([Identity(*found) for found in await call.services.auth.list_identities(call.principal)])


async def list_identity_providers(call: Call) -> IdentityProviders:
    """List the identity providers with their rules."""
    return IdentityProviders([_record(call, info) for info in await call.services.auth.list_providers()])


async def add_identity_provider(call: Call, body: NewIdentityProvider) -> IdentityProvider:
    """Let an identity provider vouch for people; it is asked who it is first."""
    made = await call.services.auth.add_provider(
        call.principal, body.name, body.issuer, body.client_id, body.client_secret, body.rules
    )
    return _record(call, made)


async def remove_identity_provider(call: Call) -> None:
    """Believe an identity provider no more; its users stay, and need another way in."""
    await call.services.auth.remove_provider(call.principal, call.path["name"])


_ADMIN = "/api/admin/identity-providers"
_HTML = ("text/html",)
OPERATIONS = (
    Operation("GET", "/api/auth/sso", list_ways_in, None, TAG),
    Operation("GET", "/api/auth/sso/{name}", depart, None, TAG, status=302, gives=_HTML),
    Operation("GET", "/api/auth/sso/{name}/callback", arrive, None, TAG, status=302, gives=_HTML),
    Operation("POST", "/api/auth/login/sso", login_sso, None, TAG),
    Operation("GET", "/api/auth/identities", list_identities, "account", TAG),
    Operation("GET", _ADMIN, list_identity_providers, "admin", TAG, admin=True),
    Operation("POST", _ADMIN, add_identity_provider, "admin", TAG, admin=True, status=201),
    Operation("DELETE", f"{_ADMIN}/{{name}}", remove_identity_provider, "admin", TAG, admin=True, status=204),
)
