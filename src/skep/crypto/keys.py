"""The key hierarchy. Format page: docs/formats/keys.md.

::

    master key (32 bytes: a file, the environment, or a passphrase)
    ├── hive keys: index, shard, snapshot, secrets, token      derived, never stored
    ├── wrap key: seals domain secrets, store secrets, ...      derived, never stored
    └── key check: recognises a wrong master key                derived, stored in the clear

    domain secret (32 random bytes, stored wrapped; a constant for the public domain)
    └── id, seal and nonce keys, cut seed                       derived, never stored

What always holds: two keys of different purpose come from different derivation contexts; a
domain's keys depend on its id and generation as well as on its secret.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw

from skep.base.chance import random_bytes
from skep.base.errors import CorruptRecord, KeyWrong, Misconfigured
from skep.base.ids import Id
from skep.crypto.hashing import KEY_BYTES, derive_key, digest
from skep.crypto.keyfile import read_key_text, write_key_text
from skep.crypto.sealing import open_record, seal_record

SALT_BYTES = 16
_KEY_ID_BYTES = 8
_TEXT_PREFIX = "skep-master-1-"
_CHECK_BYTES = 4
_CUT_SEED_MASK = (1 << 63) - 1
# Argon2id, version 1.3 (RFC 9106): 64 MiB, three passes, one lane.
_ARGON2_MEMORY_KIB = 65536
_ARGON2_PASSES = 3
_ARGON2_LANES = 1

PUBLIC_DOMAIN_ID: Id = bytes.fromhex("00000000000080008000736b65700001")
"""The domain whose secret everybody knows: its keys travel with its hashes."""


@dataclass(frozen=True, slots=True)
class HiveKeys:
    """The hive's own keys, 32 bytes each."""

    index_key: bytes = field(repr=False)
    """Seals the index of each pack."""
    shard_key: bytes = field(repr=False)
    """Authenticates the blocks of shards."""
    snapshot_key: bytes = field(repr=False)
    """Seals snapshots of the metadata."""
    secrets_key: bytes = field(repr=False)
    """Seals the secrets of stores and users at rest."""
    token_key: bytes = field(repr=False)
    """Hashes tokens and app passwords; seals signing keys."""


