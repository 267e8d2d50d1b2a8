"""One call of the door: who pays for it, and how it is answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from skep.base.errors import CreditExhausted, MalformedRequest
from skep.base.ids import Id
from skep.credit.costs import Direction
from skep.credit.meter import Passage
from skep.credit.records import AccountKind
from skep.crypto.hashing import digest
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.request import Request
from skep.frontends.metadisk.services import MetadiskGround

OWN_ACCOUNT = "published"
"""The account of the hive's own in which the door's traffic is counted."""
_HASH = re.compile(r"[0-9a-fA-F]{64}\Z")
_encoder = msgspec.json.Encoder()
CORS = (("access-control-allow-origin", "*"), ("access-control-expose-headers", "Content-Disposition, ETag"))


class Payer(NamedTuple):
    """Whose account is charged; ``is_open``: whether there is one."""

    kind: AccountKind
    owner: str
    is_open: bool


@dataclass(slots=True, kw_only=True)
class MetadiskCall(Request):
    """A request of this door. ``path``: what follows the verb in the URL."""

    ground: MetadiskGround
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def stall_timeout_s(self) -> float:
        """How long a reader may take nothing."""
        return self.ground.idle_timeout_s

    @property
    def content_hash(self) -> bytes:
        """The hash in the URL. Raises MalformedRequest for what cannot be one."""
        return hash_of(self.path, "hash")

    async def answer(
        self, value: Mapping[str, Any], status: int = 200, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """JSON with a status."""
        pairs = [("content-type", "application/json"), ("cache-control", "no-store"), *CORS, *headers]
        await send_bytes(self.send, status, _encoder.encode(value), pairs, head_only=self.head_only)

    async def sign_in(self, scope: str) -> None:
        """Who asks, if the request says it. Raises what ``authenticate`` raises, Forbidden for another scope."""
        if self.headers.get("authorization") is not None:
            self.caller = await authenticate(self.ground.auth, self.headers, self.client)
            self.caller.require(scope)

    async def payer(self, token: str | None) -> Payer | None:
        """Who pays: the token that the request names, else who signed in. Raises BadInput for what is no token."""
        if token:
            owner, is_open = await self.ground.credit.token_account(token)
            return Payer("token", owner, is_open)
        return None if self.caller is None else Payer("user", self.caller.user_id.hex(), True)

    async def charge(
        self, payer: Payer | None, direction: Direction, size_bytes: int, *, is_near: bool = False
    ) -> Passage | None:
        """Set aside what so many bytes cost; None: nothing is counted. Raises CreditExhausted, TrafficExceeded."""
        meter = self.ground.meter
        cost = meter.costs.of(direction, size_bytes, is_near=is_near)
        if payer is None or not payer.is_open:
            if cost:
                raise CreditExhausted(
                    f"{cost} bytes of credit are needed: name a token that has them, or sign in",
                    needed=cost,
                    available=0,
                )
            return None
        if not meter.active:
            return None
        return await meter.admit_account(payer.kind, payer.owner, direction, size_bytes, is_near=is_near)

    @property
    def place(self) -> Id:
        """Among whom places for uploads are shared out: users, and addresses of those without a login."""
        return digest(b"metadisk upload ", self.client.encode())[:16] if self.caller is None else self.caller.user_id


def hash_of(text: str, what: str) -> bytes:
    """32 bytes in hexadecimal. Raises MalformedRequest."""
    if not _HASH.match(text):
        raise MalformedRequest(f"This is no {what}: it has 64 hexadecimal digits.")
    return bytes.fromhex(text)


def query_of(raw: bytes) -> dict[str, str]:
    """The parameters of a URL; each may come once. Raises MalformedRequest."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise MalformedRequest("The query of the URL does not parse.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("A parameter of the URL comes twice: send it once.")
    return found
