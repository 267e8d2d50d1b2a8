"""Dedup domains: the secrets from which chunk ids and keys come, wrapped by the master key."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from skep.base.chance import random_bytes
from skep.base.errors import CorruptRecord
from skep.base.ids import Id, new_id
from skep.crypto.keys import PUBLIC_DOMAIN_ID, DomainKeys, MasterKey, public_domain_keys
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s

Sharing = Literal["account", "hive"]
"""Who deduplicates against whom: each account by itself, or all of the hive."""

_INSERT = insert_new(s.domains)
_BY_ID = prepared(
    sa.select(s.domains.c.generation, s.domains.c.wrapped_secret).where(s.domains.c.id == sa.bindparam("id"))
)
_OF_HIVE = prepared(sa.select(s.domains.c.id).where(s.domains.c.kind == "hive").limit(1))
_OF_SERVICE = prepared(
    sa.select(s.domains.c.id)
    .where(s.domains.c.kind == sa.bindparam("kind"), s.domains.c.owner_id == sa.bindparam("owner"))
    .order_by(s.domains.c.created_us)
    .limit(1)
)
_ALL = prepared(sa.select(s.domains.c.id).order_by(s.domains.c.id))

GENERATION = 1


def _purpose(domain_id: Id, generation: int) -> bytes:
    return b"domain " + domain_id + generation.to_bytes(4, "big")


class Domains:
    """Makes domains and hands out their keys, which it keeps once unwrapped."""

    def __init__(self, db: Database, master: MasterKey, sharing: Sharing = "account") -> None:
        self._db = db
        self._master = master
        self._sharing = sharing
        self._keys: dict[Id, DomainKeys] = {PUBLIC_DOMAIN_ID: public_domain_keys()}

    def create(self, tx: Transaction, owner_id: Id) -> Id:
        """The domain for a new account: its own, or the hive's when the hive shares one."""
        if self._sharing == "hive":
            shared = tx.value(_OF_HIVE)
            return bytes(shared) if shared is not None else self._insert(tx, "hive", None)
        return self._insert(tx, "account", owner_id)

    def of_service(self, tx: Transaction, kind: str, owner_id: Id) -> Id:
        """The domain of what somebody sends to members of one kind (``array``, ``cloud``, ``both``), made if need be.

        It is their own whatever the hive shares: its packs lie on those members alone.
        """
        found = tx.value(_OF_SERVICE, {"kind": kind, "owner": owner_id})
        return bytes(found) if found is not None else self._insert(tx, kind, owner_id)

    def _insert(self, tx: Transaction, kind: str, owner_id: Id | None) -> Id:
        domain_id = new_id()
        wrapped = self._master.wrap(random_bytes(32), _purpose(domain_id, GENERATION))
        tx.run(
            _INSERT,
            {
                "id": domain_id,
                "kind": kind,
                "owner_id": owner_id,
                "generation": GENERATION,
                "wrapped_secret": wrapped,
                "created_us": tx.now_us,
            },
        )
        return domain_id

    async def keys(self, domain_id: Id) -> DomainKeys:
        """The keys of a domain. Raises KeyWrong when the master key did not wrap them."""
        known = self._keys.get(domain_id)
        if known is None:
            row = await self._db.read(lambda tx: tx.one(_BY_ID, {"id": domain_id}))
            known = self._keys[domain_id] = self._unwrap(domain_id, row)
        return known

    def _unwrap(self, domain_id: Id, row: tuple[int, bytes] | None) -> DomainKeys:
        if row is None:
            raise CorruptRecord(f"domain {domain_id.hex()} has no row: restore the database with `skep recover`")
        generation, wrapped = row
        secret = self._master.unwrap(wrapped, _purpose(domain_id, generation))
        return DomainKeys.derive(domain_id, generation, secret)

    async def ids(self) -> list[Id]:
        """Every domain of the hive, the public one first."""
        rows = await self._db.read(lambda tx: tx.rows(_ALL))
        return [PUBLIC_DOMAIN_ID, *(row[0] for row in rows)]
