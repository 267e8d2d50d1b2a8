"""Signing in a program that has no browser (RFC 8628), and what the hive's own pages need: who sits before them.

A device shows a short code; its user types it into a page of the hive, where they sign in, and allows it. What always
holds: a user code has 34 bits, is good for ten minutes, and guessing is limited by address and by user; a device may
ask again after the interval that it was told; what was allowed is given once.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from skep.auth.buckets import address_key
from skep.auth.clients import ClientInfo
from skep.auth.factors import factors_of, spend_code
from skep.auth.questions import PageSession
from skep.auth.users import UserRow, find_user
from skep.auth.vouching import Granted, OAuthRefusal, Vouching, _granted
from skep.base.chance import random_bytes
from skep.base.errors import BadCredentials, InvalidToken, SecondFactorNeeded
from skep.base.ids import Id
from skep.db import Transaction

INTERVAL_S: Final = 5
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628 section 6.1)
_SIGNS: Final = 8
_NOISE = re.compile(r"[^A-Z]")


@dataclass(slots=True)
class Device:
    """A device that waits to be let in."""

    client: ClientInfo
    scopes: frozenset[str]
    user_code: str
    state: Literal["waiting", "allowed", "denied"] = "waiting"
    user_id: Id | None = None
    asked_s: float = field(default=float("-inf"))


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """What a device is told (RFC 8628 section 3.2); times in seconds."""

    device_code: str = field(repr=False)
    user_code: str
    lasts_s: int
    interval_s: int


class Devices(Vouching):
    """The part of ``Auth`` that lets devices in."""

    # --- pages ----------------------------------------------------------------------------------

    async def open_page(self, name: str, password: str, code: str = "", address: str = "") -> str:
        """Sign somebody in at the hive's own pages for a quarter of an hour; the cookie.

        Raises BadCredentials, Forbidden, RateLimited; SecondFactorNeeded where ``code`` is empty.
        """
        proven = await self._prove(name, password, address)
        rows = await self._db.read(lambda tx: factors_of(tx, proven.info.id, confirmed=True))
        if rows and not code:
            raise SecondFactorNeeded("a code of your authenticator app is needed besides, or a recovery code")
        key = proven.info.id.hex()
        self._codes.take(key)

        def prove(tx: Transaction) -> None:
            kind = spend_code(tx, self._factor_keys, proven.info.id, code, rows) if rows else "password"
            if kind is None:
                raise BadCredentials("the code is wrong, or was used before")
            self._note(tx, "login", proven.info, address=address, proof=kind, agent="a page of the hive")

        try:
            await self._db.write(prove)
        except BadCredentials:
            await self._note_failure("second-factor-failed", proven.info, address)
            raise
        self._codes.give_back(key)
        return self._pages.put(self._page_for(proven))

    async def open_page_by_ticket(self, ticket: str) -> str:
        """The same with the ticket of an arrival from an identity provider. Raises InvalidToken."""
        asked = self._tickets.take(ticket)
        if asked is None:
            raise InvalidToken("the ticket is unknown, used or older than a minute: log in again")

        def note(tx: Transaction) -> None:
            info = asked.proven.info
            self._note(tx, "login", info, address=asked.address, proof="provider", agent="a page of the hive")

        await self._db.write(note)
        return self._pages.put(self._page_for(asked.proven))

    def _page_for(self, user: UserRow) -> PageSession:
        form = base64.urlsafe_b64encode(random_bytes(24)).decode()
        return PageSession(user.info.id, user.token_epoch, user.info.name, form, self._clock.now_us())

    def page_of(self, cookie: str) -> PageSession | None:
        """Who sits before a page, by its cookie."""
        return self._pages.get(cookie)

    def close_page(self, cookie: str) -> None:
        """Forget who sat there."""
        self._pages.take(cookie)

    # --- devices --------------------------------------------------------------------------------

    async def begin_device(self, client: ClientInfo, scope: str, address: str = "") -> DeviceCodes:
        """Begin to let a device in. Raises OAuthRefusal, RateLimited."""
        self._addresses.take(address_key(address))
        scopes = _granted(scope, client)
        user_code = self._free_code()
        name = self._devices.put(Device(client, scopes, user_code))
        self._user_codes.put_as(user_code, name)
        return DeviceCodes(name, _shown(user_code), int(self._devices.lasts_s), INTERVAL_S)

    def _free_code(self) -> str:
        while True:
            signs: list[str] = []
            while len(signs) < _SIGNS:
                signs += [_ALPHABET[value % 20] for value in random_bytes(16) if value < 240]
            code = "".join(signs[:_SIGNS])
            if self._user_codes.get(code) is None:
                return code

    def waiting_device(self, page: PageSession, typed: str, address: str = "") -> Device:
        """The device that shows this code. Raises BadCredentials, RateLimited."""
        self._codes.take(page.user_id.hex())
        self._addresses.take(address_key(address))
        name = self._user_codes.get(_NOISE.sub("", typed[:64].upper()))
        device: Device | None = None if name is None else self._devices.get(name)
        if device is None or device.state != "waiting":
            raise BadCredentials("no device waits with this code: look whether it is right, or begin again there")
        self._codes.give_back(page.user_id.hex())
        self._addresses.give_back(address_key(address))
        return device

    async def decide_device(self, page: PageSession, typed: str, *, allow: bool, address: str = "") -> Device:
        """Let a device in, or do not. Raises BadCredentials, InvalidToken, RateLimited."""
        user = await self.page_user(page)
        device = self.waiting_device(page, typed, address)

        def note(tx: Transaction) -> None:
            action = "device-allowed" if allow else "device-denied"
            self._note(tx, action, user.info, address=address, client=device.client.id)

        await self._db.write(note)
        device.state, device.user_id = ("allowed" if allow else "denied"), user.info.id
        self._user_codes.take(device.user_code)
        return device

    async def poll_device(self, client: ClientInfo, device_code: str) -> Granted:
        """Tokens for a device once it is allowed (RFC 8628 section 3.4, 3.5). Raises OAuthRefusal."""
        device = self._devices.get(device_code)
        if device is None or not hmac.compare_digest(device.client.id.encode(), client.id.encode()):
            raise OAuthRefusal("expired_token", "the device code is unknown, used or older than ten minutes")
        now_s = self._clock.monotonic_s()
        soon = now_s - device.asked_s < INTERVAL_S - 0.5
        device.asked_s = now_s
        if device.state == "waiting":
            raise OAuthRefusal("slow_down" if soon else "authorization_pending", "nobody has allowed it yet")
        self._devices.take(device_code)
        if device.state == "denied" or device.user_id is None:
            raise OAuthRefusal("access_denied", "the user said no")
        user_id, at_us = device.user_id, self._clock.now_us()
        user = await self._db.read(lambda tx: find_user(tx, user_id))
        _, granted = await self._grant(client, user, device.scopes, "", at_us)
        return granted


def _shown(code: str) -> str:
    return f"{code[:4]}-{code[4:]}"
