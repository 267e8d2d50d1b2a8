"""Logins: from "link an account" to a grant, through the browser.

1. An administrator begins a login and gets its link, ``/api/cloud/login/<provider>?ticket=...``.
2. The browser that opens the link uses the ticket up, gets a cookie, and is sent to the provider with a fresh state and
   PKCE challenge.
3. The provider sends it back with code and state. The state must be known, unused and in time, and the cookie must be
   the one that this login set: another browser cannot finish it, and a page cannot make this one finish another's.
4. The code is exchanged, the account looked up, the grant kept.

What always holds: tickets and states are random, single-use, kept as hashes compared in constant time, and end after
``LOGIN_S``; at most ``LOGINS_MAX`` logins wait at once; a login that is lost by a restart is begun again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from skep.base.clock import Clock
from skep.base.errors import BadInput, Conflict, Denied, NotFound, RateLimited, SkepError
from skep.base.ids import Id, new_id
from skep.clouds.apps import Apps
from skep.clouds.grants import CloudGrants, GrantInfo
from skep.stores.access import CloudAccess
from skep.stores.oauth import OAuthClient, Tokens, authorization_url, new_verifier
from skep.stores.providers import Provider, provider_of

LOGIN_S = 600.0
LOGINS_MAX = 1_000
CODE_MAX = 4_096
_NEXT = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}")
"""A path of this hive: one slash at its begin and no backslash anywhere, so that no browser reads a host into it."""

LookUp = Callable[[CloudAccess], Awaitable[tuple[str, str]]]
"""The account's id and label for an access."""


@dataclass(frozen=True, slots=True)
class LoginInfo:
    """A login as who began it sees it."""

    id: Id
    provider: str
    state: str
    """``waiting``, ``granted`` or ``failed``."""
    error: str | None
    code: str | None
    """The error's code."""
    grant: GrantInfo | None


@dataclass(slots=True)
class _Login:
    id: Id
    provider: str
    user_id: Id
    relink: bool
    of_others: bool
    following: str
    redirect_uri: str
    ends_s: float
    ticket: bytes | None = field(repr=False)
    state: bytes | None = field(default=None, repr=False)
    cookie: bytes | None = field(default=None, repr=False)
    verifier: str = field(default="", repr=False)
    outcome: str = "waiting"
    error: SkepError | None = None
    grant: GrantInfo | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser goes, and the cookie that it takes along."""

    url: str
    cookie_name: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a login ended for the browser."""

    info: LoginInfo
    following: str
    """A path of the hive to go on to, or nothing."""


