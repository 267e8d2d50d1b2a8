"""What a cloud driver acts as: an account that somebody granted, without knowing where the grant is kept.

The drivers stand below the database and the keys; who holds the grants (``skep.clouds``) fills these protocols, and
``server`` plugs it in.
"""

from __future__ import annotations

from typing import Protocol

from skep.stores.providers import Provider


class CloudAccess(Protocol):
    """One granted account of one provider."""

    @property
    def provider(self) -> Provider:
        """Where the provider is reached."""
        ...

    @property
    def folder(self) -> str:
        """The hive's own folder in the account, as ``.skep/<hive id>``."""
        ...

    async def token(self, refused: str | None = None) -> str:
        """An access token that should be good.

        ``refused``: the one that the provider has just answered 401 to; if it is still the newest, it is refreshed,
        once for all who ask at the same time. Raises StoreRefused (the grant is gone), StoreUnavailable.
        """
        ...


class Grants(Protocol):
    """All granted accounts."""

    def access(self, provider: str, account: str) -> CloudAccess:
        """The access to an account. Touches nothing; a missing grant shows at the first token."""
        ...
