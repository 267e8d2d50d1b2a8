"""``skep-store.json``: whose place this is. A versioned record, readable by people; the same in every kind of store.

{"format": "skep-store", "version": 1, "hive_id": "...", "store_id": "...", "created_us": 1780000000000000}
"""

from __future__ import annotations

import msgspec

from skep.base.errors import CorruptRecord, InvalidId
from skep.base.ids import id_text, parse_id
from skep.stores.identity import StoreIdentity

MARKER_NAME = "skep-store.json"
MARKER_SIZE_MAX_BYTES = 4_096
_VERSION = 1


class _Record(msgspec.Struct, frozen=True):
    format: str
    version: int
    hive_id: str = ""
    store_id: str = ""
    created_us: int = 0


def encode_marker(identity: StoreIdentity) -> bytes:
    """The record of an identity."""
    record = _Record("skep-store", _VERSION, id_text(identity.hive_id), id_text(identity.store_id), identity.created_us)
    return msgspec.json.encode(record) + b"\n"


def decode_marker(raw: bytes) -> StoreIdentity:
    """Raises CorruptRecord when it is damaged or of a newer version."""
    try:
        record = msgspec.json.decode(raw, type=_Record)
        if record.format == "skep-store" and record.version > _VERSION:
            raise CorruptRecord(
                f"{MARKER_NAME} is of version {record.version}, this Skep knows {_VERSION}: install a newer Skep",
                version=record.version,
            )
        if record.format != "skep-store" or record.version != _VERSION:
            raise CorruptRecord(f"{MARKER_NAME} is not a store's marker: is this the right place?")
        return StoreIdentity(parse_id(record.hive_id), parse_id(record.store_id), record.created_us)
    except (msgspec.DecodeError, InvalidId):
        raise CorruptRecord(
            f"{MARKER_NAME} is damaged: restore it, or claim the store again after removing it"
        ) from None
