"""Who a hive is: its id and the check of its master key, in the database since its first start.

What always holds: the rows ``id`` and ``key-check`` are written together, once; a hive opens only
with the master key that its ``key-check`` was made from.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.chance import random_bytes
from skep.base.errors import KeyMissing, Misconfigured
from skep.base.ids import Id, new_id
from skep.base.settings import Settings
from skep.crypto.keys import MasterKey
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.db.snapshot import loading
from skep.durability.recover import recovering
from skep.durability.snapshots import KeyHint

_VALUE = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == sa.bindparam("row")))
_INSERT = insert_new(s.hive, or_ignore=True)
ID, KEY_CHECK, SALT, CREATED = "id", "key-check", "key-salt", "created-us"
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """A hive's id and its master key."""

    hive_id: Id
    master: MasterKey
    salt: bytes = b""
    """Of the passphrase that the master key may be made from."""

    @property
    def hint(self) -> KeyHint:
        """What snapshots say of the key, so that a recovery needs nothing else."""
        return KeyHint(self.master.key_check(), self.salt)


async def open_identity(db: Database, settings: Settings) -> Identity:
    """The hive in this database. Raises KeyMissing, KeyWrong, Misconfigured; KeyMissing also before set-up."""
    found = await db.read(_read)
    if found is None:
        raise KeyMissing("This database holds no hive yet: `skep up` makes one.")
    hive_id, check, salt = found
    master = load_master(settings, salt)
    master.require(check)
    return Identity(hive_id, master, salt)


async def make_identity(db: Database, settings: Settings) -> tuple[Identity, bool]:
    """The hive in this database, made if there is none; and whether it was made now.

    The master key must be there already (a file, or a variable). Raises what ``open_identity`` does.
    """
    if await db.read(_read) is not None:
        return await open_identity(db, settings), False
    salt = random_bytes(SALT_BYTES)
    master = load_master(settings, salt)
    hive_id = new_id()

    def work(tx: Transaction) -> None:
        rows = {ID: hive_id, KEY_CHECK: master.key_check(), SALT: salt, CREATED: tx.now_us.to_bytes(8, "big")}
        tx.many(_INSERT, [{"name": name, "value": value} for name, value in rows.items()])

    await db.write(work)
    return await open_identity(db, settings), True


def load_master(settings: Settings, salt: bytes) -> MasterKey:
    """The master key from the settings: as text, as a passphrase, or as a file. Raises KeyMissing, KeyWrong."""
    keys = settings.keys
    if keys.master_key:
        return MasterKey.from_text(keys.master_key)
    if keys.passphrase:
        return MasterKey.from_passphrase(keys.passphrase, salt)
    return MasterKey.from_file(settings.master_key_path())


def _read(tx: Transaction) -> tuple[Id, bytes, bytes] | None:
    if recovering(tx) or loading(tx):
        raise Misconfigured("A recovery into this database was cut short: run `skep recover` again.")
    hive_id, check, salt = (tx.value(_VALUE, {"row": row}) for row in (ID, KEY_CHECK, SALT))
    if hive_id is None or check is None:
        return None
    return bytes(hive_id), bytes(check), bytes(salt or b"")
