"""Who opens a stream, and whether that is still so: the credential is kept with the stream and shown again.

It comes in the Authorization header; from a browser's WebSocket, which cannot set one, as a subprotocol (a token or
a ticket); from a browser's EventSource as a ticket in the URL. A token in the URL is refused: URLs are logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skep.auth import Auth, Principal
from skep.auth.tokens import token_end_s
from skep.base.errors import Forbidden, MalformedRequest
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.headers import Headers
from skep.frontends.live.messages import BEARER_PREFIX, TICKET_PREFIX
from skep.frontends.live.tickets import Tickets

IN_URL = frozenset({"token", "access_token", "bearer", "authorization", "password"})


@dataclass(frozen=True, slots=True)
class Guest:
    """A principal with the credential that proved it. ``end_us``: when that ends, UTC microseconds; None: never."""

    principal: Principal
    end_us: int | None
    authorization: str = field(repr=False)
    client: str = ""


class Guests:
    """Lets guests in and looks at them again."""

    def __init__(self, auth: Auth, tickets: Tickets) -> None:
        self._auth = auth
        self._tickets = tickets

    async def admit(
        self, headers: Headers, query: Mapping[str, str], client: str, subprotocols: Sequence[str] = ()
    ) -> Guest:
        """The guest of a request. Raises what ``authenticate`` does, MalformedRequest for a token in the URL."""
        named = IN_URL.intersection(name.lower() for name in query)
        if named:
            raise MalformedRequest(
                f"A credential in the URL ends up in logs: send {min(named)} as an Authorization header, "
                "or ask for a ticket."
            )
        ticket = query.get("ticket")
        for offered in subprotocols:
            if offered.startswith(BEARER_PREFIX):
                return await self._guest(f"Bearer {offered.removeprefix(BEARER_PREFIX)}", client)
            if offered.startswith(TICKET_PREFIX):
                ticket = offered.removeprefix(TICKET_PREFIX)
        if ticket is not None and "authorization" not in headers:
            return await self._guest(self._tickets.take(ticket), client)
        principal = await authenticate(self._auth, headers, client)
        return _guest(principal, headers.get("authorization") or "", client)

    async def renew(self, guest: Guest, token: str) -> Guest:
        """The same user with a fresh token. Raises InvalidToken, TokenExpired, Forbidden for another user's."""
        fresh = await self._guest(f"Bearer {token}", guest.client)
        if fresh.principal.user_id != guest.principal.user_id:
            raise Forbidden("The token is another user's: open a connection of its own for that user.")
        return fresh

    async def again(self, guest: Guest) -> Guest:
        """The guest as it is now. Raises what ``authenticate`` does when the credential is good no more."""
        return await self._guest(guest.authorization, guest.client)

    async def _guest(self, authorization: str, client: str) -> Guest:
        headers = Headers([(b"authorization", authorization.encode("latin-1", "replace"))])
        return _guest(await authenticate(self._auth, headers, client), authorization, client)


def _guest(principal: Principal, authorization: str, client: str) -> Guest:
    end_us = None
    if principal.kind == "token":
        end_us = token_end_s(authorization.partition(" ")[2].strip()) * 1_000_000
    return Guest(principal, end_us, authorization, client)
