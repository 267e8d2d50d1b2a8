"""Clouds: the hive's app keys at providers, and logins that grant it accounts.

A login runs in a browser: ``POST /api/cloud/logins`` gives a link, which can be opened once; the provider sends the
browser back to ``/api/cloud/login/{provider}/complete``; ``GET /api/cloud/logins/{login}`` tells how it ended.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import msgspec

from skep.auth import Principal
from skep.base.errors import Forbidden, NotFound, Unauthenticated
from skep.base.ids import id_text
from skep.clouds import GrantInfo, LoginInfo
from skep.clouds.logins import LOGIN_S, cookie_name, redirect_uri
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.browsers import base_url, cookie_of, redirect, set_cookie
from skep.stores.providers import PROVIDERS, Provider

TAG = "clouds"
COOKIE_MAX = 200
_QUIET = [("cache-control", "no-store"), ("referrer-policy", "no-referrer")]


class CloudProvider(msgspec.Struct, frozen=True):
    """One provider. ``configured``: whether the hive has an app there; ``redirect_uri``: what to register at it."""

    name: str
    title: str
    configured: bool
    redirect_uri: str
    console_url: str
    scopes: tuple[str, ...]
    client_id: str | None
    """For administrators."""
    has_secret: bool
    source: str | None
    """``settings`` or ``hive``."""
    base_url: str | None
    """A gateway in front of the provider."""


class CloudProviders(msgspec.Struct, frozen=True):
    """All providers that this Skep knows."""

    providers: list[CloudProvider]


class NewCloudApp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hive's registration at a provider; ``client_secret`` is kept sealed and never shown."""

    client_id: str
    client_secret: str | None = None
    base_url: str | None = None
    """A gateway: the provider's hosts are the first part of the path there."""


class Grant(msgspec.Struct, frozen=True):
    """An account that was granted to the hive. ``url``: as a store."""

    id: str
    provider: str
    account: str
    label: str
    url: str
    user_id: str
    created_us: int
    refreshed_us: int


class Grants(msgspec.Struct, frozen=True):
    """All grants."""

    grants: list[Grant]


class NewLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``relink``: new tokens for an account that is a store already; ``next``: a path of the hive to go on to."""

    provider: str
    relink: bool = False
    next: str = ""


class CloudLogin(msgspec.Struct, frozen=True):
    """A login. ``state``: waiting, granted or failed; ``link``: to be opened in a browser, once."""

    id: str
    provider: str
    state: str
    error: str | None
    code: str | None
    grant: Grant | None
    link: str | None = None
    expires_in_s: float | None = None


class LoginQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``ticket``: from the link; without one the request itself must show a credential."""

    ticket: str = ""
    next: str = ""


class CompleteQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider sends along."""

    state: str = ""
    code: str = ""
    error: str = ""


async def list_cloud_providers(call: Call) -> CloudProviders:
    """List the cloud providers, and whether the hive has an app at each."""
    return CloudProviders([_provider(call, provider) for provider in PROVIDERS.values()])


async def set_cloud_provider(call: Call, body: NewCloudApp) -> CloudProvider:
    """Register the hive's app at a provider, or change its keys."""
    clouds = call.services.clouds
    app = await clouds.apps.set(call.path["provider"], body.client_id, body.client_secret, body.base_url)
    return _provider(call, app.provider)


async def forget_cloud_provider(call: Call) -> None:
    """Forget the app keys; what the settings say counts again."""
    await call.services.clouds.apps.forget(call.path["provider"])


async def list_cloud_grants(call: Call) -> Grants:
    """List the accounts that were granted to the hive: all to administrators, else those that the caller granted."""
    return Grants([_grant(info) for info in call.services.clouds.grants.all() if _may_see(call, info)])


def _may_see(call: Call, info: GrantInfo) -> bool:
    return call.principal.acts_as_admin or info.user_id == call.principal.user_id


async def remove_cloud_grant(call: Call) -> None:
    """Withdraw a grant that no store needs, at the provider too where it has a call for that."""
    grant_id = call.id("grant", NotFound)
    if not any(info.id == grant_id and _may_see(call, info) for info in call.services.clouds.grants.all()):
        raise NotFound("There is no such grant.")
    await call.services.clouds.grants.remove(call.id("grant", NotFound))


async def begin_cloud_login(call: Call, body: NewLogin) -> CloudLogin:
    """Begin a login at a provider; open the link in a browser. Users: where they may have stores of that kind."""
    logins, who = call.services.clouds.logins, call.principal
    _check_user(call, who, body.provider)
    info, ticket = logins.begin(
        body.provider, who.user_id, _base_url(call), relink=body.relink, of_others=who.acts_as_admin,
        following=body.next,
    )  # fmt: skip
    link = f"{_base_url(call)}/api/cloud/login/{info.provider}?ticket={quote(ticket)}"
    return msgspec.structs.replace(_login(info), link=link, expires_in_s=LOGIN_S)


def _check_user(call: Call, principal: Principal, provider: str) -> None:
    """Raise Forbidden unless this user may have a store at that provider."""
    name = provider.lower()
    if name in PROVIDERS and not principal.acts_as_admin and name not in call.services.owning.rules.drivers:
        raise Forbidden(f"This hive does not let users add {name} stores: ask an administrator.")


