"""Signing in through an identity provider (OpenID Connect, authorization code with PKCE).

``depart`` sends a browser to the provider, ``arrive`` takes it back, ``login_sso`` exchanges what it brings for tokens.
What always holds:
- a way back belongs to one departure: its ``state`` is taken once, and only from the browser that departed, which
  shows a cookie; the ID token has that departure's nonce, the code its verifier;
- where the browser goes on to is a path of the hive, never another site;
- a user is found by provider and subject. An address links only where the provider's rules say so and the provider
  has verified it; a suspended user stays out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from skep.auth import names
from skep.auth.groups import drop_member, insert_group, role_in, set_member, the_group
from skep.auth.id_tokens import verified_claims
from skep.auth.identity_providers import (
    ClaimRules,
    ProviderInfo,
    ProviderRow,
    find_identity,
    identities_of,
    insert_provider,
    link_identity,
    list_provider_rows,
    remove_provider,
    the_provider,
    touch_identity,
)
from skep.auth.passkeys import Passkeys
from skep.auth.provider_calls import checked_url
from skep.auth.questions import Departure, Question
from skep.auth.records import Principal, TokenPair, UserInfo
from skep.auth.scopes import ACCOUNT, ALL_SCOPES
from skep.auth.users import (
    NewUser,
    find_login,
    find_user,
    insert_user,
    set_profile,
    the_user,
)
from skep.base.chance import random_bytes
from skep.base.errors import BadCredentials, BadInput, Forbidden, GroupNotFound, InvalidName, InvalidToken
from skep.db import Transaction

_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]{0,2000}")
_CALLBACK = "/api/auth/sso/{name}/callback"


class SingleSignOn(Passkeys):
    """The part of ``Auth`` that believes others."""

    async def add_provider(
        self, principal: Principal, name: str, issuer: str, client_id: str, secret: str | None, rules: ClaimRules
    ) -> ProviderInfo:
        """Let an identity provider vouch for people (administrators). It is asked who it is before it is kept.

        Raises Forbidden, BadInput, AlreadyExists, Unavailable.
        """
        principal.require_admin()
        if not 1 <= len(client_id) <= 255 or not client_id.isprintable():
            raise BadInput("the client id is what the identity provider knows the hive by: 1 to 255 characters")
        for group in rules.groups.values():
            names.group_name(group)
        await self._provider_calls.endpoints(checked_url(issuer))

        def keep(tx: Transaction) -> ProviderInfo:
            made = insert_provider(
                tx, self._secrets_key, name=name, issuer=issuer, client_id=client_id, secret=secret, rules=rules
            )
            self._note(tx, "provider-added", principal, provider=name, issuer=issuer)
            return made

        return await self._db.write(keep)

    async def list_providers(self) -> list[ProviderInfo]:
        """The providers that people may sign in through. For anybody: it is what a login page shows."""
        return [row.info for row in await self._db.read(list_provider_rows)]

    async def remove_provider(self, principal: Principal, name: str) -> None:
        """Believe a provider no more (administrators); its users stay and need another way in. Raises NotFound."""
        principal.require_admin()

        def remove(tx: Transaction) -> None:
            remove_provider(tx, the_provider(tx, name).info.id)
            self._note(tx, "provider-removed", principal, provider=name)

        await self._db.write(remove)

    async def list_identities(self, principal: Principal) -> list[tuple[str, str, int]]:
        """Provider, subject and last use (µs) of each of one's own identities."""
        principal.require(ACCOUNT)
        return await self._db.read(lambda tx: identities_of(tx, principal.user_id))

    async def depart(self, name: str, base_url: str, following: str = "", address: str = "") -> tuple[str, str]:
        """Where to send a browser, and the cookie that it must show on its way back.

        ``base_url``: where browsers reach the hive; ``following``: a path of the hive to go on to.
        Raises NotFound, BadInput, Unavailable, RateLimited.
        """
        if following and not _PATH.fullmatch(following):
            raise BadInput("after a login one goes on to a path of this hive, such as /")
        self._departures_of.take(address)
        row = await self._db.read(lambda tx: the_provider(tx, name))
        places = await self._provider_calls.endpoints(row.info.issuer)
        cookie, verifier, nonce = _token(), _token(), _token()
        redirect_uri = base_url + _CALLBACK.format(name=name)
        state = self._departures.put(Departure(name, nonce, verifier, cookie, redirect_uri, following))
        asked = {
            "response_type": "code",
            "client_id": row.info.client_id,
            "redirect_uri": redirect_uri,
            "scope": row.info.rules.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(places.authorization).query else "?"
        return f"{places.authorization}{joint}{urlencode(asked)}", cookie

    async def arrive(
        self, name: str, *, state: str, code: str, cookie: str, issuer: str = "", agent: str = "", address: str = ""
    ) -> tuple[str, str]:
        """Take a browser back: a ticket for ``login_sso``, good for a minute, and the path to go on to.

        Raises InvalidToken (the way back or the token), Forbidden (nobody here), BadInput, Unavailable.
        """
        begun = self._departures.take(state)
        if begun is None or begun.provider != name or not hmac.compare_digest(begun.cookie.encode(), cookie.encode()):
            raise InvalidToken("this login was not begun in this browser, or too long ago: begin again")
        if not 1 <= len(code) <= 4096:
            raise InvalidToken("the identity provider gave no code: begin again")
        row = await self._db.read(lambda tx: the_provider(tx, name))
        claims = await self._exchanged(row, begun, code, issuer)

        def sign_in(tx: Transaction) -> UserInfo:
            return self._vouched(tx, the_provider(tx, name), claims, address)

        info = await self._db.write(sign_in)
        user = await self._db.read(lambda tx: the_user(tx, info.id))
        ticket = self._tickets.put(Question(user, ALL_SCOPES, agent, address, None))
        return ticket, begun.following

    async def login_sso(self, ticket: str) -> TokenPair:
        """Begin a session with the ticket of an arrival, once. Raises InvalidToken, BadCredentials."""
        asked = self._tickets.take(ticket)
        if asked is None:
            raise InvalidToken("the ticket is unknown, used or older than a minute: log in again")
        return await self._begin(asked, lambda tx: "provider")

    async def _exchanged(self, row: ProviderRow, begun: Departure, code: str, issuer: str) -> dict[str, Any]:
        info, calls = row.info, self._provider_calls
        places = await calls.endpoints(info.issuer)
        if (places.says_issuer or issuer) and issuer != info.issuer:
            raise InvalidToken("the answer came from another identity provider than was asked: begin again")
        token = await calls.exchange(
            places.token,
            code=code,
            verifier=begun.verifier,
            redirect_uri=begun.redirect_uri,
            client_id=info.client_id,
            secret=row.secret(self._secrets_key),
        )

        def verified(keys: Mapping[str, Any]) -> dict[str, Any]:
            now_s = self._clock.now_us() / 1e6
            return verified_claims(
                token, keys, issuer=info.issuer, client_id=info.client_id, nonce=begun.nonce, now_s=now_s
            )

        try:
            return verified(await calls.keys(places.jwks))
        except InvalidToken:  # it may be signed with a key that is newer than what we know
            return verified(await calls.keys(places.jwks, again=True))

    def _vouched(self, tx: Transaction, row: ProviderRow, claims: Mapping[str, Any], address: str) -> UserInfo:
        """The user whom a provider means, made or linked where its rules say so, with the groups that it tells of."""
        info, subject = row.info, str(claims["sub"])
        user_id = find_identity(tx, info.id, subject)
        if user_id is None:
            user_id = self._newcomer(tx, info, claims, address).id
            link_identity(tx, info.id, subject, user_id)
            self._note(tx, "identity-linked", the_user(tx, user_id).info, address=address, provider=info.name)
        found = find_user(tx, user_id)
        if found is None or not found.is_active:
            raise Forbidden("the account is suspended: ask an administrator", reason="suspended")
        touch_identity(tx, info.id, subject)
        self._follow_groups(tx, info, found.info, _groups(claims, info.rules))
        return the_user(tx, user_id).info

    def _newcomer(self, tx: Transaction, info: ProviderInfo, claims: Mapping[str, Any], address: str) -> UserInfo:
        rules, email = info.rules, _email(claims)
        verified = claims.get("email_verified") is True
        known = find_login(tx, email) if email else None
        if known is not None and rules.link_by_email and verified:
            return known.info
        if not rules.create_users:
            raise Forbidden(f"{info.name} knows you, and you have no account here: ask an administrator for one")
        full = str(claims.get("name") or "")[: names.FULL_NAME_LENGTH]
        person = names.full_name(full) if full.isprintable() else ""
        free = email if email and known is None and verified else ""
        user = insert_user(tx, NewUser(_free_name(tx, claims, rules), free, person, None, False))
        if self._hooks is not None:
            self._hooks.user_created(tx, user.id, user.name)
        self._note(tx, "user-created", user, address=address, provider=info.name)
        return user

    def _follow_groups(self, tx: Transaction, info: ProviderInfo, user: UserInfo, theirs: frozenset[str]) -> None:
        """Make memberships, role and quota what the provider says, as far as its rules speak of them."""
        rules = info.rules
        wanted = {ours for name, ours in rules.groups.items() if name in theirs}
        for ours in sorted(set(rules.groups.values())):
            self._follow_group(tx, info, user, ours, wanted=ours in wanted)
        if rules.admin_group and user.is_admin is not (rules.admin_group in theirs):
            is_admin = rules.admin_group in theirs
            set_profile(tx, user.id, name=user.name, email=user.email, full_name=user.full_name, is_admin=is_admin)
            self._note(tx, "user-changed", None, user, provider=info.name, is_admin=is_admin)
            self._void_after(tx, user.id)
        quotas = [room_bytes for name, room_bytes in rules.quotas.items() if name in theirs]
        if quotas and self._rooms is not None:
            self._rooms.quota_told(tx, user.id, max(quotas))

    def _follow_group(self, tx: Transaction, info: ProviderInfo, user: UserInfo, ours: str, *, wanted: bool) -> None:
        try:
            group = the_group(tx, ours)
        except GroupNotFound:
            if not wanted:
                return
            group = insert_group(tx, names.group_name(ours))
            if self._hooks is not None:
                self._hooks.group_created(tx, group.id, group.name)
        if wanted is (role_in(tx, group.id, user.id) is not None):
            return
        if wanted:
            set_member(tx, group.id, user.id, "member")
        else:
            drop_member(tx, group.id, user.id)
        action = "member-added" if wanted else "member-removed"
        self._note(tx, action, None, user, group=group.name, provider=info.name)
        self._void_after(tx, user.id)


def challenge_of(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _token() -> str:
    return base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


def _groups(claims: Mapping[str, Any], rules: ClaimRules) -> frozenset[str]:
    """The groups that a provider tells of; anything but a list of texts is none."""
    found: Any = claims
    for part in rules.groups_claim.split("."):
        found = found.get(part) if isinstance(found, dict | Mapping) else None
    return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()


def _email(claims: Mapping[str, Any]) -> str:
    try:
        return names.email_address(str(claims.get("email") or ""))
    except InvalidName:
        return ""


def _free_name(tx: Transaction, claims: Mapping[str, Any], rules: ClaimRules) -> str:
    """A name that nobody has, near what the provider calls the user."""
    said = claims.get(rules.name_claim) or claims.get("email") or claims.get("name") or "user"
    text = unicodedata.normalize("NFKC", str(said)[:200]).partition("@")[0]
    stem = re.sub(r"[^\w.-]+", "-", text).strip(".-_")[:48].strip(".-_") or "user"
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}-{number}"
        try:
            shown = names.user_name(name)
        except InvalidName:
            stem = "user"
            continue
        if find_login(tx, shown) is None:
            return shown
    raise BadCredentials("there is no free name near the one that the identity provider tells")
