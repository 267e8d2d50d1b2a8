"""SSH public keys of users: reading them, and their rows. Plain functions over a transaction.

A key is the line that ``ssh-keygen`` writes into its ``.pub`` file (RFC 4253 section 6.6 for the blob): a type,
base64, a comment. Nothing of it is secret; what names it is the SHA-256 of the blob, as ``ssh-keygen -l`` shows it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from skep.auth.records import SshKeyInfo
from skep.auth.scopes import scopes_from_text, scopes_text
from skep.base.errors import AlreadyExists, BadInput, LimitReached, NotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import ssh_keys

SSH_KEYS_MAX: Final = 100
"""Keys of one user."""
KEY_LENGTH_MAX: Final = 16_384
RSA_BITS_MIN: Final = 2048
_TOUCH_EVERY_US: Final = 3_600_000_000
_ON_TOKENS: Final = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})
_TYPES: Final = frozenset(
    {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"} | _ON_TOKENS
)

_c = ssh_keys.c
_SELECT = sa.select(_c.id, _c.name, _c.kind, _c.fingerprint, _c.scopes, _c.created_us, _c.last_used_us)
_OF_USER = prepared(_SELECT.where(_c.user_id == sa.bindparam("user")).order_by(_c.id).limit(sa.bindparam("page")))
_ONE = prepared(_SELECT.where(_c.user_id == sa.bindparam("user"), _c.fingerprint == sa.bindparam("print")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(ssh_keys).where(_c.user_id == sa.bindparam("user")))
_INSERT = insert_new(ssh_keys)
_TOUCH = prepared(sa.update(ssh_keys).where(_c.id == sa.bindparam("key")).values(last_used_us=sa.bindparam("now")))
_DELETE = prepared(sa.delete(ssh_keys).where(_c.id == sa.bindparam("key"), _c.user_id == sa.bindparam("user")))
_DELETE_OF_USER = prepared(sa.delete(ssh_keys).where(_c.user_id == sa.bindparam("user")))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key as it was read."""

    kind: str
    """Its type in SSH's words: ``ssh-ed25519``."""
    fingerprint: bytes
    """SHA-256 of the blob."""
    comment: str


def parse_public_key(text: str) -> PublicKey:
    """Read one line of a ``.pub`` or ``authorized_keys`` file without options.

    Raises BadInput for what is no public key, a private key, a type that is not taken, a short RSA key.
    """
    if "PRIVATE KEY" in text:
        raise BadInput("that is a private key: never give it away; the public key is in the file that ends in .pub")
    lines = text.strip().splitlines()
    words = lines[0].split(None, 2) if len(lines) == 1 and len(text) <= KEY_LENGTH_MAX else []
    if len(words) < 2 or words[0] not in _TYPES:
        raise BadInput(f"that is not one SSH public key: give the line of a .pub file, which begins with one of "
                       f"{', '.join(sorted(_TYPES))}")  # fmt: skip
    kind, encoded = words[0], words[1]
    try:
        blob = base64.b64decode(encoded, validate=True)
        if _first_string(blob) != kind.encode():
            raise ValueError("another type inside")
        if kind not in _ON_TOKENS:
            loaded = load_ssh_public_key(f"{kind} {encoded}".encode())
            if isinstance(loaded, RSAPublicKey) and loaded.key_size < RSA_BITS_MIN:
                raise BadInput(f"an RSA key of {loaded.key_size} bits is too weak: make one with ssh-keygen -t ed25519")
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise BadInput(f"that {kind} key is damaged: copy the whole line of the .pub file") from None
    return PublicKey(kind, fingerprint_of(blob), words[2] if len(words) == 3 else "")


def fingerprint_of(blob: bytes) -> bytes:
    """What names a public key: the SHA-256 of its wire form (RFC 4253 section 6.6)."""
    return hashlib.sha256(blob).digest()


def fingerprint_text(fingerprint: bytes) -> str:
    """As ``ssh-keygen -l`` shows it: ``SHA256:`` and base64 without padding."""
    return "SHA256:" + base64.b64encode(fingerprint).rstrip(b"=").decode()


def _first_string(blob: bytes) -> bytes:
    length = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + length:
        raise ValueError("cut short")
    return blob[4 : 4 + length]


def _info(found: tuple[Any, ...]) -> SshKeyInfo:
    key_id, name, kind, fingerprint, scopes, created_us, last_used_us = found
    shown = fingerprint_text(bytes(fingerprint))
    return SshKeyInfo(bytes(key_id), name, kind, shown, scopes_from_text(scopes), created_us, last_used_us)


def find_ssh_key(tx: Transaction, user_id: Id, fingerprint: bytes) -> SshKeyInfo | None:
    """A user's key of that fingerprint, if they have it."""
    found = tx.one(_ONE, {"user": user_id, "print": fingerprint})
    return _info(found) if found else None


def insert_ssh_key(tx: Transaction, user_id: Id, key: PublicKey, *, name: str, scopes: frozenset[str]) -> SshKeyInfo:
    """Keep a new key. Raises LimitReached when the user has too many, AlreadyExists when they have this one."""
    if (tx.value(_COUNT, {"user": user_id}) or 0) >= SSH_KEYS_MAX:
        raise LimitReached(f"there are {SSH_KEYS_MAX} SSH keys already: remove some first")
    known = find_ssh_key(tx, user_id, key.fingerprint)
    if known is not None:
        raise AlreadyExists(f"that key is there already, as {known.name!r}", fingerprint=known.fingerprint)
    row = {
        "id": new_id(), "user_id": user_id, "name": name, "kind": key.kind, "fingerprint": key.fingerprint,
        "scopes": scopes_text(scopes), "created_us": tx.now_us, "last_used_us": None,
    }  # fmt: skip
    tx.run(_INSERT, row)
    made = find_ssh_key(tx, user_id, key.fingerprint)
    assert made is not None
    return made


def list_ssh_key_rows(tx: Transaction, user_id: Id) -> list[SshKeyInfo]:
    """A user's keys, oldest first."""
    return [_info(found) for found in tx.rows(_OF_USER, {"user": user_id, "page": SSH_KEYS_MAX})]


def touch_ssh_key(tx: Transaction, key_id: Id) -> None:
    """Write that it was used now."""
    tx.run(_TOUCH, {"key": key_id, "now": tx.now_us})


def wants_touch(key: SshKeyInfo, now_us: int) -> bool:
    """Whether its last use is so long ago that this one is worth a write."""
    return key.last_used_us is None or abs(now_us - key.last_used_us) >= _TOUCH_EVERY_US


def remove_ssh_key(tx: Transaction, user_id: Id, key_id: Id) -> None:
    """Delete one. Raises NotFound when the user has none of that id."""
    if tx.run(_DELETE, {"key": key_id, "user": user_id}) != 1:
        raise NotFound("no such SSH key: it may have been removed")


def drop_ssh_keys(tx: Transaction, user_id: Id) -> None:
    """Delete all of a user."""
    tx.run(_DELETE_OF_USER, {"user": user_id})
