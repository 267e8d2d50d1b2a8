"""The tables of uploads and parts: finding, holding, releasing. Synchronous, inside a transaction.

What always holds, with the row of the space locked:
- ``uploads.held_bytes`` and ``part_count`` are the sum and number of the upload's parts, and these bytes are in
  ``spaces.used_bytes``; every chunk occurrence in a part's manifest is one reference;
- an upload that is ``done`` holds nothing; one that is ``gone`` takes nothing more and is purged step by step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from skep.base.errors import SkepError, UploadExpired, UploadFinished, UploadNotFound
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared, upsert
from skep.db import schema as s
from skep.filesystem.records import ALWAYS, Conditions
from skep.filesystem.uploads.records import PartInfo, State, Upload

if TYPE_CHECKING:
    from skep.auth.records import Principal


class Row(NamedTuple):
    """A row of ``uploads``."""

    id: Id
    user_id: Id
    space_id: Id
    """The space that pays."""
    through_id: Id
    """The same, or the share through which it is seen."""
    door: str
    key: str | None
    path: str | None
    state: State
    length_bytes: int | None
    held_bytes: int
    part_count: int
    mime: str | None
    modified_us: int | None
    conditions: str | None
    digests: str | None
    metadata: str | None
    node_id: Id | None
    version_number: int | None
    joined_id: Id | None
    created_us: int
    expires_us: int


class Part(NamedTuple):
    """A row of ``upload_parts`` without its upload."""

    number: int
    size_bytes: int
    manifest: bytes
    md5: bytes | None
    checksums: str | None
    created_us: int


_u, _p = s.uploads.c, s.upload_parts.c
COLUMNS = tuple(_u[name] for name in Row._fields)
_PART_COLUMNS = tuple(_p[name] for name in Part._fields)
_INSERT = insert_new(s.uploads)
_BY_ID = prepared(sa.select(*COLUMNS).where(_u.id == sa.bindparam("upload")))
_BY_KEY = prepared(
    sa.select(*COLUMNS).where(
        _u.user_id == sa.bindparam("user"), _u.door == sa.bindparam("door"), _u.key == sa.bindparam("key")
    )
)
_COUNT = prepared(sa.select(sa.func.count()).where(_u.user_id == sa.bindparam("user"), _u.state == "open"))
_PAGE = prepared(
    sa.select(*COLUMNS)
    .where(
        _u.space_id == sa.bindparam("space"),
        _u.user_id == sa.bindparam("user"),
        _u.door == sa.bindparam("door"),
        _u.state == "open",
    )
    .order_by(_u.created_us, _u.id)
    .limit(sa.bindparam("count"))
)
_OF_SPACE = prepared(sa.select(*COLUMNS).where(_u.space_id == sa.bindparam("space")).limit(1))
_OF_USER = prepared(sa.select(*COLUMNS).where(_u.user_id == sa.bindparam("user")).limit(1))
_EXPIRED = prepared(sa.select(*COLUMNS).where(_u.expires_us <= sa.bindparam("now_us")).order_by(_u.expires_us).limit(1))
_HOLD = prepared(
    sa.update(s.uploads)
    .where(_u.id == sa.bindparam("upload"))
    .values(
        held_bytes=_u.held_bytes + sa.bindparam("delta_bytes"),
        part_count=_u.part_count + sa.bindparam("delta_parts"),
        length_bytes=sa.bindparam("new_length_bytes"),
        expires_us=sa.bindparam("new_expires_us"),
    )
)
_SET_DONE = prepared(
    sa.update(s.uploads)
    .where(_u.id == sa.bindparam("upload"))
    .values(
        state="done",
        key=None,
        held_bytes=0,
        part_count=0,
        length_bytes=sa.bindparam("new_length_bytes"),
        node_id=sa.bindparam("new_node_id"),
        version_number=sa.bindparam("new_version_number"),
        joined_id=sa.bindparam("new_joined_id"),
        expires_us=sa.bindparam("new_expires_us"),
    )
)
_SET_GONE = prepared(
    sa.update(s.uploads)
    .where(_u.id == sa.bindparam("upload"))
    .values(state="gone", key=None, expires_us=sa.bindparam("now_us"))
)
_DELETE = prepared(sa.delete(s.uploads).where(_u.id == sa.bindparam("upload")))
_PART = prepared(
    sa.select(*_PART_COLUMNS).where(_p.upload_id == sa.bindparam("upload"), _p.number == sa.bindparam("number"))
)
_LAST = prepared(
    sa.select(*_PART_COLUMNS).where(_p.upload_id == sa.bindparam("upload")).order_by(_p.number.desc()).limit(1)
)
_PARTS = prepared(
    sa.select(*_PART_COLUMNS)
    .where(_p.upload_id == sa.bindparam("upload"), _p.number > sa.bindparam("after"))
    .order_by(_p.number)
    .limit(sa.bindparam("count"))
)
_INFOS = prepared(
    sa.select(*[sa.literal_column("''") if name == "manifest" else _p[name] for name in Part._fields])
    .where(_p.upload_id == sa.bindparam("upload"), _p.number > sa.bindparam("after"))
    .order_by(_p.number)
    .limit(sa.bindparam("count"))
)
_PUT_PART = upsert(
    s.upload_parts, ["upload_id", "number"], ["size_bytes", "manifest", "md5", "checksums", "created_us"]
)
_DELETE_PART = prepared(
    sa.delete(s.upload_parts).where(_p.upload_id == sa.bindparam("upload"), _p.number == sa.bindparam("number"))
)
_DELETE_PARTS = prepared(sa.delete(s.upload_parts).where(_p.upload_id == sa.bindparam("upload")))


def insert(tx: Transaction, row: Row) -> None:
    """Write a new upload."""
    tx.run(_INSERT, row._asdict())


def by_id(tx: Transaction, upload_id: Id) -> Row | None:
    """The row of an upload."""
    found = tx.one(_BY_ID, {"upload": upload_id})
    return None if found is None else Row._make(found)


def by_key(tx: Transaction, user_id: Id, door: str, key: str) -> Row | None:
    """The upload that a client calls so."""
    found = tx.one(_BY_KEY, {"user": user_id, "door": door, "key": key})
    return None if found is None else Row._make(found)


def owned(tx: Transaction, principal: Principal, door: str, upload_id: Id) -> Row:
    """A principal's own upload at this door. Raises UploadNotFound, UploadExpired."""
    row = by_id(tx, upload_id)
    if row is None or row.user_id != principal.user_id or row.door != door:
        raise UploadNotFound("no such upload: it is finished and forgotten, or was never opened; open a new one")
    if row.state == "gone" or row.expires_us <= tx.now_us:
        raise UploadExpired("the upload was given up, or left alone for too long: open a new one")
    return row


