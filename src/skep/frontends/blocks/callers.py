"""Who asks at this door, and what they may write.

Old programs send ``Authorization: Token <token>``: the token is an access token or an app password. ``Bearer`` and
``Basic`` are taken as at every door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from skep.auth import Auth, Principal, internal_principal
from skep.filesystem import Filesystem
from skep.filesystem.prefixes import Prefix
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.headers import Headers

SCHEME = "token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``owns_all``: any prefix may be written, and is made by the first write (for tests of programs)."""

    principal: Principal
    owns_all: bool = False

    def owns(self, prefix: Prefix) -> bool:
        """Whether the prefix is the caller's."""
        return prefix.space.kind == "personal" and prefix.space.owner_id == self.principal.user_id

    def writer(self, prefix: Prefix) -> Principal:
        """Who writes there: the caller, or the hive for who has all prefixes."""
        return self.principal if self.owns(prefix) or not self.owns_all else internal_principal()


class Callers(Protocol):
    """Finds out who asks."""

    async def caller(self, headers: Headers, client: str) -> Caller:
        """Who sent a request from an address. Raises Unauthenticated, Forbidden, RateLimited, Unavailable."""
        ...

    async def refresh_owner(self, prefix: Prefix) -> None:
        """Know what the owner of a prefix may use, where another server says so. Raises Unavailable."""
        ...


class OwnCallers:
    """The users of this hive."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def caller(self, headers: Headers, client: str) -> Caller:
        """See ``Callers``."""
        kind, _, credential = (headers.get("authorization") or "").partition(" ")
        if kind.lower() != SCHEME:
            return Caller(await authenticate(self._auth, headers, client))
        return Caller(await self.of_token(credential.strip()))

    async def of_token(self, token: str) -> Principal:
        """The principal of an access token or app password. Raises InvalidToken, TokenExpired."""
        if token.count(".") == 2:  # no app password has a dot
            return await self._auth.authenticate_token(token)
        return await self._auth.authenticate_app_secret(token)

    async def refresh_owner(self, prefix: Prefix) -> None:
        """See ``Callers``: quotas and plans of this hive are at work anyway."""


async def writable_by(caller: Caller, filesystem: Filesystem, name: str) -> Prefix | None:
    """The prefix of that name, if the caller may write there; None: it is another's, or there is none."""
    if caller.owns_all:
        return await filesystem.ensure_prefix(caller.principal, name)
    found = await filesystem.prefix(name)
    return found if found is not None and caller.owns(found) else None
