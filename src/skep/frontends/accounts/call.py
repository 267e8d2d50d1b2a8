"""One call of the door, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from skep.base.errors import MalformedRequest, Unauthenticated
from skep.credit import ApiKey, Credit
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON with its status."""

    value: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True, slots=True)
class TokenCall:
    """A request. ``path`` has the parts of the URL; ``client`` is the address that it came from."""

    credit: Credit
    headers: Headers
    body: Body
    path: Mapping[str, str]
    client: str
    body_bytes: int

    @property
    def account(self) -> str:
        """The account of the token in the URL."""
        return f"token:{self.path['token']}"

    async def json(self) -> dict[str, Any]:
        """The members of the JSON body, whatever its content type. Raises MalformedRequest."""
        try:
            value = msgspec.json.decode(await self.body.read(self.body_bytes) or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedRequest(f"The body is no JSON: {error}.") from None
        if not isinstance(value, dict):
            raise MalformedRequest("The body is no JSON object.")
        return value

    async def program(self, wants: str) -> ApiKey:
        """The program whose key is in the header ``Authentication``. Raises Unauthenticated, Forbidden."""
        secret = self.headers.get("authentication")
        if secret is None:
            raise Unauthenticated("This needs a key in the header Authentication.")
        return await self.credit.require_key(secret, wants)