def require_open(row: Row) -> None:
    """Raise UploadFinished for one that takes nothing more."""
    if row.state != "open":
        raise UploadFinished("the upload is complete: open a new one")


def count_open(tx: Transaction, user_id: Id) -> int:
    """Unfinished uploads of a user."""
    return tx.value(_COUNT, {"user": user_id}) or 0


def page(tx: Transaction, principal: Principal, door: str, space_id: Id, count: int) -> list[Row]:
    """Unfinished uploads of a principal into a space, the oldest first."""
    found = tx.rows(_PAGE, {"space": space_id, "user": principal.user_id, "door": door, "count": count})
    return [row for row in map(Row._make, found) if row.expires_us > tx.now_us]


def any_of_space(tx: Transaction, space_id: Id) -> Row | None:
    """Some upload into a space."""
    found = tx.one(_OF_SPACE, {"space": space_id})
    return None if found is None else Row._make(found)


def any_of_user(tx: Transaction, user_id: Id) -> Row | None:
    """Some upload of a user."""
    found = tx.one(_OF_USER, {"user": user_id})
    return None if found is None else Row._make(found)


def any_expired(tx: Transaction) -> Row | None:
    """The upload whose time ran out longest ago."""
    found = tx.one(_EXPIRED, {"now_us": tx.now_us})
    return None if found is None else Row._make(found)


def hold(
    tx: Transaction, row: Row, delta_bytes: int, delta_parts: int, length_bytes: int | None, expires_us: int
) -> None:
    """Note what an upload holds more or less than before."""
    tx.run(
        _HOLD,
        {
            "upload": row.id,
            "delta_bytes": delta_bytes,
            "delta_parts": delta_parts,
            "new_length_bytes": length_bytes,
            "new_expires_us": expires_us,
        },
    )


