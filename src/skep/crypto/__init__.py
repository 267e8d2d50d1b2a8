"""Hashing, sealing, the key hierarchy and signatures, each bound to a page in docs/formats.

Nothing here knows of files, stores or databases; nothing here keeps state but the keys
that it is given.
"""

from __future__ import annotations

from skep.crypto.hashing import Buffer, derive_key, digest, keyed_digest
from skep.crypto.keys import PUBLIC_DOMAIN_ID, DomainKeys, HiveKeys, MasterKey, public_domain_keys
from skep.crypto.sealing import RECORD_OVERHEAD_BYTES, open_record, seal_record
from skep.crypto.signatures import SigningKey, VerifyKey

__all__ = [
    "PUBLIC_DOMAIN_ID",
    "RECORD_OVERHEAD_BYTES",
    "Buffer",
    "DomainKeys",
    "HiveKeys",
    "MasterKey",
    "SigningKey",
    "VerifyKey",
    "derive_key",
    "digest",
    "keyed_digest",
    "open_record",
    "public_domain_keys",
    "seal_record",
]
