"""OAuth 2.0 as the clouds speak it: the authorization code with PKCE, refreshing, revoking.

RFC 6749 (sections 4.1 and 6), RFC 7636 (S256), RFC 7009. What comes from a provider is data: lengths and types are
checked, and neither tokens nor codes nor secrets are in an error.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
import msgspec

from skep.base.clock import Clock
from skep.base.errors import StoreRefused, StoreUnavailable
from skep.stores.providers import Provider

ANSWER_MAX_BYTES = 256 << 10
TOKEN_MAX_CHARACTERS = 16_384
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_FINAL = {
    "invalid_grant": "the grant has expired or was withdrawn: log in to the account again",
    "invalid_client": "it does not know the app's id and secret: correct them with `skep cloud provider set`",
    "unauthorized_client": "the app may not do this: look at its settings at the provider",
    "invalid_scope": "the app does not have the rights that Skep asks for: look at its settings at the provider",
    "redirect_uri_mismatch": "the redirect address is not registered: `skep cloud provider ls` shows which to register",
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gave."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_us: int | None
    """When the access token ends, in microseconds since 1970 UTC; None if the provider does not say."""


@dataclass(frozen=True, slots=True)
class AppKeys:
    """Who we are to a provider."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    """None for a public client, which PKCE alone protects."""


class _Answer(msgspec.Struct, frozen=True):
    access_token: str = ""
    refresh_token: str | None = None
    expires_in: float | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: str = ""


def new_verifier() -> str:
    """A PKCE code verifier: 43 characters of randomness."""
    return secrets.token_urlsafe(32)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def authorization_url(provider: Provider, client_id: str, redirect_uri: str, state: str, verifier: str) -> str:
    """Where the browser goes to grant access."""
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(provider.scopes),
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        **provider.extra,
    }
    return f"{provider.authorize_url}?{urlencode(query)}"


class OAuthClient:
    """The token endpoint of one provider for one app."""

    def __init__(self, provider: Provider, keys: AppKeys, clock: Clock) -> None:
        self._provider = provider
        self._keys = keys
        self._clock = clock

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for an authorization code. Raises StoreRefused, StoreUnavailable."""
        return await self._tokens(
            {
                "grant_type": "authorization_code",
                "code": code,
                "code_verifier": verifier,
                "redirect_uri": redirect_uri,
            }
        )

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens; some providers exchange the refresh token too. Raises StoreRefused, StoreUnavailable."""
        tokens = await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})
        return Tokens(tokens.access, tokens.refresh or refresh_token, tokens.expires_us)

    async def revoke(self, tokens: Tokens) -> None:
        """Withdraw the grant, where the provider has a call for it. Raises StoreRefused, StoreUnavailable."""
        url = self._provider.revoke_url
        if url is None:
            return
        if self._provider.name == "dropbox":
            answer = await self._post(url, {}, {"authorization": f"Bearer {tokens.access}"})
        else:
            form = {"token": tokens.refresh or tokens.access}
            answer = await self._post(url, {**form, **self._identity()}, {})
        if answer.status_code not in (200, 204):
            raise self._error(answer, "withdrawing the grant")

    async def _tokens(self, form: Mapping[str, str]) -> Tokens:
        answer = await self._post(self._provider.token_url, {**form, **self._identity()}, {})
        if answer.status_code != 200:
            raise self._error(answer, "giving a token")
        try:
            found = msgspec.json.decode(answer.content, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = _Answer()
        for token in (found.access_token, found.refresh_token or "x"):
            if not token or len(token) > TOKEN_MAX_CHARACTERS or not token.isascii() or not token.isprintable():
                raise StoreUnavailable(f"{self._provider.title} answered the token request with something else")
        expires_us = None
        if found.expires_in is not None and 0 <= found.expires_in < 10**9:
            expires_us = self._clock.now_us() + int(found.expires_in * 1_000_000)
        return Tokens(found.access_token, found.refresh_token, expires_us)

    def _identity(self) -> dict[str, str]:
        identity = {"client_id": self._keys.client_id}
        if self._keys.client_secret:
            identity["client_secret"] = self._keys.client_secret
        return identity

    async def _post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as client:
                body = {"data": dict(form)} if form else {}
                async with client.stream("POST", url, headers=dict(headers), **body) as answer:  # type: ignore[arg-type]
                    content = b""
                    async for part in answer.aiter_bytes():
                        content += part
                        if len(content) > ANSWER_MAX_BYTES:
                            raise StoreUnavailable(f"{self._provider.title} answered with too much")
                    return httpx.Response(answer.status_code, headers=answer.headers, content=content)
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                f"{self._provider.title} cannot be reached for a token ({type(error).__name__})"
            ) from None

    def _error(self, answer: httpx.Response, doing: str) -> StoreRefused | StoreUnavailable:
        try:
            code = msgspec.json.decode(answer.content, type=_Problem).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            code = ""
        title, status = self._provider.title, answer.status_code
        if code in _FINAL:
            return StoreRefused(f"{title} refuses {doing}: {_FINAL[code]} ({code})")
        if status in (400, 401, 403):
            return StoreRefused(f"{title} refuses {doing} (status {status}): log in to the account again")
        return StoreUnavailable(f"{title} failed while {doing} (status {status}): it is tried again")
