"""Rows of identity providers and of the identities that they vouch for: plain functions over a transaction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from skep.base.errors import AlreadyExists, BadInput, LimitReached, NotFound
from skep.base.ids import Id, new_id
from skep.crypto.sealing import open_record, seal_record
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_signin import identities, identity_providers

PROVIDERS_MAX: Final = 50
NAME_SHAPE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_Text = Annotated[str, Meta(max_length=200)]


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider's claims mean here. All but ``scopes`` and the claims' names are off unless given.

    ``groups``: their group's name to a group of this hive; memberships of exactly these groups follow each login.
    ``admin_group``: theirs, whose members are administrators here, and nobody else of that provider.
    ``quotas``: their group's name to bytes of space; the largest that applies counts at each login.
    """

    scopes: _Text = "openid profile email"
    name_claim: _Text = "preferred_username"
    groups_claim: _Text = "groups"
    groups: dict[_Text, _Text] = {}
    admin_group: _Text = ""
    quotas: dict[_Text, Annotated[int, Meta(ge=0, le=2**62)]] = {}
    create_users: bool = False
    link_by_email: bool = False
    """Take who has the same address, if the provider says that it was verified, for the same person."""


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A provider without its secret."""

    id: Id
    name: str
    issuer: str
    client_id: str
    has_secret: bool
    rules: ClaimRules
    created_us: int


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider and the secret that it knows the hive by."""

    info: ProviderInfo
    sealed_secret: bytes | None = field(repr=False)

    def secret(self, key: bytes) -> str | None:
        """The secret in the clear. Raises CorruptRecord."""
        return (
            None if self.sealed_secret is None else open_record(key, self.sealed_secret, _bound(self.info.id)).decode()
        )


_SELECT = sa.select(*identity_providers.c)
_ALL = prepared(_SELECT.order_by(identity_providers.c.name).limit(PROVIDERS_MAX))
_BY_NAME = prepared(_SELECT.where(identity_providers.c.name == sa.bindparam("called")))
_INSERT = insert_new(identity_providers)
_DELETE = prepared(sa.delete(identity_providers).where(identity_providers.c.id == sa.bindparam("provider")))
_DROP_IDENTITIES = prepared(sa.delete(identities).where(identities.c.provider_id == sa.bindparam("provider")))
_DROP_OF_USER = prepared(sa.delete(identities).where(identities.c.user_id == sa.bindparam("user")))
_IDENTITY = prepared(
    sa.select(identities.c.user_id).where(
        identities.c.provider_id == sa.bindparam("provider"), identities.c.subject == sa.bindparam("who")
    )
)
_IDENTITIES_OF = prepared(
    sa.select(identity_providers.c.name, identities.c.subject, identities.c.last_used_us)
    .join(identity_providers, identity_providers.c.id == identities.c.provider_id)
    .where(identities.c.user_id == sa.bindparam("user"))
    .order_by(identity_providers.c.name)
    .limit(PROVIDERS_MAX)
)
_LINK = insert_new(identities)
_TOUCH = prepared(
    sa.update(identities)
    .where(identities.c.provider_id == sa.bindparam("provider"), identities.c.subject == sa.bindparam("who"))
    .values(last_used_us=sa.bindparam("now"))
)


def _row(found: tuple[Any, ...]) -> ProviderRow:
    provider_id, name, issuer, client_id, sealed, rules, created_us = found
    sealed = None if sealed is None else bytes(sealed)
    decoded = msgspec.json.decode(rules, type=ClaimRules)
    info = ProviderInfo(bytes(provider_id), name, issuer, client_id, sealed is not None, decoded, created_us)
    return ProviderRow(info, sealed)


def _bound(provider_id: Id) -> bytes:
    return b"skep identity provider " + provider_id


def list_provider_rows(tx: Transaction) -> list[ProviderRow]:
    """All providers by name."""
    return [_row(found) for found in tx.rows(_ALL)]


def the_provider(tx: Transaction, name: str) -> ProviderRow:
    """The provider of a name. Raises NotFound."""
    found = tx.one(_BY_NAME, {"called": name[:64]})
    if found is None:
        raise NotFound("no such identity provider: see which there are")
    return _row(found)


def insert_provider(
    tx: Transaction, key: bytes, *, name: str, issuer: str, client_id: str, secret: str | None, rules: ClaimRules
) -> ProviderInfo:
    """Keep a provider. Raises BadInput, AlreadyExists, LimitReached."""
    if not NAME_SHAPE.fullmatch(name):
        raise BadInput("an identity provider's name has 1 to 32 small letters, digits and dashes")
    if tx.one(_BY_NAME, {"called": name}) is not None:
        raise AlreadyExists(f"an identity provider of the name {name!r} is there: choose another", field="name")
    if len(tx.rows(_ALL)) >= PROVIDERS_MAX:
        raise LimitReached(f"there are {PROVIDERS_MAX} identity providers already")
    provider_id = new_id()
    row = {
        "id": provider_id,
        "name": name,
        "issuer": issuer,
        "client_id": client_id,
        "sealed_secret": None if secret is None else seal_record(key, secret.encode(), _bound(provider_id)),
        "rules": msgspec.json.encode(rules).decode(),
        "created_us": tx.now_us,
    }
    tx.run(_INSERT, row)
    return ProviderInfo(provider_id, name, issuer, client_id, secret is not None, rules, tx.now_us)


def remove_provider(tx: Transaction, provider_id: Id) -> None:
    """Delete a provider and the identities that it vouched for; the users stay."""
    tx.run(_DROP_IDENTITIES, {"provider": provider_id})
    tx.run(_DELETE, {"provider": provider_id})


def find_identity(tx: Transaction, provider_id: Id, subject: str) -> Id | None:
    """The user whom a provider means by a subject."""
    found = tx.value(_IDENTITY, {"provider": provider_id, "who": subject})
    return None if found is None else bytes(found)


def link_identity(tx: Transaction, provider_id: Id, subject: str, user_id: Id) -> None:
    """Let a subject of a provider be this user from now on."""
    row = {"provider_id": provider_id, "subject": subject, "user_id": user_id}
    tx.run(_LINK, {**row, "created_us": tx.now_us, "last_used_us": tx.now_us})


def touch_identity(tx: Transaction, provider_id: Id, subject: str) -> None:
    """Note that it signed in."""
    tx.run(_TOUCH, {"provider": provider_id, "who": subject, "now": tx.now_us})


def identities_of(tx: Transaction, user_id: Id) -> list[tuple[str, str, int]]:
    """Provider, subject and last use (µs) of each identity of a user."""
    return [(name, subject, used_us) for name, subject, used_us in tx.rows(_IDENTITIES_OF, {"user": user_id})]


def drop_identities(tx: Transaction, user_id: Id) -> None:
    """Delete all of a user."""
    tx.run(_DROP_OF_USER, {"user": user_id})
