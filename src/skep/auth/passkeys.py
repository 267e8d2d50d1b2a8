"""Passkeys (WebAuthn level 2): a key pair in a device, as a second factor or in place of the password.

The hive remembers a public key and how often the device says that it signed. What always holds:
- a signature is of a challenge that was given for this purpose, once, for five minutes, and of the hive's own origin;
- a count that does not grow is a copy of the device: refused, and written in the audit log. Devices that never count
  (0 each time) are taken as they are, as the standard says;
- in place of the password a passkey counts only where the device has verified its user (a PIN, a finger).
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from skep.auth.buckets import address_key
from skep.auth.factors import (
    FactorInfo,
    FactorRow,
    factor_by_credential,
    factors_of,
    insert_factor,
    touch_factor,
    use_factor,
)
from skep.auth.questions import AnyPasskey, PasskeyTicket, Question
from skep.auth.records import Principal, TokenPair
from skep.auth.scopes import ACCOUNT, ALL_SCOPES, checked_scopes
from skep.auth.second_factor import SecondFactors, factor_name
from skep.auth.users import find_user, the_user
from skep.base.chance import random_bytes
from skep.base.errors import AlreadyExists, BadCredentials, BadInput, InvalidToken, NotFound
from skep.base.ids import Id
from skep.crypto.hashing import digest
from skep.db import Transaction

CHALLENGE_BYTES: Final = 32
CREDENTIAL_JSON_MAX: Final = 16_384
_NO_GOOD = "the passkey did not prove it: use one that was added to this account here"


class Passkey(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a passkey, sealed."""

    credential_id: bytes
    public_key: bytes
    transports: list[str]