class MasterKey:
    """The one secret that the owner of a hive has to keep."""

    __slots__ = ("_master", "_wrap_id", "_wrap_key")

    def __init__(self, master: bytes) -> None:
        """Of 32 bytes of uniform randomness."""
        if len(master) != KEY_BYTES:
            raise KeyWrong(f"a master key has {KEY_BYTES} bytes, this one has {len(master)}")
        self._master = master
        self._wrap_key = derive_key("skep 2026 master wrap key v1", master)
        self._wrap_id = derive_key("skep 2026 master key id v1", master, _KEY_ID_BYTES)

    def __repr__(self) -> str:
        return f"MasterKey(id={self._wrap_id.hex()})"

    @classmethod
    def create(cls) -> MasterKey:
        """A new key from the system's randomness."""
        return cls(random_bytes(KEY_BYTES))

    @classmethod
    def from_file(cls, path: Path | str) -> MasterKey:
        """Read a key file.

        Raises KeyMissing when it cannot be read, Misconfigured when others may read it, KeyWrong
        when it holds something else.
        """
        return cls.from_text(read_key_text(Path(path)))

    def write_file(self, path: Path | str) -> None:
        """Write a new key file of mode 0600, durably. Raises Misconfigured when one is there already."""
        write_key_text(Path(path), self.text())

    @classmethod
    def from_text(cls, text: str) -> MasterKey:
        """Read the one-line text form that ``text()`` gives.

        Raises KeyWrong when the text is not that of a master key, or was mistyped.
        """
        line = text.strip()
        parts = line.removeprefix(_TEXT_PREFIX).split("-")
        try:
            master, check = (bytes.fromhex(part) for part in parts)
        except ValueError:
            master, check = b"", b""
        if not line.startswith(_TEXT_PREFIX) or len(master) != KEY_BYTES:
            raise KeyWrong(f"this is not a master key: it is one line that starts with {_TEXT_PREFIX}")
        if not hmac.compare_digest(check, _text_check(master)):
            raise KeyWrong("the master key is mistyped: its last 8 characters do not fit the others")
        return cls(master)

    @classmethod
    def from_passphrase(cls, text: str, salt: bytes) -> MasterKey:
        """Stretch a passphrase with Argon2id (about a tenth of a second, 64 MiB).

        ``salt`` is 16 random bytes that the hive keeps in the clear.
        """
        if not text:
            raise Misconfigured("the passphrase is empty: give one, or use a key file")
        if len(salt) != SALT_BYTES:
            raise Misconfigured(f"the passphrase's salt has {len(salt)} bytes instead of {SALT_BYTES}")
        return cls(
            hash_secret_raw(
                text.encode(),
                salt,
                time_cost=_ARGON2_PASSES,
                memory_cost=_ARGON2_MEMORY_KIB,
                parallelism=_ARGON2_LANES,
                hash_len=KEY_BYTES,
                type=Type.ID,
            )
        )

    def text(self) -> str:
        """The key as one line of text, with a check against typing errors. Secret."""
        return f"{_TEXT_PREFIX}{self._master.hex()}-{_text_check(self._master).hex()}"

    def wrap(self, plain: bytes, purpose: bytes) -> bytes:
        """Seal a secret under this key, for one purpose (``b"domain " + id``, say)."""
        return self._wrap_id + seal_record(self._wrap_key, plain, purpose)

    def unwrap(self, sealed: bytes, purpose: bytes) -> bytes:
        """Open what ``wrap`` sealed.

        Raises KeyWrong when another master key sealed it; CorruptRecord when its bytes changed or
        it was sealed for another purpose.
        """
        if len(sealed) < _KEY_ID_BYTES:
            raise CorruptRecord(f"a wrapped secret has only {len(sealed)} bytes")
        if sealed[:_KEY_ID_BYTES] != self._wrap_id:
            raise KeyWrong(
                f"a secret is wrapped by master key {sealed[:_KEY_ID_BYTES].hex()}, "
                f"and this is master key {self._wrap_id.hex()}: give the key that this hive was made with"
            )
        return open_record(self._wrap_key, sealed[_KEY_ID_BYTES:], purpose)

    def key_check(self) -> bytes:
        """32 bytes that a hive stores in the clear, to recognise a wrong key at its start."""
        return derive_key("skep 2026 master key check v1", self._master)

    def require(self, stored_check: bytes) -> None:
        """Raise KeyWrong unless ``stored_check`` is this key's ``key_check()``."""
        if not hmac.compare_digest(stored_check, self.key_check()):
            raise KeyWrong(
                f"master key {self._wrap_id.hex()} is not the one this hive was made with: "
                "look at keys.master_key_file, or restore the key from its backup"
            )

    def hive_keys(self) -> HiveKeys:
        """The keys of the hive itself."""
        names = ("index", "shard", "snapshot", "secrets", "token")
        return HiveKeys(*(derive_key(f"skep 2026 hive {name} key v1", self._master) for name in names))


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """What one generation of one deduplication domain seals with."""

    domain_id: Id
    generation: int
    id_key: bytes = field(repr=False)
    """Keys the hash that names a chunk."""
    seal_key: bytes = field(repr=False)
    """Gives each chunk its own key."""
    nonce_key: bytes = field(repr=False)
    """Keys the hash that becomes the nonce of a compressed chunk."""
    cut_seed: int = field(repr=False)
    """Moves the cut points: 63 bits."""

    @classmethod
    def derive(cls, domain_id: Id, generation: int, secret: bytes) -> DomainKeys:
        """From the 32-byte secret of this generation (1 and up) of the domain."""
        assert len(secret) == KEY_BYTES
        assert len(domain_id) == 16
        assert 0 < generation < 1 << 32
        material = secret + domain_id + generation.to_bytes(4, "little")
        return cls(
            domain_id,
            generation,
            derive_key("skep 2026 domain id key v1", material),
            derive_key("skep 2026 domain seal key v1", material),
            derive_key("skep 2026 domain nonce key v1", material),
            int.from_bytes(derive_key("skep 2026 domain cut seed v1", material, 8), "little") & _CUT_SEED_MASK,
        )


def public_domain_keys() -> DomainKeys:
    """The keys of the public domain, the same in every hive: convergent on purpose."""
    return DomainKeys.derive(PUBLIC_DOMAIN_ID, 1, derive_key("skep 2026 public domain secret v1", b""))


def _text_check(master: bytes) -> bytes:
    return digest(b"skep master key text", master)[:_CHECK_BYTES]
