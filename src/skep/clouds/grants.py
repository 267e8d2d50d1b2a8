"""Grants: the tokens of the accounts that people let the hive use.

What always holds:
- tokens are sealed under the hive's secrets key wherever they rest, sealed anew with each refresh, and in no log, error
  or answer;
- one refresh at a time for a grant: who asks meanwhile gets what it brings;
- a refresh token that the provider exchanged is in the database, in one transaction with the access token, before it is
  used; if the database fails then, it is kept in memory and written with the next call;
- a caller that is cancelled does not interrupt a refresh: providers that exchange refresh tokens would lock us out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import sqlalchemy as sa
import structlog

from skep.base.clock import Clock
from skep.base.errors import AlreadyExists, InUse, NotFound, SkepError, StoreRefused
from skep.base.ids import Id, id_text, new_id
from skep.base.waiting import to_the_end
from skep.clouds.apps import Apps
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.stores.access import CloudAccess
from skep.stores.oauth import OAuthClient, Tokens
from skep.stores.providers import Provider, provider_of

log = structlog.get_logger("skep.clouds")
EARLY_US = 60_000_000
"""A token is refreshed this long before its end."""
REVOKE_TIMEOUT_S = 30.0
_g = s.cloud_grants.c
_ALL = prepared(
    sa.select(
        _g.id, _g.provider, _g.account, _g.label, _g.user_id, _g.sealed_tokens, _g.created_us, _g.refreshed_us
    ).order_by(_g.created_us, _g.id)
)
_INSERT = insert_new(s.cloud_grants)
_RENEW = prepared(
    sa.update(s.cloud_grants)
    .where(_g.id == sa.bindparam("grant"))
    .values(
        sealed_tokens=sa.bindparam("sealed"),
        label=sa.bindparam("called"),
        user_id=sa.bindparam("by"),
        refreshed_us=sa.bindparam("now"),
    )
)
_DELETE = prepared(sa.delete(s.cloud_grants).where(_g.id == sa.bindparam("grant")))


class _Sealed(msgspec.Struct, frozen=True):
    """The record inside the seal."""

    access: str
    refresh: str | None
    expires_us: int | None


@dataclass(frozen=True, slots=True)
class GrantInfo:
    """A grant as people see it."""

    id: Id
    provider: str
    account: str
    label: str
    user_id: Id
    created_us: int
    refreshed_us: int

    @property
    def url(self) -> str:
        """The URL of the account as a store."""
        return f"{self.provider}:{self.account}"


@dataclass(slots=True)
class _Grant:
    info: GrantInfo
    tokens: Tokens = field(repr=False)
    saved: bool = True
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class CloudGrants:
    """All grants of a hive; fills ``skep.stores.access.Grants``. Used from the event loop's thread only."""

    def __init__(
        self, db: Database, keys: HiveKeys, clock: Clock, hive_id: Id, apps: Apps, in_use: Callable[[str], bool]
    ) -> None:
        """``in_use`` says whether the account of this URL is a store of the hive."""
        self._db = db
        self._key = keys.secrets_key
        self._clock = clock
        self._apps = apps
        self._in_use = in_use
        self.folder = f".skep/{id_text(hive_id)}"
        self._grants: dict[tuple[str, str], _Grant] = {}

    async def load(self) -> None:
        """Read the rows. Raises CorruptRecord, KeyWrong."""
        for row in await self._db.read(lambda tx: tx.rows(_ALL)):
            grant_id, provider, account, label, user_id, sealed, created_us, refreshed_us = row
            info = GrantInfo(bytes(grant_id), provider, account, label, bytes(user_id), created_us, refreshed_us)
            found = msgspec.json.decode(open_record(self._key, bytes(sealed), _purpose(info.id)), type=_Sealed)
            tokens = Tokens(found.access, found.refresh, found.expires_us)
            self._grants[provider, account] = _Grant(info, tokens)

    def all(self) -> list[GrantInfo]:
        """Every grant, oldest first."""
        return [grant.info for grant in self._grants.values()]

    def access(self, provider: str, account: str) -> CloudAccess:
        """See ``Grants``."""
        return _Access(self, provider, account)

    def provider(self, name: str) -> Provider:
        """Where a provider is reached: as the hive's app says, or at its own address."""
        app = self._apps.known(name)
        return provider_of(name) if app is None else app.provider

    async def add(
        self,
        provider: str,
        account: str,
        label: str,
        user_id: Id,
        tokens: Tokens,
        *,
        relink: bool,
        of_others: bool = True,
    ) -> GrantInfo:
        """Keep what a login brought.

        An account that is a store already is refused with AlreadyExists, unless ``relink`` asks for new tokens for it;
        those of other people's grants only where ``of_others`` lets them.
        """
        known = self._grants.get((provider, account))
        if known is not None:
            theirs = known.info.user_id == user_id
            if self._in_use(known.info.url) and not (relink and (theirs or of_others)):
                raise AlreadyExists(
                    f"The account {label!r} is a store of this hive already: take another account, or renew its grant "
                    f"with `skep cloud login {provider} --relink`."
                )
            async with known.lock:
                known.tokens = tokens
                keeps = self._in_use(known.info.url)  # whose store it is stays as it was
                known.info = replace(known.info, label=label, user_id=known.info.user_id if keeps else user_id)
                await self._save(known)
            return known.info
        now = self._clock.now_us()
        info = GrantInfo(new_id(), provider, account, label, user_id, now, now)
        await self._db.write(lambda tx: self._insert(tx, info, tokens))
        self._grants[provider, account] = _Grant(info, tokens)
        return info

    def _insert(self, tx: Transaction, info: GrantInfo, tokens: Tokens) -> None:
        tx.run(
            _INSERT,
            {
                "id": info.id,
                "provider": info.provider,
                "account": info.account,
                "label": info.label,
                "user_id": info.user_id,
                "sealed_tokens": self._sealed(info.id, tokens),
                "created_us": info.created_us,
                "refreshed_us": info.refreshed_us,
            },
        )

    def _sealed(self, grant_id: Id, tokens: Tokens) -> bytes:
        record = msgspec.json.encode(_Sealed(tokens.access, tokens.refresh, tokens.expires_us))
        return seal_record(self._key, record, _purpose(grant_id))

    async def token(self, provider: str, account: str, refused: str | None) -> str:
        """See ``CloudAccess.token``."""
        grant = self._grants.get((provider, account))
        if grant is None:
            title = provider_of(provider).title
            raise StoreRefused(f"nobody granted this {title} account to the hive: `skep cloud login {provider}`")
        async with grant.lock:
            if not self._good(grant.tokens, refused):
                await to_the_end(self._refresh(grant))
            elif not grant.saved:
                await self._save_or_log(grant)
            return grant.tokens.access

    def _good(self, tokens: Tokens, refused: str | None) -> bool:
        if tokens.access == refused:
            return False
        return tokens.expires_us is None or tokens.expires_us - EARLY_US > self._clock.now_us()

    async def _refresh(self, grant: _Grant) -> None:
        app = self._apps.get(grant.info.provider)
        if grant.tokens.refresh is None:
            raise StoreRefused(
                f"the grant of {grant.info.label!r} has ended: `skep cloud login {grant.info.provider} --relink`"
            )
        grant.tokens = await OAuthClient(app.provider, app.keys, self._clock).refresh(grant.tokens.refresh)
        grant.saved = False
        await self._save_or_log(grant)

    async def _save_or_log(self, grant: _Grant) -> None:
        try:
            await self._save(grant)
        except SkepError as error:
            log.warning("grant not saved, tried again later", grant=id_text(grant.info.id), code=error.code)

    async def _save(self, grant: _Grant) -> None:
        info, sealed, now = grant.info, self._sealed(grant.info.id, grant.tokens), self._clock.now_us()
        row = {"grant": info.id, "sealed": sealed, "called": info.label, "by": info.user_id, "now": now}
        await self._db.write(lambda tx: tx.run(_RENEW, row))
        grant.info = replace(info, refreshed_us=now)
        grant.saved = True

    async def forget(self, url: str) -> bool:
        """Withdraw the grant behind a store's URL and forget it; whether the provider took the withdrawal.

        False also when there is none, or the provider has no call for it. Never raises what the provider does.
        """
        provider, _, rest = url.partition(":")
        grant = self._grants.get((provider, rest.partition("/")[0]))
        return False if grant is None else await self._withdraw(grant)

    async def remove(self, grant_id: Id) -> bool:
        """The same by the grant's id. Raises NotFound, and InUse while a store needs it."""
        for grant in self._grants.values():
            if grant.info.id == grant_id:
                if self._in_use(grant.info.url):
                    raise InUse(f"A store needs the grant of {grant.info.label!r}: remove the store first.")
                return await self._withdraw(grant)
        raise NotFound(f"There is no grant with the id {id_text(grant_id)}.")

    async def _withdraw(self, grant: _Grant) -> bool:
        info = grant.info
        withdrawn = False
        async with grant.lock:
            try:
                app = self._apps.get(info.provider)
                async with asyncio.timeout(REVOKE_TIMEOUT_S):
                    if not self._good(grant.tokens, None):
                        await self._refresh(grant)
                    await OAuthClient(app.provider, app.keys, self._clock).revoke(grant.tokens)
                withdrawn = app.provider.revoke_url is not None
            except (SkepError, TimeoutError) as error:
                code = error.code if isinstance(error, SkepError) else "timed-out"
                log.warning("grant not withdrawn at the provider", provider=info.provider, code=code)
            await self._db.write(lambda tx: tx.run(_DELETE, {"grant": info.id}))
            self._grants.pop((info.provider, info.account), None)
        return withdrawn


@dataclass(frozen=True, slots=True)
class _Access:
    """The access to one account."""

    _grants: CloudGrants = field(repr=False)
    _provider: str
    account: str

    @property
    def provider(self) -> Provider:
        return self._grants.provider(self._provider)

    @property
    def folder(self) -> str:
        return self._grants.folder

    async def token(self, refused: str | None = None) -> str:
        """See ``CloudAccess``."""
        return await self._grants.token(self._provider, self.account, refused)


def _purpose(grant_id: Id) -> bytes:
    return b"cloud grant " + grant_id
