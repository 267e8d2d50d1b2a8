"""A hive as a client sees it: one connection pool, one session, the groups of calls.

with Hive.connect("http://127.0.0.1:8080", keeper) as hive:
    hive.files.info("/Pictures")
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from skep.client.accounts import Accounts
from skep.client.administration import Administration
from skep.client.calls import Caller
from skep.client.clouds import Clouds
from skep.client.credit import Credit
from skep.client.devices import DeviceLogin
from skep.client.files import Files
from skep.client.links import Links
from skep.client.live import Live
from skep.client.retries import Cancel
from skep.client.sessions import Session, TokenKeeper
from skep.client.shares import Shares
from skep.client.stores import Stores
from skep.client.transport import Transport, parse_address


class Hive:
    """All calls of one hive as one user. Safe to use from many threads; close it."""

    def __init__(self, caller: Caller) -> None:
        self.url = caller.transport.address.url
        self.cancel = caller.cancel
        self.caller = caller
        self.accounts = Accounts(caller)
        self.administration = Administration(caller)
        self.clouds = Clouds(caller)
        self.device_login = DeviceLogin(caller)
        self.credit = Credit(caller)
        self.files = Files(caller)
        self.links = Links(caller)
        self.shares = Shares(caller)
        self.stores = Stores(caller)
        self.live = Live(caller)

    @classmethod
    def connect(
        cls, url: str, keeper: TokenKeeper | None, *, timeout_s: float = 120.0, sha256: str | None = None
    ) -> Hive:
        """A client of the hive at ``url``; without a keeper, of what it says to strangers. Sends nothing yet.

        ``sha256``: the fingerprint of the one certificate to believe, as 64 hex digits.
        """
        from skep import __version__

        transport = Transport(parse_address(url), timeout_s=timeout_s, agent=f"skep/{__version__}", sha256=sha256)
        cancel = Cancel()
        cancel.on_set(transport.abort)
        stranger = Accounts(Caller(transport, None, cancel=cancel))
        session = None if keeper is None else Session(keeper, stranger.refresh)
        return cls(Caller(transport, session, cancel=cancel))

    def close(self) -> None:
        """Close the connections."""
        self.caller.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