async def look_at_cloud_login(call: Call) -> CloudLogin:
    """Tell how one's login stands."""
    return _login(call.services.clouds.logins.look(call.id("login", NotFound), call.principal.user_id))


async def cloud_login(call: Call, query: LoginQuery) -> None:
    """Send a browser to the provider. 302, with a cookie that the way back must show."""
    logins = call.services.clouds.logins
    provider, ticket = call.path["provider"], query.ticket
    if not ticket:
        if call.headers.get("authorization") is None:
            raise Unauthenticated("Begin a login with POST /api/cloud/logins and open its link.")
        principal = await authenticate(call.services.auth, call.headers, call.client)
        principal.require("account")
        _check_user(call, principal, provider)
        of_others = principal.acts_as_admin
        _, ticket = logins.begin(
            provider, principal.user_id, _base_url(call), of_others=of_others, following=query.next
        )
    departure = logins.depart(provider, ticket)
    await redirect(call, departure.url, _cookie(call, departure.cookie_name, departure.cookie, int(LOGIN_S)))


async def complete_cloud_login(call: Call, query: CompleteQuery) -> None:
    """Take a browser back from the provider: keep the grant, and say so or go on."""
    name = call.path["provider"].lower()
    clouds = call.services.clouds
    cookie = cookie_of(call, cookie_name(name))[:COOKIE_MAX]
    arrival = await clouds.logins.arrive(name, query.state, query.code, query.error, cookie)
    gone = _cookie(call, cookie_name(name), "", 0)
    if arrival.following:
        await redirect(call, arrival.following, gone)
        return
    info = arrival.info
    if info.grant is not None:
        text = f"{PROVIDERS[info.provider].title}: access to {info.grant.label} was granted. You can close this page."
    else:
        text = f"{PROVIDERS[info.provider].title}: {info.error} You can close this page."
    await _page(call, 200 if info.grant is not None else 400, text, gone)


def _provider(call: Call, provider: Provider) -> CloudProvider:
    app = call.services.clouds.apps.known(provider.name)
    shown = app is not None and call.principal.is_admin
    return CloudProvider(
        name=provider.name,
        title=provider.title,
        configured=app is not None,
        redirect_uri=redirect_uri(_base_url(call), provider.name),
        console_url=PROVIDERS[provider.name].console_url,
        scopes=provider.scopes,
        client_id=app.client_id if app is not None and shown else None,
        has_secret=app is not None and app.client_secret is not None,
        source=None if app is None else app.source,
        base_url=app.base_url if app is not None and shown else None,
    )


def _grant(info: GrantInfo) -> Grant:
    return Grant(
        id_text(info.id), info.provider, info.account, info.label, info.url, id_text(info.user_id), info.created_us,
        info.refreshed_us,
    )  # fmt: skip


def _login(info: LoginInfo) -> CloudLogin:
    grant = None if info.grant is None else _grant(info.grant)
    return CloudLogin(id_text(info.id), info.provider, info.state, info.error, info.code, grant)


def _base_url(call: Call) -> str:
    return base_url(call, call.services.clouds.public_url)


def _cookie(call: Call, name: str, value: str, lasts_s: int) -> tuple[str, str]:
    return set_cookie(name, value, path="/api/cloud/login", lasts_s=lasts_s, base=_base_url(call))


async def _page(call: Call, status: int, text: str, cookie: tuple[str, str]) -> None:
    body = f"<!doctype html><meta charset=utf-8><title>Skep</title><p>{escape(text)}</p>\n".encode()
    headers = [
        ("content-type", "text/html; charset=utf-8"), cookie, ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'"), *_QUIET,
    ]  # fmt: skip
    await send_bytes(call.send, status, body, headers, head_only=call.head_only)


_PROVIDERS, _PROVIDER = "/api/cloud/providers", "/api/cloud/providers/{provider}"
_LOGINS, _LOGIN = "/api/cloud/logins", "/api/cloud/login/{provider}"
_HTML = ("text/html",)
OPERATIONS = (
    Operation("GET", _PROVIDERS, list_cloud_providers, "account", TAG),
    Operation("PUT", _PROVIDER, set_cloud_provider, "admin", TAG, admin=True),
    Operation("DELETE", _PROVIDER, forget_cloud_provider, "admin", TAG, admin=True, status=204),
    Operation("GET", "/api/cloud/grants", list_cloud_grants, "account", TAG),
    Operation("DELETE", "/api/cloud/grants/{grant}", remove_cloud_grant, "account", TAG, status=204),
    Operation("POST", _LOGINS, begin_cloud_login, "account", TAG, status=201),
    Operation("GET", f"{_LOGINS}/{{login}}", look_at_cloud_login, "account", TAG),
    Operation("GET", _LOGIN, cloud_login, None, TAG, status=302, gives=_HTML),
    Operation("GET", f"{_LOGIN}/complete", complete_cloud_login, None, TAG, gives=_HTML, also=(302,)),
)
