"""The hive's app keys at each provider: who the hive is to Dropbox, Google, Microsoft and Box.

They come from the settings, or from an administrator, whose word counts more and is kept sealed. What always holds: a
client secret is in no answer and no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import sqlalchemy as sa

from skep.base.errors import BadInput, Conflict
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.db import Database, Transaction, prepared, upsert
from skep.db import schema as s
from skep.stores.oauth import AppKeys
from skep.stores.providers import Provider, provider_of

CLIENT_MAX = 1_000
_a = s.cloud_apps.c
_ALL = prepared(sa.select(_a.provider, _a.client_id, _a.sealed_secret, _a.base_url))
_PUT = upsert(s.cloud_apps, ["provider"], ["client_id", "sealed_secret", "base_url", "created_us"])
_DELETE = prepared(sa.delete(s.cloud_apps).where(_a.provider == sa.bindparam("name")))


@dataclass(frozen=True, slots=True)
class App:
    """The hive's registration at one provider."""

    provider: Provider
    """Where it is reached from here."""
    client_id: str
    client_secret: str | None = field(repr=False)
    source: str
    """``settings`` or ``hive``."""
    base_url: str | None = None

    @property
    def keys(self) -> AppKeys:
        """As the token endpoint wants them."""
        return AppKeys(self.client_id, self.client_secret)


class Apps:
    """All registrations. Used from the event loop's thread only."""

    def __init__(self, db: Database, keys: HiveKeys, settings: Mapping[str, AppKeys]) -> None:
        self._db = db
        self._key = keys.secrets_key
        self._settings = {
            name: App(provider_of(name), found.client_id, found.client_secret, "settings")
            for name, found in settings.items()
            if found.client_id
        }
        self._own: dict[str, App] = {}

    async def load(self) -> None:
        """Read the rows."""
        for name, client_id, sealed, base_url in await self._db.read(lambda tx: tx.rows(_ALL)):
            secret = None if sealed is None else open_record(self._key, bytes(sealed), _purpose(name)).decode()
            self._own[name] = App(provider_of(name).at(base_url), client_id, secret, "hive", base_url)

    def known(self, name: str) -> App | None:
        """The registration at a provider, if there is one. Raises NotFound for an unknown provider."""
        provider = provider_of(name)
        return self._own.get(provider.name) or self._settings.get(provider.name)

    def get(self, name: str) -> App:
        """The same. Raises NotFound, and Conflict when the hive has none."""
        found = self.known(name)
        if found is None:
            provider = provider_of(name)
            raise Conflict(
                f"This hive has no app at {provider.title}: register one at {provider.console_url} and give its id "
                f"with `skep cloud provider set {provider.name} --client-id ID`.",
                provider=provider.name,
            )
        return found

    async def set(self, name: str, client_id: str, client_secret: str | None, base_url: str | None = None) -> App:
        """Register, or change, the hive's app. Raises NotFound, BadInput."""
        provider = provider_of(name)
        for what, text in (("client id", client_id), ("client secret", client_secret or "x")):
            if not text or len(text) > CLIENT_MAX or not text.isprintable():
                raise BadInput(f"The {what} of an app is 1 to {CLIENT_MAX} printable characters.")
        if base_url is not None and urlsplit(base_url).scheme not in ("http", "https"):
            raise BadInput("A gateway's address is http://host or https://host.")
        sealed = None
        if client_secret is not None:
            sealed = seal_record(self._key, client_secret.encode(), _purpose(provider.name))

        def work(tx: Transaction) -> None:
            row = {"client_id": client_id, "sealed_secret": sealed, "base_url": base_url, "created_us": tx.now_us}
            tx.run(_PUT, {"provider": provider.name, **row})

        await self._db.write(work)
        self._own[provider.name] = App(provider.at(base_url), client_id, client_secret, "hive", base_url)
        return self._own[provider.name]

    async def forget(self, name: str) -> None:
        """Drop what an administrator registered; what the settings say counts again. Raises NotFound."""
        provider = provider_of(name)
        await self._db.write(lambda tx: tx.run(_DELETE, {"name": provider.name}))
        self._own.pop(provider.name, None)


def _purpose(name: str) -> bytes:
    return b"cloud app " + name.encode()
