"""What all doubles have in common: OAuth, tokens, files in memory, and failing as a test says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from skep.base.clock import Clock, SystemClock
from skep.stores.oauth import Tokens
from skep.stores.protocol import Store
from skep.stores.providers import PROVIDERS, Provider
from skep.stores.registry import open_store
from skep.testing.serving import served

CLIENT_ID, CLIENT_SECRET = "client-of-tests", "client secret of tests"


@dataclass
class Rule:
    """How requests whose path contains ``path`` go wrong, ``times`` times."""

    path: str = ""
    times: int = 1
    method: str = ""
    status: int | None = None
    """Answer with this instead."""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Close the connection without an answer."""
    done: bool = False
    """With ``cut``: only after the work is done."""
    delay_s: float = 0.0
    spoil: Callable[[bytes], bytes] | None = None
    """What becomes of the bytes on their way in."""
    short: bool = False
    """Send half of the body that was announced."""
    skip: int = 0
    """Requests that pass before the first that fails."""


@dataclass
class Stored:
    """A file of the double."""

    name: str
    content: bytes
    id: str
    parent: str = ""
    folder: bool = False
    number: int = 0
    """Grows with every change: stands for the time of it."""
    listed_from: int = 0
    """The listing from whose number on it is shown."""


class CloudDouble:
    """A provider's server. Subclasses have its routes: ``handlers`` maps ``METHOD path prefix`` to a method."""

    name: ClassVar[str] = ""
    rotates_refresh: ClassVar[bool] = False
    """Whether refreshing uses up the refresh token."""

    def __init__(self, *, room_bytes: int = 1 << 40, lag_listings: int = 0, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.provider: Provider = PROVIDERS[self.name]
        self.account_id = "account-of-ada"
        self.label = "ada@example.com"
        self.room_bytes = room_bytes
        self.lag_listings = lag_listings
        """How many listings pass until a change is shown."""
        self.page_max = 1_000
        """Files on one page of a listing."""
        self.files: dict[str, Stored] = {}
        self.rules: list[Rule] = []
        self.requests: list[str] = []
        self.deny = False
        self.redirects: set[str] = set()
        """Registered redirect addresses; none: any."""
        self.token_s = 14_400
        self.refreshes = 0
        self.access: dict[str, int] = {}
        """Access tokens, and when they end."""
        self.refresh: set[str] = set()
        self.codes: dict[str, tuple[str, str]] = {}
        """Authorization codes: challenge and redirect address."""
        self.base_url = ""
        self._numbers = itertools.count(1)
        self.listings = 0
        self.hidden: list[tuple[int, Stored]] = []
        """Files that are gone and still listed, and from which listing on not."""

    # --- the server -------------------------------------------------------------------------

    @contextmanager
    def served(self) -> Iterator[str]:
        """Answer at the returned base URL until the block is left."""
        with served(self) as url:
            self.base_url = url
            yield url

    def grant(self) -> Tokens:
        """Tokens as after a login."""
        access, refresh = self._new_access(), secrets.token_urlsafe(20)
        self.refresh.add(refresh)
        return Tokens(access, refresh, self.clock.now_us() + self.token_s * 1_000_000)

    def store(self, folder: str = ".skep/hive") -> Store:
        """The real driver on this double, with a grant of its own."""
        grant = {
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": self.grant().refresh,
            "base_url": self.base_url, "folder": folder,
        }  # fmt: skip
        return open_store(f"{self.name}:{self.account_id}", secret=json.dumps(grant).encode())

    def fail(self, *rules: Rule) -> None:
        """Add ways to go wrong; the first that fits a request counts."""
        self.rules += rules

    def expire_tokens(self) -> None:
        """All access tokens end now."""
        self.access.clear()

    def withdraw(self) -> None:
        """The user takes the grant back at the provider."""
        self.access.clear()
        self.refresh.clear()

    def used_bytes(self) -> int:
        """What all files take."""
        return sum(len(stored.content) for stored in self.files.values())

    def next_number(self) -> int:
        """A number that grows."""
        return next(self._numbers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path: str = request.url.path
        self.requests.append(f"{request.method} {path}")
        rule = self._rule(request.method, path)
        if rule is not None and rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        if rule is not None and rule.status is not None:
            await request.body()
            body = rule.body if isinstance(rule.body, bytes) else json.dumps(rule.body or {}).encode()
            headers = {"content-type": "application/json", **rule.headers}
            await Response(body, rule.status, headers)(scope, receive, send)
            return
        if rule is not None and rule.cut and not rule.done:
            await cut_off(send)
            return
        answer = await self._answer(request, await self._body(request, rule))
        if rule is not None and rule.cut:
            await cut_off(send)
        elif rule is not None and rule.short:
            await cut_off(send, bytes(answer.body), answer)
        else:
            await answer(scope, receive, send)

    async def _body(self, request: Request, rule: Rule | None) -> bytes:
        body = await request.body()
        return rule.spoil(body) if rule is not None and rule.spoil is not None else body

    def _rule(self, method: str, path: str) -> Rule | None:
        for rule in self.rules:
            if rule.path in path and rule.method in ("", method) and rule.times > 0:
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule
        return None

    async def _answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path
        for url, handler in (
            (self.provider.authorize_url, self._authorize),
            (self.provider.token_url, self._token),
            (self.provider.revoke_url, self.revoke),
        ):
            if url is not None and path == "/" + url.removeprefix("https://"):
                return await handler(request, body)
        return await self.answer(request, body)

    async def answer(self, request: Request, body: bytes) -> Response:
        """Everything but OAuth. Subclasses have it."""
        raise NotImplementedError

    # --- OAuth ------------------------------------------------------------------------------

    def authorized(self, request: Request) -> bool:
        """Whether the request has an access token that is good."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and self.access.get(token, 0) > self.clock.now_us()

    def _new_access(self) -> str:
        token = secrets.token_urlsafe(20)
        self.access[token] = self.clock.now_us() + self.token_s * 1_000_000
        return token

    async def _authorize(self, request: Request, body: bytes) -> Response:
        """Consents at once, or denies."""
        query = request.query_params
        redirect = query.get("redirect_uri", "")
        right = (
            query.get("client_id") == CLIENT_ID
            and query.get("response_type") == "code"
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and (not self.redirects or redirect in self.redirects)
            and all(query.get(name) == value for name, value in self.provider.extra.items())
            and set(query.get("scope", "").split()) == set(self.provider.scopes)
        )
        if not right:
            return Response("bad request to authorize", 400)
        if self.deny:
            return RedirectResponse(f"{redirect}?{urlencode({'error': 'access_denied', 'state': query['state']})}", 302)
        code = secrets.token_urlsafe(16)
        self.codes[code] = (query["code_challenge"], redirect)
        return RedirectResponse(f"{redirect}?{urlencode({'code': code, 'state': query['state']})}", 302)

    async def _token(self, request: Request, body: bytes) -> Response:
        form = dict(await _form(body))
        if form.get("client_id") != CLIENT_ID or form.get("client_secret", CLIENT_SECRET) != CLIENT_SECRET:
            return _json({"error": "invalid_client", "error_description": "unknown"}, 401)
        if form.get("grant_type") == "authorization_code":
            challenge, redirect = self.codes.pop(form.get("code", ""), ("", ""))
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            shown = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if not challenge or shown != challenge or form.get("redirect_uri") != redirect:
                return _json({"error": "invalid_grant", "error_description": "code"}, 400)
            refresh = secrets.token_urlsafe(20)
            self.refresh.add(refresh)
            return _json(self.token_answer(self._new_access(), refresh, first=True))
        if form.get("grant_type") == "refresh_token":
            refresh = form.get("refresh_token", "")
            if refresh not in self.refresh:
                return _json({"error": "invalid_grant", "error_description": "refresh token"}, 400)
            self.refreshes += 1
            if self.rotates_refresh:
                self.refresh.discard(refresh)
                refresh = secrets.token_urlsafe(20)
                self.refresh.add(refresh)
            return _json(self.token_answer(self._new_access(), refresh, first=False))
        return _json({"error": "unsupported_grant_type"}, 400)

    def token_answer(self, access: str, refresh: str, *, first: bool) -> dict[str, Any]:
        """The token endpoint's JSON."""
        found: dict[str, Any] = {"access_token": access, "token_type": "bearer", "expires_in": self.token_s}
        if first or self.rotates_refresh:
            found["refresh_token"] = refresh
        return found

    async def revoke(self, request: Request, body: bytes) -> Response:
        """RFC 7009: the token in the form ends, and with it the grant."""
        token = dict(await _form(body)).get("token", "")
        if token in self.refresh or token in self.access:
            self.withdraw()
            return Response(status_code=200)
        return _json({"error": "invalid_token"}, 400)

    # --- listings that lag ------------------------------------------------------------------

    def changed(self, stored: Stored) -> None:
        """Note that a file came or changed."""
        stored.number = self.next_number()
        stored.listed_from = self.listings + self.lag_listings

    def gone(self, stored: Stored) -> None:
        """Note that a file went."""
        if self.lag_listings:
            self.hidden.append((self.listings + self.lag_listings, stored))

    def listing(self, parent: str) -> list[Stored]:
        """The files of a folder as a listing shows them now."""
        self.listings += 1
        found = [s for s in self.files.values() if s.parent == parent and s.listed_from < self.listings]
        self.hidden = [(until, s) for until, s in self.hidden if until >= self.listings]
        return found + [s for _, s in self.hidden if s.parent == parent]


def ranged(request: Request, content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Content or a range of it (RFC 9110 section 14)."""
    wanted = request.headers.get("range", "")
    sent = {"content-type": "application/octet-stream", "accept-ranges": "bytes", **(headers or {})}
    if not wanted.startswith("bytes="):
        return Response(content, 200, sent)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(len(content), int(last) + 1 if last else len(content))
    if start >= len(content):
        return Response(b"", 416, {"content-range": f"bytes */{len(content)}"})
    sent["content-range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], 206, sent)


def _json(found: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(found), status, {"content-type": "application/json", **(headers or {})})


json_answer = _json


async def _form(body: bytes) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True)


async def cut_off(send: Send, body: bytes = b"", answer: Response | None = None) -> None:
    """Announce more than is sent, so that the server closes the connection."""
    headers = [(b"content-length", b"%d" % max(1, len(body)))]
    if answer is not None:
        headers = answer.raw_headers
    status = 200 if answer is None else answer.status_code
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if len(body) > 1:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


Handler = Callable[[Request, bytes], Awaitable[Response]]
