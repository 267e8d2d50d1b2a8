"""The accounting server, where it is another program: it says who sends a header, and how much they may use.

``POST <host>/api/v0/internal/user/`` with the shared secret in ``APISECRET``. What it said is believed for a minute, so
quotas, logouts and suspensions there take as long to be felt here. The traffic and room that it allows become limits of
the user here, and are held like all others.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec

from skep.auth import Auth, Principal
from skep.base.chance import random_bytes
from skep.base.clock import Clock
from skep.base.errors import Forbidden, InvalidToken, Unauthenticated, Unavailable
from skep.base.ids import Id
from skep.base.limits import Gate
from skep.base.logs import get_logger
from skep.crypto.hashing import keyed_digest
from skep.filesystem.prefixes import Prefix
from skep.frontends.blocks.callers import Caller
from skep.frontends.blocks.counts import Counts
from skep.frontends.common.headers import Headers

KNOWN_S = 60.0
KNOWN_MAX = 10_000
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 64 << 10
CALLS_AT_ONCE = 32
PATH = "/api/v0/internal/user/"
AMOUNT_MAX = 1 << 61
log = get_logger("skep.blocks")
LimitTraffic = Callable[[Principal, int], Awaitable[None]]


class Account(msgspec.Struct, frozen=True):
    """An account as the accounting server tells of it; sizes in bytes."""

    user_id: int | str
    active: bool
    block_quota: int
    monthly_traffic_quota: int

    @property
    def external_id(self) -> str:
        """The account's name there, as text."""
        return str(self.user_id)


class AccountingServer:
    """Asks it, and remembers for a minute what it said. Lives on one event loop."""

    def __init__(self, host: str, secret: str, clock: Clock, counts: Counts, *, timeout_s: float = TIMEOUT_S) -> None:
        """``host``: its base URL; ``timeout_s``: the longest wait for a part of its answer."""
        self._clock = clock
        self._url = host.rstrip("/") + PATH
        self._secret = secret
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        self._gate = Gate("calls to the accounting server", CALLS_AT_ONCE, clock, wait_s=TIMEOUT_S)
        self._key = random_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, Account]] = OrderedDict()
        self._counts = counts

    async def of_header(self, authorization: str) -> Account | None:
        """The account of whoever sends this header; None: nobody. Raises Unavailable."""
        key = keyed_digest(self._key, b"auth\0", authorization.encode("utf-8", "surrogateescape"))
        return await self._account(key, {"auth": authorization})

    async def of_id(self, external_id: str) -> Account | None:
        """The account of that name; None: there is none. Raises Unavailable."""
        named: object = int(external_id) if external_id.isascii() and external_id.isdecimal() else external_id
        return await self._account(self._key_of(external_id), {"user_id": named})

    def _key_of(self, external_id: str) -> bytes:
        return keyed_digest(self._key, b"user\0", external_id.encode())

    async def _account(self, key: bytes, question: dict[str, object]) -> Account | None:
        known = self._known.get(key)
        if known is not None and known[0] > self._clock.monotonic_s():
            self._counts.auth_hits += 1
            return known[1]
        async with self._gate.enter():
            found = await self._ask(question)
        if found is not None:
            until_s = self._clock.monotonic_s() + KNOWN_S
            self._counts.auth_sets += 1
            for one in (key, self._key_of(found.external_id)):
                self._known[one] = (until_s, found)
                self._known.move_to_end(one)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return found

    async def _ask(self, question: dict[str, object]) -> Account | None:
        headers = {"apisecret": self._secret}
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, timeout=self._timeout_s, trust_env=False) as client,
                client.stream("POST", self._url, json=question, headers=headers) as answer,
            ):
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        raise Unavailable("the accounting server answers with far too much: look at it")
        except httpx.HTTPError as error:
            raise Unavailable(f"the accounting server does not answer ({type(error).__name__}): try again") from None
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise Unavailable(f"the accounting server answers {answer.status_code}: look at its log and the secret")
        try:
            said: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unavailable("the accounting server answers with what is no JSON: look at it") from None
        try:
            return msgspec.convert(said, Account)
        except msgspec.ValidationError:
            log.warning("the accounting server's answer lacks something")
            return None


class OutsideCallers:
    """Those whom the accounting server knows: see ``Callers``."""

    def __init__(self, auth: Auth, server: AccountingServer, limit_traffic: LimitTraffic) -> None:
        """``limit_traffic(principal, bytes)`` lets a user have so much traffic in a month."""
        self._auth = auth
        self._server = server
        self._limit_traffic = limit_traffic
        self._local: dict[str, tuple[Account, Principal]] = {}
        self._names: dict[Id, str | None] = {}

    async def caller(self, headers: Headers, client: str) -> Caller:
        """See ``Callers``. The header goes to the accounting server as it came."""
        value = headers.get("authorization")
        if value is None:
            raise Unauthenticated("This needs a login.")
        account = await self._server.of_header(value)
        if account is None:
            raise InvalidToken("the accounting server knows nobody who sends this")
        return Caller(await self._admitted(account))

    async def refresh_owner(self, prefix: Prefix) -> None:
        """See ``Callers``. While the server does not answer, what it said last holds. Raises Forbidden."""
        owner_id = prefix.space.owner_id
        if owner_id not in self._names:
            if len(self._names) >= KNOWN_MAX:
                self._names.clear()
            self._names[owner_id] = await self._auth.outside_id(owner_id)
        name = self._names[owner_id]
        if name is None:
            return
        try:
            account = await self._server.of_id(name)
        except Unavailable as error:
            log.warning("the accounting server is not asked", error=error.message)
            return
        if account is None:
            raise Forbidden("the accounting server does not know the owner of this prefix any more")
        await self._admitted(account)

    async def _admitted(self, account: Account) -> Principal:
        """The user here, with the limits that were told just now."""
        known = self._local.get(account.external_id)
        if known is not None and known[0] is account:
            return known[1]
        if not account.active:
            raise Forbidden("the account is not active")
        quota, traffic = (max(0, min(one, AMOUNT_MAX)) for one in (account.block_quota, account.monthly_traffic_quota))
        principal = await self._auth.outside_user(account.external_id, quota_bytes=quota)
        await self._limit_traffic(principal, traffic)
        if len(self._local) >= KNOWN_MAX:
            self._local.clear()
        self._local[account.external_id] = (account, principal)
        return principal
