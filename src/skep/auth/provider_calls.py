"""Calls to identity providers: what they say of themselves, their keys, and the exchange of a code (OIDC discovery).

Every call has a time limit and a limit on what comes back, follows no redirect, and is made once: the person who waits
tries again. The provider is the administrators' choice; it is reached over TLS, or on this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from skep.base.clock import Clock
from skep.base.errors import BadInput, Unavailable

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 256 * 1024
KNOWN_S: Final = 3600.0
KEYS_AGAIN_S: Final = 60.0
_PLACES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is spoken to."""

    authorization: str
    token: str
    jwks: str
    says_issuer: bool
    """It names itself in the way back (RFC 9207)."""


class ProviderCalls:
    """What providers said, remembered for an hour."""

    def __init__(self, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._now_s = clock.monotonic_s
        self._transport = transport
        self._endpoints: dict[str, tuple[float, Endpoints]] = {}
        self._keys: dict[str, tuple[float, dict[str, Any]]] = {}

    async def endpoints(self, issuer: str) -> Endpoints:
        """Where the provider is spoken to. Raises Unavailable, BadInput when it is no provider of that name."""
        known = self._endpoints.get(issuer)
        if known is not None and self._now_s() - known[0] < KNOWN_S:
            return known[1]
        said = await self._json("GET", f"{checked_url(issuer).rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != issuer:
            raise BadInput(f"the identity provider at {issuer} calls itself {str(said.get('issuer'))[:200]!r}")
        found = Endpoints(
            authorization=checked_url(said.get("authorization_endpoint")),
            token=checked_url(said.get("token_endpoint")),
            jwks=checked_url(said.get("jwks_uri")),
            says_issuer=bool(said.get("authorization_response_iss_parameter_supported")),
        )
        _remember(self._endpoints, issuer, (self._now_s(), found))
        return found

    async def keys(self, url: str, *, again: bool = False) -> dict[str, Any]:
        """The provider's public keys; ``again``: a token names one that is not known. Raises Unavailable."""
        known = self._keys.get(url)
        age_s = self._now_s() - known[0] if known else KNOWN_S
        if known is not None and age_s < (KEYS_AGAIN_S if again else KNOWN_S):
            return known[1]
        found = await self._json("GET", url)
        _remember(self._keys, url, (self._now_s(), found))
        return found

    async def exchange(
        self, url: str, *, code: str, verifier: str, redirect_uri: str, client_id: str, secret: str | None
    ) -> str:
        """The ID token for a code (RFC 6749 section 4.1.3, with RFC 7636). Raises Unavailable, BadInput (refused)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": client_id,
            "code_verifier": verifier,
        }
        auth = None if secret is None else httpx.BasicAuth(_form(client_id), _form(secret))
        said = await self._json("POST", url, form, auth)
        token = said.get("id_token")
        if not isinstance(token, str):
            raise BadInput("the identity provider gave no ID token: log in again")
        return token

    async def _json(
        self, method: str, url: str, form: dict[str, str] | None = None, auth: httpx.Auth | None = None
    ) -> dict[str, Any]:
        host = urlsplit(url).hostname
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                httpx.AsyncClient(
                    timeout=TIMEOUT_S, follow_redirects=False, transport=self._transport, trust_env=False
                ) as client,
                client.stream(method, url, data=form, auth=auth, headers={"accept": "application/json"}) as answer,
            ):
                raw = bytearray()
                async for part in answer.aiter_bytes():
                    raw += part
                    if len(raw) > ANSWER_BYTES_MAX:
                        raise Unavailable(f"the identity provider {host} answers without an end: try again later")
        except (httpx.HTTPError, OSError):  # TimeoutError is one
            raise Unavailable(f"the identity provider {host} does not answer: try again later") from None
        if answer.status_code in (400, 401, 403) and form is not None:
            raise BadInput("the identity provider did not take the login: begin again")
        try:
            said = json.loads(raw)
        except (ValueError, RecursionError):
            said = None
        if answer.status_code != 200 or not isinstance(said, dict):
            raise Unavailable(f"the identity provider {host} answered {answer.status_code}, and not as one: try later")
        return said


def checked_url(url: object) -> str:
    """A URL that a provider may be reached at: https, or http on this machine. Raises BadInput."""
    if isinstance(url, str) and len(url) <= 2048 and url.isascii() and url.isprintable() and " " not in url:
        try:
            parts = urlsplit(url)
            good = parts.hostname and not parts.username and not parts.fragment
            if good and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(str(parts.hostname)))):
                return url
        except ValueError:
            pass
    raise BadInput(f"an identity provider is reached at an https URL, not at {str(url)[:200]!r}")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _form(text: str) -> str:
    """As RFC 6749 section 2.3.1 wants names and secrets in Basic."""
    from urllib.parse import quote_plus

    return quote_plus(text)


def _remember(known: dict[str, Any], key: str, value: Any) -> None:
    known.pop(key, None)
    known[key] = value
    while len(known) > _PLACES_MAX:
        known.pop(next(iter(known)))
