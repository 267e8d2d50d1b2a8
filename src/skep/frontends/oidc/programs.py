"""What programs do here: fetch tokens (RFC 6749), begin for a device (RFC 8628), revoke (RFC 7009), ask of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skep.auth import ALL_SCOPES
from skep.auth.clients import ClientInfo
from skep.auth.vouching import OPENID, Granted, OAuthRefusal
from skep.base.errors import Misconfigured
from skep.frontends.common.authenticate import authenticate
from skep.frontends.oidc.exchange import Exchange

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


async def token(exchange: Exchange) -> None:
    """Give tokens for a code, a refresh token or an allowed device."""
    form = await exchange.form()
    client = await _client(exchange, form)
    auth = exchange.auth
    match form.get("grant_type"):
        case "authorization_code":
            granted = await auth.exchange_code(
                client, form.get("code", ""), form.get("redirect_uri", ""), form.get("code_verifier", "")
            )
        case "refresh_token":
            granted = await auth.refresh_client(client, form.get("refresh_token", ""))
        case kind if kind == DEVICE_GRANT:
            granted = await auth.poll_device(client, form.get("device_code", ""))
        case _:
            raise OAuthRefusal("unsupported_grant_type", "authorization_code, refresh_token or a device code")
    await exchange.json(_tokens(granted))


async def begin_device(exchange: Exchange) -> None:
    """Begin to let a device in: a code for it, and one to type."""
    form = await exchange.form()
    client = await _client(exchange, form)
    codes = await exchange.auth.begin_device(client, form.get("scope", ""), exchange.client)
    where = f"{exchange.base}/oauth/device"
    said = {
        "device_code": codes.device_code,
        "user_code": codes.user_code,
        "verification_uri": where,
        "verification_uri_complete": f"{where}?user_code={codes.user_code}",
        "expires_in": codes.lasts_s,
        "interval": codes.interval_s,
    }
    await exchange.json(said)


async def revoke(exchange: Exchange) -> None:
    """End the session of a refresh token; 200 whatever it was."""
    form = await exchange.form()
    await exchange.auth.revoke_client(await _client(exchange, form), form.get("token", ""))
    await exchange.json({})


async def user_info(exchange: Exchange) -> None:
    """Tell a program of its user, as far as it was allowed."""
    exchange.caller = await authenticate(exchange.auth, exchange.headers, exchange.client)
    await exchange.json(await exchange.auth.user_info(exchange.caller))


async def keys(exchange: Exchange) -> None:
    """The keys that verify ID tokens."""
    await exchange.json(await exchange.auth.identity_jwks())


async def metadata(exchange: Exchange) -> None:
    """Where everything is (OpenID Connect Discovery 1.0, RFC 8414)."""
    base = exchange.ground.public_url.rstrip("/")
    if not base:
        raise Misconfigured("an identity provider has an address of its own: set server.public_url")
    said: dict[str, Any] = {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "device_authorization_endpoint": f"{base}/oauth/device_authorization",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "userinfo_endpoint": f"{base}/oauth/userinfo",
        "jwks_uri": f"{base}/oauth/jwks",
        "scopes_supported": sorted(OPENID | ALL_SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "claims_supported": ["sub", "preferred_username", "name", "email", "email_verified", "groups"],
    }
    await exchange.json(said)


async def _client(exchange: Exchange, form: Mapping[str, str]) -> ClientInfo:
    return await exchange.auth.the_client(*exchange.credentials(form))


def _tokens(granted: Granted) -> dict[str, Any]:
    pair = granted.pair
    said = {
        "access_token": pair.access_token,
        "token_type": "Bearer",
        "expires_in": pair.expires_in_s,
        "refresh_token": pair.refresh_token,
        "refresh_expires_in": pair.refresh_expires_in_s,
        "scope": " ".join(sorted(granted.scopes)),
    }
    return said if granted.id_token is None else {**said, "id_token": granted.id_token}