def set_done(
    tx: Transaction,
    upload_id: Id,
    length_bytes: int,
    expires_us: int,
    *,
    became: tuple[Id, int] | None,
    joined: Id | None,
) -> None:
    """Note that an upload is complete: it became a version (node, number), or a piece of another upload."""
    node_id, number = became or (None, None)
    tx.run(
        _SET_DONE,
        {
            "upload": upload_id,
            "new_length_bytes": length_bytes,
            "new_node_id": node_id,
            "new_version_number": number,
            "new_joined_id": joined,
            "new_expires_us": expires_us,
        },
    )


def set_gone(tx: Transaction, upload_id: Id) -> None:
    """Let an upload take nothing more, and be purged."""
    tx.run(_SET_GONE, {"upload": upload_id, "now_us": tx.now_us})


def delete(tx: Transaction, upload_id: Id) -> None:
    """Forget an upload that has no parts."""
    tx.run(_DELETE, {"upload": upload_id})


def part(tx: Transaction, upload_id: Id, number: int) -> Part | None:
    """One part."""
    found = tx.one(_PART, {"upload": upload_id, "number": number})
    return None if found is None else Part._make(found)


def last_part(tx: Transaction, upload_id: Id) -> Part | None:
    """The part of the highest number."""
    found = tx.one(_LAST, {"upload": upload_id})
    return None if found is None else Part._make(found)


def parts(tx: Transaction, upload_id: Id, after: int, count: int) -> list[Part]:
    """Parts in the order of their numbers, with their manifests."""
    return [Part._make(found) for found in tx.rows(_PARTS, {"upload": upload_id, "after": after, "count": count})]


def part_infos(tx: Transaction, upload_id: Id, after: int, count: int) -> list[PartInfo]:
    """Parts in the order of their numbers, without their manifests."""
    found = tx.rows(_INFOS, {"upload": upload_id, "after": after, "count": count})
    return [part_info(Part._make(one)) for one in found]


def put_part(tx: Transaction, upload_id: Id, part: Part) -> None:
    """Write a part, in place of one of the same number."""
    tx.run(_PUT_PART, {"upload_id": upload_id, **part._asdict()})


def delete_part(tx: Transaction, upload_id: Id, number: int) -> None:
    """Take one part away."""
    tx.run(_DELETE_PART, {"upload": upload_id, "number": number})


def delete_parts(tx: Transaction, upload_id: Id) -> None:
    """Take all parts away."""
    tx.run(_DELETE_PARTS, {"upload": upload_id})


def part_info(part: Part) -> PartInfo:
    """What callers see of a part."""
    return PartInfo(part.number, part.size_bytes, part.md5, read_digests(part.checksums), part.created_us)


def upload_info(row: Row) -> Upload:
    """What callers see of an upload."""
    return Upload(
        id=row.id,
        user_id=row.user_id,
        space_id=row.through_id,
        door=row.door,
        key=row.key,
        path=row.path,
        state=row.state,
        length_bytes=row.length_bytes,
        offset_bytes=row.held_bytes if row.state != "done" else row.length_bytes or 0,
        part_count=row.part_count,
        mime=row.mime,
        modified_us=row.modified_us,
        metadata=json.loads(row.metadata) if row.metadata else {},
        node_id=row.node_id,
        version_number=row.version_number,
        joined_id=row.joined_id,
        created_us=row.created_us,
        expires_us=row.expires_us,
    )


def write_digests(digests: Mapping[str, bytes]) -> str | None:
    """Digests as JSON; None for none."""
    return json.dumps({name: value.hex() for name, value in sorted(digests.items())}) if digests else None


def read_digests(text: str | None) -> dict[str, bytes]:
    """Digests from JSON."""
    loaded: dict[str, str] = json.loads(text) if text else {}
    return {name: bytes.fromhex(value) for name, value in loaded.items()}


def write_conditions(conditions: Conditions) -> str | None:
    """Conditions as JSON; None for none."""
    return None if conditions == ALWAYS else msgspec.json.encode(conditions).decode()


def read_conditions(text: str | None) -> Conditions:
    """Conditions from JSON."""
    return ALWAYS if not text else msgspec.json.decode(text, type=Conditions)


def write_metadata(metadata: Mapping[str, Any], bytes_max: int, error: type[SkepError]) -> str | None:
    """A door's own facts as JSON. Raises ``error`` for more than ``bytes_max``."""
    text = json.dumps(dict(metadata), separators=(",", ":")) if metadata else None
    if text is not None and len(text) > bytes_max:
        raise error(f"the metadata of the upload have {len(text)} bytes; at most {bytes_max} are allowed")
    return text
