"""The hive as a small identity provider: OAuth 2.0 (RFC 6749, 7636, 8628, 7009, 9700) and OpenID Connect Core 1.0.

Programs get a session of their own, which its user sees and ends like any other. What always holds:
- a code is for one program, one redirect URI and one verifier, good once and for a minute; shown again it ends the
  session that it gave (RFC 6749 section 4.1.2);
- only PKCE with S256; a redirect URI is compared whole;
- a program is given no more scopes than it is registered for, than it asked for, and than its user has;
- a refresh token works for the program that it was given to.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jwt

from skep.auth import names
from skep.auth.clients import (
    CLI,
    URIS_MAX,
    ClientInfo,
    ClientRow,
    checked_redirect,
    client_of,
    find_client,
    give_session,
    identity_key,
    insert_client,
    is_registered,
    keep_identity_key,
    list_client_rows,
    new_identity_key,
    public_identity_keys,
    remove_client,
    words_of,
)
from skep.auth.facts import is_verified
from skep.auth.groups import list_group_rows
from skep.auth.opaque_tokens import new_app_password, secret_hash
from skep.auth.questions import PageSession
from skep.auth.records import Principal, TokenPair, UserInfo
from skep.auth.scopes import ALL_SCOPES
from skep.auth.sessions import SessionRow, end_session, find_refresh
from skep.auth.single_sign_on import SingleSignOn, challenge_of
from skep.auth.users import UserRow, find_user
from skep.base.errors import BadInput, Forbidden, InvalidToken
from skep.base.ids import Id, id_text
from skep.db import Transaction

OPENID: Final = frozenset({"openid", "profile", "email", "groups", "offline_access"})
ID_TOKEN_S: Final = 600
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class OAuthRefusal(Exception):
    """An error in the words of RFC 6749; ``code`` is one of theirs."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """What a program asks a person for, checked."""

    client: ClientInfo
    redirect_uri: str
    scopes: frozenset[str]
    state: str
    nonce: str
    challenge: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Code:
    """What a person allowed, until the program fetches it."""

    asked: Asked
    user_id: Id
    at_us: int


@dataclass(frozen=True, slots=True)
class Granted:
    """Tokens for a program. ``id_token`` where it asked for ``openid``."""

    pair: TokenPair
    scopes: frozenset[str]
    id_token: str | None


class Vouching(SingleSignOn):
    """The part of ``Auth`` that vouches for people to programs."""

    # --- programs -------------------------------------------------------------------------------

    async def add_client(
        self, principal: Principal, name: str, redirect_uris: list[str], scopes: frozenset[str], *, public: bool
    ) -> tuple[ClientInfo, str | None]:
        """Register a program (administrators): it and its secret, told once. Raises BadInput, LimitReached."""
        principal.require_admin()
        shown = " ".join(name.split())
        if not 1 <= len(shown) <= 100 or not shown.isprintable():
            raise BadInput("a program has a name of 1 to 100 printable characters")
        if not 1 <= len(redirect_uris) <= URIS_MAX:
            raise BadInput(f"a program has 1 to {URIS_MAX} redirect URIs")
        unknown = sorted(scopes - ALL_SCOPES - OPENID)
        if unknown or not scopes:
            known = ", ".join(sorted(ALL_SCOPES | OPENID))
            raise BadInput(f"a program needs scopes of {known}", unknown=unknown[:5])
        uris = [checked_redirect(uri) for uri in redirect_uris]
        secret = None if public else new_app_password()

        def keep(tx: Transaction) -> ClientInfo:
            made = insert_client(tx, name=shown, secret=secret, redirect_uris=uris, scopes=scopes)
            self._note(tx, "client-added", principal, client=made.id, name=shown, scopes=sorted(scopes))
            return made

        return await self._db.write(keep), secret

    async def list_clients(self, principal: Principal) -> list[ClientInfo]:
        """The programs for which the hive vouches (administrators)."""
        principal.require_admin()
        return await self._db.read(list_client_rows)

    async def remove_client(self, principal: Principal, client_id: str) -> None:
        """Forget a program and end its sessions (administrators). Raises NotFound."""
        principal.require_admin()

        def remove(tx: Transaction) -> None:
            remove_client(tx, client_id)
            self._note(tx, "client-removed", principal, client=client_id)

        await self._db.write(remove)
        self._verdicts.clear()

    async def the_client(self, client_id: str, secret: str | None) -> ClientInfo:
        """The program that shows who it is. Raises OAuthRefusal."""
        if client_id == CLI and not secret:
            return ClientInfo(CLI, "skep, the command line", True, (), ALL_SCOPES, 0)
        row = await self._db.read(lambda tx: find_client(tx, client_id))
        if row is None or not row.is_proven(secret):
            raise OAuthRefusal("invalid_client", "the program is unknown, or its secret is wrong")
        return row.info

    # --- authorization code ---------------------------------------------------------------------

    async def checked_request(self, asked: dict[str, str]) -> Asked:
        """What a program asks for with a browser.

        Raises BadInput where the browser must not be sent back (program, redirect URI), else OAuthRefusal.
        """
        row: ClientRow | None = await self._db.read(lambda tx: find_client(tx, asked.get("client_id", "")))
        uri = asked.get("redirect_uri", "")
        if row is None or not is_registered(row.info, uri):
            raise BadInput("a program sent you here that this hive does not know, or to be sent on to a place unknown")
        if asked.get("response_type") != "code":
            raise OAuthRefusal("unsupported_response_type", "only response_type=code")
        if asked.get("request") or asked.get("request_uri"):
            raise OAuthRefusal("request_not_supported", "no request objects")
        challenge = asked.get("code_challenge", "")
        if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthRefusal("invalid_request", "PKCE with code_challenge_method=S256 is needed")
        if any(len(asked.get(name, "")) > 2000 for name in ("state", "nonce")):
            raise OAuthRefusal("invalid_request", "state and nonce have at most 2000 characters")
        scopes = _granted(asked.get("scope", ""), row.info)
        return Asked(row.info, uri, scopes, asked.get("state", ""), asked.get("nonce", ""), challenge)

    async def page_user(self, page: PageSession) -> UserRow:
        """The user before a page, as they are now. Raises InvalidToken when they were shut out meanwhile."""
        user = await self._db.read(lambda tx: find_user(tx, page.user_id))
        if user is None or not user.is_active or user.token_epoch != page.epoch:
            raise InvalidToken("the account was changed meanwhile: sign in again")
        return user

    async def allow(self, page: PageSession, asked: Asked) -> str:
        """A person allows it: the code for the program. Raises InvalidToken."""
        user = await self.page_user(page)

        def note(tx: Transaction) -> None:
            self._note(tx, "client-allowed", user.info, client=asked.client.id, name=asked.client.name)

        await self._db.write(note)
        return self._codes_given.put(Code(asked, user.info.id, self._clock.now_us()))

    async def exchange_code(self, client: ClientInfo, code: str, redirect_uri: str, verifier: str) -> Granted:
        """Tokens for a code. Raises OAuthRefusal."""
        given = self._codes_given.take(code)
        if given is None:
            await self._end_replayed(code)
            raise OAuthRefusal("invalid_grant", "the code is unknown, used or older than a minute")
        asked = given.asked
        proof = challenge_of(verifier) if _VERIFIER.fullmatch(verifier) else ""
        if asked.client.id != client.id or asked.redirect_uri != redirect_uri:
            raise OAuthRefusal("invalid_grant", "the code was given to another program or place")
        if not hmac.compare_digest(proof, asked.challenge):
            raise OAuthRefusal("invalid_grant", "the code verifier is wrong")
        user = await self._db.read(lambda tx: find_user(tx, given.user_id))
        session, granted = await self._grant(client, user, asked.scopes, asked.nonce, given.at_us)
        self._codes_used.put_as(secret_hash(code).hex(), session.id)
        return granted

    async def _end_replayed(self, code: str) -> None:
        session_id = self._codes_used.take(secret_hash(code).hex())
        if session_id is not None:
            await self._db.write(lambda tx: end_session(tx, session_id))
            self._verdicts.clear()

    async def _grant(
        self, client: ClientInfo, user: UserRow | None, scopes: frozenset[str], nonce: str, at_us: int
    ) -> tuple[SessionRow, Granted]:
        if user is None or not user.is_active:
            raise OAuthRefusal("invalid_grant", "the account is not there any more")
        signer = await self._signer()

        def begin(tx: Transaction) -> tuple[SessionRow, str]:
            session, token = self._insert_session(tx, user.info.id, scopes, client.name)
            give_session(tx, session.id, client.id)
            self._note(tx, "login", user.info, proof="client", agent=client.name)
            return session, token

        session, token = await self._db.write(begin)
        pair = self._pair(signer, user, session, token)
        id_token = None
        if "openid" in scopes:
            id_token = await self._id_token(client, user.info, scopes, nonce, at_us)
        return session, Granted(pair, scopes, id_token)

    # --- refresh, revoke, user info -------------------------------------------------------------

    async def refresh_client(self, client: ClientInfo, refresh_token: str) -> Granted:
        """New tokens for a program's refresh token. Raises OAuthRefusal."""
        session = await self._db.read(lambda tx: _session_of(tx, refresh_token, client.id))
        if session is None:
            raise OAuthRefusal("invalid_grant", "the refresh token is unknown, used, or another program's")
        try:
            pair = await self.refresh(refresh_token)
        except InvalidToken:
            raise OAuthRefusal("invalid_grant", "the refresh token is unknown, used or expired") from None
        return Granted(pair, await self._db.read(lambda tx: words_of(tx, session.id)), None)

    async def revoke_client(self, client: ClientInfo, token: str) -> None:
        """End the session of a program's refresh token; of any other token nothing (RFC 7009 section 2.2)."""

        def end(tx: Transaction) -> None:
            session = _session_of(tx, token, client.id)
            if session is not None:
                end_session(tx, session.id)
                self._void_after(tx, session.user_id)

        await self._db.write(end)

    async def user_info(self, principal: Principal) -> dict[str, Any]:
        """What a program may know of its user (OpenID Connect Core 1.0, section 5.3). Raises Forbidden."""
        session_id = principal.session_id

        def look(tx: Transaction) -> dict[str, Any]:
            words = frozenset[str]() if session_id is None else words_of(tx, session_id)
            if "openid" not in words:
                raise Forbidden("this token was not given for openid", scope="openid")
            return {"sub": id_text(principal.user_id), **_person(tx, self._live_user(tx, principal).info, words)}

        return await self._db.read(look)

    # --- ID tokens ------------------------------------------------------------------------------

    async def _id_token(
        self, client: ClientInfo, user: UserInfo, scopes: frozenset[str], nonce: str, at_us: int
    ) -> str:
        key = await self._db.read(lambda tx: identity_key(tx, self._secrets_key))
        if key is None:
            made = await asyncio.to_thread(new_identity_key)
            await self._db.write(lambda tx: keep_identity_key(tx, self._secrets_key, made))
            key = await self._db.read(lambda tx: identity_key(tx, self._secrets_key)) or made
        now_s = self._clock.now_us() // 1_000_000
        claims: dict[str, Any] = {
            "iss": self._rules.public_url,
            "aud": client.id,
            "sub": id_text(user.id),
            "iat": now_s,
            "exp": now_s + ID_TOKEN_S,
            "auth_time": at_us // 1_000_000,
            **({"nonce": nonce} if nonce else {}),
            **await self._db.read(lambda tx: _person(tx, user, scopes)),
        }
        return jwt.encode({"alg": "RS256", "kid": key.kid, "typ": "JWT"}, claims, key, algorithms=["RS256"])

    async def identity_jwks(self) -> dict[str, Any]:
        """The keys that verify ID tokens (RFC 7517 section 5)."""
        return {"keys": await self._db.read(public_identity_keys)}


def _granted(scope: str, client: ClientInfo) -> frozenset[str]:
    wanted = frozenset(scope.split()) or client.scopes
    unknown = wanted - client.scopes
    if len(scope) > 1000 or unknown:
        raise OAuthRefusal("invalid_scope", "the program may not ask for all of these scopes")
    return wanted


def _session_of(tx: Transaction, refresh_token: str, client_id: str) -> SessionRow | None:
    session = find_refresh(tx, refresh_token)
    return session if session is not None and client_of(tx, session.id) == client_id else None


def _person(tx: Transaction, user: UserInfo, scopes: frozenset[str]) -> dict[str, Any]:
    """The claims about a person that scopes allow."""
    claims: dict[str, Any] = {}
    if "profile" in scopes:
        claims |= {"preferred_username": user.name, "name": user.full_name or user.name}
    if "email" in scopes and user.email:
        claims |= {"email": user.email, "email_verified": is_verified(tx, user.id, user.email)}
    if "groups" in scopes:
        found = list_group_rows(tx, of_user=user.id, after="", limit=names.NAME_LENGTH)
        claims["groups"] = [group.name for group in found]
    return claims
