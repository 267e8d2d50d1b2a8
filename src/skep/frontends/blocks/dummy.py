"""One token that opens every prefix, for tests of programs: never for a hive that others use."""

from __future__ import annotations

import hmac

from skep.auth import Auth, Principal
from skep.base.errors import InvalidToken, Unauthenticated
from skep.filesystem.prefixes import Prefix
from skep.frontends.blocks.accounting import LimitTraffic
from skep.frontends.blocks.callers import Caller
from skep.frontends.common.headers import Headers

QUOTA_BYTES = 2 << 30
TRAFFIC_BYTES = 20 << 30
NAME = "dummy"


class DummyCallers:
    """Whoever sends ``Token <token>`` is the user ``outside-dummy`` and has every prefix: see ``Callers``."""

    def __init__(self, auth: Auth, token: str, limit_traffic: LimitTraffic) -> None:
        self._auth = auth
        self._expected = f"Token {token}".encode()
        self._limit_traffic = limit_traffic
        self._principal: Principal | None = None

    async def caller(self, headers: Headers, client: str) -> Caller:
        """See ``Callers``."""
        value = headers.get("authorization")
        if value is None:
            raise Unauthenticated("This needs the dummy token.")
        if not hmac.compare_digest(value.encode("utf-8", "surrogateescape"), self._expected):
            raise InvalidToken("this is not the dummy token")
        if self._principal is None:
            principal = await self._auth.outside_user(NAME, quota_bytes=QUOTA_BYTES)
            await self._limit_traffic(principal, TRAFFIC_BYTES)
            self._principal = principal
        return Caller(self._principal, owns_all=True)

    async def refresh_owner(self, prefix: Prefix) -> None:
        """See ``Callers``: there is nobody to ask."""
