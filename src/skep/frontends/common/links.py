"""Links as the doors see them: from the token in an address to who holds it, if the password was given.

    opened = await links.open(token, passed, client)          # 404, one sentence, for whatever is not a link (any more)
    node = await filesystem.by_path(opened.principal, opened.space_id, "/")

A link's password is exchanged for a *pass*, which is good for this link and password for a few hours. A *download* is
one content or archive, however many requests it takes: it is counted when its ticket is made, or else at every request.
Both are sealed under a key of the hive's and need no table.
"""

from __future__ import annotations

from dataclasses import dataclass

from skep.auth import Auth, Principal
from skep.auth.buckets import Buckets, address_key
from skep.base.clock import Clock
from skep.base.errors import Denied, Forbidden
from skep.base.ids import Id
from skep.base.limits import RateLimit
from skep.crypto.hashing import digest
from skep.filesystem import Filesystem, OpenLink
from skep.frontends.common.content_tickets import ContentTickets

LINK_HEADER = "skep-link"
PASS_HEADER = "skep-link-pass"  # noqa: S105
TRIES = 10
TRIES_OF_ALL = 200
TRIES_WINDOW_S = 900.0
"""So many wrong passwords one address may send to one link in this time, and all addresses together."""
_HOLDER = "link"


@dataclass(frozen=True, slots=True)
class Opened:
    """A link whose address, and password if it has one, were given."""

    link: OpenLink
    principal: Principal

    @property
    def space_id(self) -> Id:
        """What stands for the space that it shows."""
        return self.link.id


class LinkGate:
    """Where every request that shows a link's address passes. Lives on one event loop."""

    def __init__(
        self,
        auth: Auth,
        filesystem: Filesystem,
        tickets: ContentTickets,
        clock: Clock,
        *,
        requests_per_s: float,
        burst: int,
        public_url: str = "",
    ) -> None:
        """``public_url``: where people reach the hive, if it knows; empty: it does not."""
        self.public_url = public_url
        self._clock = clock
        self._auth = auth
        self._filesystem = filesystem
        self._tickets = tickets
        self._rate = RateLimit("requests to links", clock, rate_per_s=requests_per_s, burst=burst)
        self._tries = Buckets(clock, capacity=TRIES, refill_s=TRIES_WINDOW_S / TRIES)
        self._tries_of_all = Buckets(clock, capacity=TRIES_OF_ALL, refill_s=TRIES_WINDOW_S / TRIES_OF_ALL)

    def now_us(self) -> int:
        """The hive's time."""
        return self._clock.now_us()

    async def look(self, token: str, passed: str | None, client: str) -> tuple[Opened, bool]:
        """The link of a token, and whether its password is still to be given. Raises ShareNotFound, RateLimited."""
        self._rate.check(address_key(client))
        link, principal = await self._filesystem.open_link(token)
        return Opened(link, principal), not self._is_passed(link, passed)

    async def open(self, token: str, passed: str | None, client: str) -> Opened:
        """The link of a token whose password was given. Raises ShareNotFound, Forbidden, RateLimited."""
        opened, is_locked = await self.look(token, passed, client)
        if is_locked:
            raise Forbidden("this link has a password: give it first", reason="link-password")
        return opened

    async def unlock(self, token: str, password: str, client: str) -> str:
        """A pass for the right password. Raises ShareNotFound, Forbidden (a wrong one), RateLimited."""
        opened, _ = await self.look(token, None, client)
        link = opened.link
        if link.password_hash is None:
            return self._tickets.make(_HOLDER, _pass_subject(link))
        keys = f"{link.id.hex()} {address_key(client)}", link.id.hex()
        self._tries.take(keys[0])
        self._tries_of_all.take(keys[1])
        if not await self._auth.matches(link.password_hash, password):
            raise Forbidden("that is not the password of this link", reason="link-password-wrong")
        self._tries.give_back(keys[0])
        self._tries_of_all.give_back(keys[1])
        return self._tickets.make(_HOLDER, _pass_subject(link))

    async def begin_download(self, opened: Opened, subject: str) -> str:
        """Count one download; the ticket with which it goes on. Raises LimitReached."""
        await self._filesystem.count_download(opened.link.id)
        return self._tickets.make(_HOLDER, _download_subject(opened.link, subject))

    async def download(self, opened: Opened, subject: str, ticket: str | None) -> None:
        """Let a content go out: with its ticket, or else as a download of its own. Raises Forbidden, LimitReached."""
        if ticket is None:
            await self._filesystem.count_download(opened.link.id)
            return
        try:
            self._tickets.open(ticket, _download_subject(opened.link, subject))
        except Denied:  # never 401: there is nothing to log in with
            raise Forbidden("this download has ended, or was for something else: begin it again") from None

    def _is_passed(self, link: OpenLink, passed: str | None) -> bool:
        if link.password_hash is None:
            return True
        if not passed:
            return False
        try:
            self._tickets.open(passed, _pass_subject(link))
        except Denied:
            return False
        return True


def _pass_subject(link: OpenLink) -> str:
    """What a pass is good for: a link with the password that it has now."""
    return f"link {link.id.hex()} password {digest((link.password_hash or '').encode()).hex()}"


def _download_subject(link: OpenLink, subject: str) -> str:
    return f"link {link.id.hex()} download {subject}"