class Passkeys(SecondFactors):
    """The part of ``Auth`` that knows passkeys."""

    async def begin_passkey(
        self, principal: Principal, password: str | None, name: str = ""
    ) -> tuple[str, dict[str, Any]]:
        """A ticket for ``finish_passkey`` and what a browser's ``navigator.credentials.create`` takes.

        Raises BadCredentials (the password), BadInput, NotFound without ``server.public_url``.
        """
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers.structs import (
            AuthenticatorSelectionCriteria,
            PublicKeyCredentialDescriptor,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        principal.require(ACCOUNT)
        shown, (rp_id, _) = factor_name(name or "passkey"), self._relying_party()
        await self._prove_again(principal, password)
        rows = await self._db.read(lambda tx: factors_of(tx, principal.user_id, confirmed=True))
        known = [self._passkey(row).credential_id for row in rows if row.info.kind == "passkey"]
        challenge = random_bytes(CHALLENGE_BYTES)
        options = generate_registration_options(
            rp_id=rp_id,
            rp_name=self._rules.issuer,
            user_id=principal.user_id,
            user_name=principal.name,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        )
        ticket = self._passkey_tickets.put(PasskeyTicket(principal.user_id, shown, challenge))
        return ticket, json.loads(options_to_json(options))

    async def finish_passkey(
        self, principal: Principal, ticket: str, credential: dict[str, Any]
    ) -> tuple[FactorInfo, list[str]]:
        """Keep the passkey that a browser made; it counts at once. With the first factor come recovery codes.

        Raises InvalidToken (the ticket), BadCredentials (the passkey), AlreadyExists, LimitReached.
        """
        principal.require(ACCOUNT)
        begun = self._passkey_tickets.take(ticket)
        if begun is None or begun.user_id != principal.user_id:
            raise InvalidToken("this passkey was not begun here, or too long ago: begin again")
        made = self._registered(credential, begun.challenge)
        hashed = digest(made.credential_id)

        def keep(tx: Transaction) -> tuple[FactorInfo, list[str]]:
            user = self._live_user(tx, principal).info
            if factor_by_credential(tx, hashed) is not None:
                raise AlreadyExists("this passkey is there already")
            row = insert_factor(
                tx,
                self._factor_keys.secrets,
                user.id,
                kind="passkey",
                name=begun.name,
                secret=msgspec.msgpack.encode(made),
                counter=0,
                credential_hash=hashed,
                confirmed=True,
            )
            return row.info, self._added(tx, principal, user, row)

        return await self._db.write(keep)

    async def ask_passkey(self, question: str) -> dict[str, Any]:
        """What ``navigator.credentials.get`` takes, to answer the question of a login with a passkey.

        Raises InvalidToken (the question), BadInput when the account has no passkey.
        """
        asked = self._question(question)
        user_id = asked.proven.info.id
        rows = await self._db.read(lambda tx: factors_of(tx, user_id, confirmed=True))
        known = [self._passkey(row).credential_id for row in rows if row.info.kind == "passkey"]
        if not known:
            raise BadInput("the account has no passkey: answer with a code")
        asked.challenge = random_bytes(CHALLENGE_BYTES)
        return self._request(asked.challenge, known, verified=False)

    async def answer_passkey(self, question: str, credential: dict[str, Any], address: str = "") -> TokenPair:
        """Begin the session that ``login`` asked a factor for. Raises BadCredentials, InvalidToken, RateLimited."""
        asked = self._question(question)
        challenge, asked.challenge = asked.challenge, None  # each is good for one signature
        if challenge is None:
            raise InvalidToken("ask for what the passkey is to sign first")
        self._addresses.take(address_key(address))
        user_id = asked.proven.info.id
        pair = await self._begin_with_passkey(asked, credential, challenge, user_id, verified=False)
        self._addresses.give_back(address_key(address))
        self._questions.take(question)
        return pair

    async def begin_passkey_login(
        self, agent: str = "", address: str = "", *, scopes: frozenset[str] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """A name for ``login_passkey`` and what ``navigator.credentials.get`` takes: any passkey of this hive.

        The same for everybody, so that it tells nothing of who has one. Raises RateLimited, NotFound.
        """
        wanted = ALL_SCOPES if scopes is None else checked_scopes(scopes)
        self._addresses.take(address_key(address))
        challenge = random_bytes(CHALLENGE_BYTES)
        options = self._request(challenge, [], verified=True)
        return self._passkey_logins.put(AnyPasskey(wanted, agent, challenge)), options

    async def login_passkey(self, question: str, credential: dict[str, Any], address: str = "") -> TokenPair:
        """Begin a session with a passkey in place of password and factor. Raises BadCredentials, InvalidToken."""
        asked = self._passkey_logins.take(question)
        if asked is None:
            raise InvalidToken("this login was not begun here, or too long ago: begin again")
        user_id = _user_handle(credential)
        user = await self._db.read(lambda tx: find_user(tx, user_id))
        if user is None or not user.is_active:
            await self._note_failure("login-failed", user.info if user else None, address)
            raise BadCredentials(_NO_GOOD)
        begun = Question(user, asked.scopes, asked.agent, address, None)
        pair = await self._begin_with_passkey(begun, credential, asked.challenge, user_id, verified=True)
        self._addresses.give_back(address_key(address))
        return pair

    # --- steps ----------------------------------------------------------------------------------

    async def _begin_with_passkey(
        self, asked: Question, credential: dict[str, Any], challenge: bytes, user_id: Id, *, verified: bool
    ) -> TokenPair:
        hashed = digest(_raw_id(credential))
        copied: list[str] = []

        def prove(tx: Transaction) -> str:
            row = factor_by_credential(tx, hashed)
            if row is None or row.user_id != user_id or not row.confirmed:
                raise BadCredentials(_NO_GOOD)
            count = self._signed(row, credential, challenge, verified=verified)
            if count == 0 and row.counter == 0:
                touch_factor(tx, row)
            elif not use_factor(tx, row, seen=count):
                copied.append(row.info.name)
                raise BadCredentials("this passkey's count went back: there is a copy of it; remove it and add another")
            return "passkey"

        try:
            return await self._begin(asked, prove)
        except BadCredentials:
            if copied:
                await self._db.write(
                    lambda tx: self._note(
                        tx, "passkey-copied", None, the_user(tx, user_id).info, address=asked.address, name=copied[0]
                    )
                )
            else:
                await self._note_failure("second-factor-failed", asked.proven.info, asked.address)
            raise

    def _relying_party(self) -> tuple[str, str]:
        """The domain that passkeys are bound to, and the origin of pages that may use them."""
        url = urlsplit(self._rules.public_url)
        if not url.hostname:
            raise NotFound("this hive has no passkeys: server.public_url, to which they are bound, is not set")
        return url.hostname, f"{url.scheme}://{url.netloc}"

    def _request(self, challenge: bytes, known: list[bytes], *, verified: bool) -> dict[str, Any]:
        from webauthn import generate_authentication_options, options_to_json
        from webauthn.helpers.structs import PublicKeyCredentialDescriptor, UserVerificationRequirement

        need = UserVerificationRequirement.REQUIRED if verified else UserVerificationRequirement.PREFERRED
        options = generate_authentication_options(
            rp_id=self._relying_party()[0],
            challenge=challenge,
            allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
            user_verification=need,
        )
        found: dict[str, Any] = json.loads(options_to_json(options))
        return found

    def _registered(self, credential: dict[str, Any], challenge: bytes) -> Passkey:
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException

        rp_id, origin = self._relying_party()
        try:
            found = verify_registration_response(
                credential=_bounded(credential),
                expected_challenge=challenge,
                expected_rp_id=rp_id,
                expected_origin=origin,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError):
            raise BadCredentials("that is no passkey that was made for this hive just now: begin again") from None
        return Passkey(found.credential_id, found.credential_public_key, [])

    def _signed(self, row: FactorRow, credential: dict[str, Any], challenge: bytes, *, verified: bool) -> int:
        """The device's count, if the signature is good. Raises BadCredentials. The count is for the caller to judge."""
        from webauthn import verify_authentication_response
        from webauthn.helpers.exceptions import WebAuthnException

        rp_id, origin = self._relying_party()
        try:
            found = verify_authentication_response(
                credential=_bounded(credential),
                expected_challenge=challenge,
                expected_rp_id=rp_id,
                expected_origin=origin,
                credential_public_key=self._passkey(row).public_key,
                credential_current_sign_count=0,
                require_user_verification=verified,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError):
            raise BadCredentials(_NO_GOOD) from None
        return found.new_sign_count

    def _passkey(self, row: FactorRow) -> Passkey:
        return msgspec.msgpack.decode(row.opened(self._factor_keys.secrets), type=Passkey)


def _bounded(credential: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(credential)) > CREDENTIAL_JSON_MAX:
        raise BadInput(f"a passkey's answer has at most {CREDENTIAL_JSON_MAX} characters")
    return credential


def _raw_id(credential: dict[str, Any]) -> bytes:
    return _decoded(credential.get("rawId"))


def _user_handle(credential: dict[str, Any]) -> Id:
    response = credential.get("response")
    return _decoded(response.get("userHandle") if isinstance(response, dict) else None)


def _decoded(text: object) -> bytes:
    from webauthn import base64url_to_bytes

    if not isinstance(text, str) or not 1 <= len(text) <= 2048 or not text.isascii():
        raise BadCredentials(_NO_GOOD)
    try:
        return base64url_to_bytes(text)
    except ValueError:
        raise BadCredentials(_NO_GOOD) from None
