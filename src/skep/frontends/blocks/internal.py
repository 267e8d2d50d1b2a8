"""``POST /api/v0/internal/user/``: other block servers ask this hive who somebody is, and what they may use.

They prove themselves by the shared secret in ``APISECRET`` and send the header of their client (``{"auth": …}``) or the
number that was told before (``{"user_id": …}``). Asking begins an account's prepaid time, as using it does.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from skep.auth import Auth
from skep.base.errors import Denied, LimitReached
from skep.base.ids import Id
from skep.frontends.blocks.call import BlockCall
from skep.frontends.blocks.prefixes import JSON
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.headers import Headers

PATH = "/internal/user/"
BODY_BYTES_MAX = 16 << 10
NUMBER_MAX = (1 << 62) - 1
NO_LIMIT_BYTES = (1 << 62) - 1
"""What is told where nothing limits an account."""


class Allowance(NamedTuple):
    """Bytes that an account may store, and read in a month; None: any number."""

    space_bytes: int | None
    traffic_bytes: int | None


class Internal:
    """What answers other servers."""

    def __init__(self, auth: Auth, secret: str, allowance: Callable[[Id], Awaitable[Allowance]]) -> None:
        """``secret`` must not be empty; ``allowance`` tells what a user may use."""
        assert secret
        self._auth = auth
        self._secret_hash = hashlib.sha512(secret.encode()).digest()
        self._allowance = allowance

    async def post_user(self, call: BlockCall) -> None:
        """Answer one question; JSON, failures too."""
        shown = (call.headers.get("apisecret") or "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(hashlib.sha512(shown).digest(), self._secret_hash):
            await _say(call, 403, {"error": "Invalid API key"})
            return
        try:
            asked: Any = msgspec.json.decode(await call.body.read(BODY_BYTES_MAX) or b"null")
        except (msgspec.DecodeError, UnicodeDecodeError):
            asked = None
        status, value = await self._answer(asked if isinstance(asked, dict) else {}, call.client)
        await _say(call, status, value)

    async def _answer(self, asked: dict[str, Any], client: str) -> tuple[int, dict[str, object]]:
        header, number = asked.get("auth"), asked.get("user_id")
        if header is not None and number is not None:
            return 400, {"error": "Pass *either* an auth token *or* an user ID"}
        if header is not None:
            return await self._of_header(header, client)
        if number is None:
            return 400, {"error": "No user identification supplied"}
        return await self._of_number(number)

    async def _of_header(self, header: object, client: str) -> tuple[int, dict[str, object]]:
        kind, _, credential = header.partition(" ") if isinstance(header, str) else ("", "", "")
        credential = credential.strip()
        kind = kind.lower()
        if kind not in ("token", "bearer", "basic") or not credential.isascii():
            return 400, {"error": "Invalid auth type"}
        try:
            if kind == "token" and credential.count(".") != 2:  # no app password has a dot
                principal = await self._auth.authenticate_app_secret(credential)
            else:
                shown = f"{'bearer' if kind == 'token' else kind} {credential}"
                headers = Headers([(b"authorization", shown.encode())])
                principal = await authenticate(self._auth, headers, client)
        except LimitReached:
            raise
        except Denied:
            return 404, {"error": "Invalid token"}
        return 200, await self._record(principal.user_id, await self._auth.user_number(principal.user_id), active=True)

    async def _of_number(self, number: object) -> tuple[int, dict[str, object]]:
        if isinstance(number, str) and number.isascii() and number.isdecimal() and len(number) < 20:
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= NUMBER_MAX:
            return 400, {"error": "Malformed user ID"}
        found = await self._auth.numbered_user(number)
        if found is None:
            return 404, {"error": "Invalid user ID"}
        return 200, await self._record(found.id, number, active=found.state == "active")

    async def _record(self, user_id: Id, number: int, *, active: bool) -> dict[str, object]:
        allowed = await self._allowance(user_id)
        return {
            "user_id": number,
            "active": active,
            "block_quota": NO_LIMIT_BYTES if allowed.space_bytes is None else allowed.space_bytes,
            "monthly_traffic_quota": NO_LIMIT_BYTES if allowed.traffic_bytes is None else allowed.traffic_bytes,
        }


async def _say(call: BlockCall, status: int, value: dict[str, object]) -> None:
    await send_bytes(call.send, status, msgspec.json.encode(value), JSON)
