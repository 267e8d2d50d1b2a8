"""The keys that sign access tokens: made, sealed, published, rotated.

What always holds:
- exactly the newest key that is not retired signs; the table, not this object, says which;
- a private key is stored only sealed under the hive's token key, bound to its id;
- a retired key verifies until every token that it may have signed has expired, then it goes.

Other processes on the same database notice a new key by reading the table at least every
``RELOAD_S``; a token with an unknown key id makes them read it at once (at most once a second).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from joserfc.jwk import OKPKey

from skep.base.errors import CorruptRecord, InvalidToken
from skep.crypto.sealing import open_record, seal_record
from skep.crypto.signatures import SEED_BYTES
from skep.crypto.signatures import SigningKey as PrivateKey
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import signing_keys

RELOAD_S: Final = 60.0
RELOAD_UNKNOWN_S: Final = 1.0

_ALL = prepared(
    sa.select(
        signing_keys.c.id, signing_keys.c.sealed_private, signing_keys.c.created_us, signing_keys.c.retired_us
    ).order_by(signing_keys.c.created_us, signing_keys.c.id)
)
_INSERT = insert_new(signing_keys)
_RETIRE = prepared(
    sa.update(signing_keys)
    .where(signing_keys.c.id != sa.bindparam("key"), signing_keys.c.retired_us.is_(None))
    .values(retired_us=sa.bindparam("now"))
)
_PURGE = prepared(
    sa.delete(signing_keys).where(
        signing_keys.c.retired_us.is_not(None), signing_keys.c.retired_us <= sa.bindparam("before")
    )
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of the table, opened."""

    id: str
    key: OKPKey
    created_us: int
    retired_us: int | None

    def published(self) -> dict[str, str]:
        """The public key as a JWK (RFC 7517, RFC 8037)."""
        public = self.key.as_dict(private=False)
        return {"kty": "OKP", "crv": "Ed25519", "x": str(public["x"]), "kid": self.id, "use": "sig", "alg": "EdDSA"}


class Keyring:
    """The keys as last read: an immutable answer to which key signs and which verify."""

    def __init__(self, keys: tuple[SigningKey, ...] = (), *, read_at_s: float = float("-inf")) -> None:
        self._by_id = {key.id: key for key in keys}
        self._signer = next((key for key in reversed(keys) if key.retired_us is None), None)
        self.read_at_s = read_at_s

    @property
    def signer(self) -> SigningKey | None:
        """The key that signs now."""
        return self._signer

    def knows(self, key_id: str) -> bool:
        """Whether a token of this key id can be verified."""
        return key_id in self._by_id

    def verifier(self, key_id: str) -> OKPKey:
        """The key of an id. Raises InvalidToken."""
        found = self._by_id.get(key_id)
        if found is None:
            raise InvalidToken("the token was signed with a key that this hive does not have (any more): log in again")
        return found.key

    def jwks(self) -> dict[str, Any]:
        """The JWK set: every key that still verifies, newest last."""
        return {"keys": [key.published() for key in self._by_id.values()]}


def load_keyring(tx: Transaction, token_key: bytes, *, read_at_s: float, expired_before_us: int) -> Keyring:
    """Read the table; keys retired before a time are left out. Raises CorruptRecord when a key does not open."""
    found = []
    for key_id, sealed, created_us, retired_us in tx.rows(_ALL):
        if retired_us is None or retired_us > expired_before_us:
            seed = open_record(token_key, bytes(sealed), _bound_to(key_id))
            found.append(SigningKey(key_id, _jwk(seed, key_id), created_us, retired_us))
    found.sort(key=lambda key: (key.retired_us is None, key.created_us))  # the signer last, whatever the clocks did
    return Keyring(tuple(found), read_at_s=read_at_s)


def ensure_key(tx: Transaction, token_key: bytes) -> None:
    """Make the first signing key, if there is none that signs."""
    if not any(retired_us is None for _, _, _, retired_us in tx.rows(_ALL)):
        add_key(tx, token_key)


def add_key(tx: Transaction, token_key: bytes) -> str:
    """Make a new signing key and retire the others; its id."""
    made = PrivateKey.generate()
    key_id = made.verify_key.thumbprint()
    row = {
        "id": key_id,
        "sealed_private": seal_record(token_key, made.seed(), _bound_to(key_id)),
        "public": made.verify_key.raw,
        "created_us": tx.now_us,
        "retired_us": None,
    }
    tx.run(_INSERT, row)
    tx.run(_RETIRE, {"key": key_id, "now": tx.now_us})
    return key_id


def rotate_if_due(tx: Transaction, token_key: bytes, *, every_us: int) -> bool:
    """Make a new key when the one that signs is older than ``every_us``; whether it did."""
    ages = [created_us for _, _, created_us, retired_us in tx.rows(_ALL) if retired_us is None]
    if ages and tx.now_us - max(ages) < every_us:
        return False
    add_key(tx, token_key)
    return True


def purge_keys(tx: Transaction, *, expired_before_us: int) -> int:
    """Delete keys retired before a time; how many."""
    return tx.run(_PURGE, {"before": expired_before_us})


def _bound_to(key_id: str) -> bytes:
    return b"skep signing key " + key_id.encode()


def _jwk(seed: bytes, key_id: str) -> OKPKey:
    """The key as joserfc wants it. Raises CorruptRecord when the seed is not that of the key id."""
    if len(seed) != SEED_BYTES or PrivateKey(seed).verify_key.thumbprint() != key_id:
        raise CorruptRecord(f"the signing key {key_id} is not what was stored: restore the database, or delete its row")
    secret = base64.urlsafe_b64encode(seed).rstrip(b"=").decode()
    fields: dict[str, str | list[str]] = {**PrivateKey(seed).verify_key.jwk(), "d": secret, "use": "sig", "kid": key_id}
    return OKPKey.import_key(fields)