class Logins:
    """The logins that wait. Used from the event loop's thread only."""

    def __init__(self, apps: Apps, grants: CloudGrants, clock: Clock, look_up: LookUp) -> None:
        self._apps = apps
        self._grants = grants
        self._clock = clock
        self._look_up = look_up
        self._logins: dict[Id, _Login] = {}

    def begin(
        self,
        provider: str,
        user_id: Id,
        base_url: str,
        *,
        relink: bool = False,
        of_others: bool = True,
        following: str = "",
    ) -> tuple[LoginInfo, str]:
        """Begin a login; its info and the ticket of its link.

        ``base_url`` is where browsers reach the hive; ``following`` a path of it to go on to;
        ``of_others``: whether it may renew a grant that another user made. Raises NotFound, Conflict
        (no app keys), BadInput, RateLimited.
        """
        app = self._apps.get(provider)
        if following and _NEXT.fullmatch(following) is None:
            raise BadInput(
                "What follows a login is a path of this hive, such as /app/: addresses of others are refused."
            )
        self._sweep()
        if len(self._logins) >= LOGINS_MAX:
            raise RateLimited("Too many logins wait to be finished: try again later.", retry_after_s=60)
        ticket = secrets.token_urlsafe(32)
        name = app.provider.name
        login = _Login(
            new_id(), name, user_id, relink, of_others, following, redirect_uri(base_url, name),
            self._clock.monotonic_s() + LOGIN_S, _hash(ticket),
        )  # fmt: skip
        self._logins[login.id] = login
        return _info(login), ticket

    def depart(self, provider: str, ticket: str) -> Departure:
        """Use a ticket up. Raises NotFound (unknown provider), Denied (unknown, used or old ticket)."""
        name = provider_of(provider).name
        shown = _hash(ticket)
        for login in self._current():
            if login.ticket is not None and hmac.compare_digest(login.ticket, shown) and login.provider == name:
                login.ticket = None
                return self._depart(login)
        raise Denied("This link was used already, or is older than ten minutes: begin the login again.")

    def _depart(self, login: _Login) -> Departure:
        app = self._apps.get(login.provider)
        state, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        login.state, login.cookie, login.verifier = _hash(state), _hash(cookie), new_verifier()
        url = authorization_url(app.provider, app.client_id, login.redirect_uri, state, login.verifier)
        return Departure(url, cookie_name(login.provider), cookie)

    async def arrive(self, provider: str, state: str, code: str, error: str, cookie: str) -> Arrival:
        """Finish a login with what the provider sent along.

        Raises BadInput (no state, or one that is unknown, used or old), Denied (another browser). What goes wrong
        later is the login's outcome, and in the arrival.
        """
        name = provider_of(provider).name
        if not state:
            raise BadInput("Missing state")
        login = self._take_state(name, state)
        if login.cookie is None or not hmac.compare_digest(login.cookie, _hash(cookie)):
            self._end(login, Denied("The login was begun in another browser: begin it again in this one."))
            raise Denied("This login was begun in another browser: begin it again in this one.")
        try:
            login.grant = await self._finish(login, code, error)
            login.outcome = "granted"
        except SkepError as failure:
            self._end(login, failure)
        finally:
            if login.outcome == "waiting":
                self._end(login, Conflict("The login was broken off: begin it again."))
        return Arrival(_info(login), login.following)

    def _take_state(self, provider: str, state: str) -> _Login:
        shown = _hash(state)
        for login in self._current():
            if login.state is not None and hmac.compare_digest(login.state, shown) and login.provider == provider:
                login.state = None
                return login
        raise BadInput("The state is unknown, used already, or older than ten minutes: begin the login again.")

    def _end(self, login: _Login, error: SkepError) -> None:
        login.outcome, login.error = "failed", error

    async def _finish(self, login: _Login, code: str, error: str) -> GrantInfo:
        app = self._apps.get(login.provider)
        if error:
            raise Denied(f"{app.provider.title} says that access was not granted ({_word(error)}).")
        if not code or len(code) > CODE_MAX:
            raise BadInput(f"{app.provider.title} sent no code along.")
        client = OAuthClient(app.provider, app.keys, self._clock)
        tokens = await client.exchange(code, login.verifier, login.redirect_uri)
        login.verifier = ""
        account, label = await self._look_up(_Fresh(app.provider, self._grants.folder, tokens))
        return await self._grants.add(
            login.provider, account, label, login.user_id, tokens, relink=login.relink, of_others=login.of_others
        )

    def look(self, login_id: Id, user_id: Id) -> LoginInfo:
        """How a login stands. Raises NotFound, also for another's."""
        login = self._logins.get(login_id)
        if login is None or login.user_id != user_id:
            raise NotFound("There is no such login, or it is over for long.")
        if login.outcome == "waiting" and login.ends_s < self._clock.monotonic_s():
            self._end(login, Conflict("The login was not finished within ten minutes: begin it again."))
        return _info(login)

    def _current(self) -> list[_Login]:
        now_s = self._clock.monotonic_s()
        return [login for login in self._logins.values() if login.outcome == "waiting" and login.ends_s >= now_s]

    def _sweep(self) -> None:
        """Outcomes can be seen for a while after the end."""
        now_s = self._clock.monotonic_s()
        for login in list(self._logins.values()):
            if login.ends_s + LOGIN_S < now_s:
                del self._logins[login.id]


@dataclass(frozen=True, slots=True)
class _Fresh:
    """Access with the tokens of a login that is not kept yet."""

    provider: Provider
    folder: str
    _tokens: Tokens = field(repr=False)

    async def token(self, refused: str | None = None) -> str:
        """See ``CloudAccess``; a second 401 is final."""
        return self._tokens.access


def redirect_uri(base_url: str, provider: str) -> str:
    """What is to be registered at the provider."""
    return f"{base_url.rstrip('/')}/api/cloud/login/{provider}/complete"


def cookie_name(provider: str) -> str:
    """The cookie of a login."""
    return f"skep_cloud_{provider}"


def _info(login: _Login) -> LoginInfo:
    error = login.error
    said, code = (None, None) if error is None else (error.message, error.code)
    return LoginInfo(login.id, login.provider, login.outcome, said, code, login.grant)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _word(text: str) -> str:
    return "".join(c for c in text[:60] if c.isalnum() or c in "_-") or "no reason"
