"""``dropbox:ACCOUNT``, ``gdrive:ACCOUNT``, ``onedrive:ACCOUNT``, ``box:ACCOUNT``: granted accounts as stores.

The account is the provider's own id for it; logging in (``skep store add dbx dropbox:``) fills it in. The hive's
folder in it is ``.skep/<hive id>``; a path after the account names another, as when a hive is recovered.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import InvalidStoreUrl, StoreRefused
from skep.stores.access import CloudAccess, Grants
from skep.stores.oauth import AppKeys, OAuthClient, Tokens
from skep.stores.providers import PROVIDERS, Provider
from skep.stores.url import StoreUrl

_ACCOUNT = re.compile(r"[A-Za-z0-9:._!@+=-]{1,200}")
_FOLDER = re.compile(r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,80}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,80}){0,7}")


def split_account(url: StoreUrl) -> tuple[str, str]:
    """Account and folder (empty: the hive's own) of a cloud's URL. Raises InvalidStoreUrl."""
    account, _, folder = (url.host + url.path).partition("/")
    if not account:
        raise InvalidStoreUrl(f"{url.text!r} names no account: log in with `skep store add NAME {url.scheme}:`")
    if url.host or _ACCOUNT.fullmatch(account) is None:
        raise InvalidStoreUrl(f"{url.text!r} names no account: write {url.scheme}:ACCOUNT, without slashes before it")
    if folder and _FOLDER.fullmatch(folder) is None:
        raise InvalidStoreUrl(f"{url.text!r}: a folder is of letters, digits, dots and dashes, with slashes between")
    return account, folder


class _OwnGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store's secret that holds a grant itself: for checking and recovering without a hive."""

    client_id: str
    refresh_token: str
    client_secret: str | None = None
    folder: str = ""
    base_url: str | None = None


@dataclass(slots=True)
class OwnAccess:
    """Access by a refresh token that the caller gave; what the provider exchanges it for is kept in memory alone."""

    provider: Provider
    folder: str
    _client: OAuthClient
    _tokens: Tokens = field(repr=False)
    _fresh: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def token(self, refused: str | None = None) -> str:
        """See ``CloudAccess``."""
        async with self._lock:
            if not self._fresh or refused == self._tokens.access:
                if self._tokens.refresh is None:
                    raise StoreRefused(f"{self.provider.title} does not take the token and gave none to refresh it")
                self._tokens = await self._client.refresh(self._tokens.refresh)
                self._fresh = True
            return self._tokens.access


@dataclass(frozen=True, slots=True)
class FolderAccess:
    """Another folder of a granted account."""

    access: CloudAccess
    folder: str

    @property
    def provider(self) -> Provider:
        return self.access.provider

    async def token(self, refused: str | None = None) -> str:
        """See ``CloudAccess``."""
        return await self.access.token(refused)


def access_of(url: StoreUrl, secret: bytes | None, grants: Grants | None, clock: Clock | None = None) -> CloudAccess:
    """What a cloud's store acts as. Raises InvalidStoreUrl."""
    account, folder = split_account(url)
    if secret is not None:
        return _own_access(url, secret, folder, clock or SystemClock())
    if grants is None:
        raise InvalidStoreUrl(
            f"{url.text!r} needs a login that only a hive has: give its grant as the secret, JSON with client_id, "
            "client_secret and refresh_token"
        )
    access = grants.access(url.scheme, account)
    return FolderAccess(access, folder) if folder else access


def _own_access(url: StoreUrl, secret: bytes, folder: str, clock: Clock) -> CloudAccess:
    try:
        grant = msgspec.json.decode(secret, type=_OwnGrant)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidStoreUrl(
            f"the secret of a {url.scheme} store is JSON with client_id, client_secret and refresh_token"
        ) from None
    provider = PROVIDERS[url.scheme].at(grant.base_url)
    client = OAuthClient(provider, AppKeys(grant.client_id, grant.client_secret), clock)
    return OwnAccess(provider, folder or grant.folder or ".skep", client, Tokens("", grant.refresh_token, None))


class BearerTokens:
    """Authorization by the tokens of an access."""

    def __init__(self, access: CloudAccess) -> None:
        self._access = access

    async def header(self, refused: str | None = None) -> str:
        """See ``Authorizer``."""
        return f"Bearer {await self._access.token(None if refused is None else refused.removeprefix('Bearer '))}"
