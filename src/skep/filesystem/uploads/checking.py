"""The part of the metadata's check that is about uploads."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from skep.base.ids import Id, id_text
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem.findings import Finding, Page

PAGE = 200
_u, _p = s.uploads.c, s.upload_parts.c
_UPLOADS = prepared(
    sa.select(_u.id, _u.space_id, _u.state, _u.held_bytes, _u.part_count, s.spaces.c.id)
    .join_from(s.uploads, s.spaces, s.spaces.c.id == _u.space_id, isouter=True)
    .where(_u.id > sa.bindparam("after"))
    .order_by(_u.id)
    .limit(PAGE)
)
_SUMS = prepared(
    sa.select(_p.upload_id, sa.cast(sa.func.sum(_p.size_bytes), sa.BigInteger), sa.func.count())
    .where(_p.upload_id.in_(sa.bindparam("ids", expanding=True)))
    .group_by(_p.upload_id)
)
_STRAY = prepared(
    sa.select(_p.upload_id, sa.func.count())
    .join_from(s.upload_parts, s.uploads, _u.id == _p.upload_id, isouter=True)
    .where(_u.id.is_(None))
    .group_by(_p.upload_id)
    .limit(PAGE)
)
_SET_SUMS = prepared(
    sa.update(s.uploads)
    .where(_u.id == sa.bindparam("upload"))
    .values(held_bytes=sa.bindparam("sum_bytes"), part_count=sa.bindparam("number"))
)


def check_page(tx: Transaction, after: Id) -> Page:
    """Uploads whose sums are wrong, in the order of their ids; with the first page parts that belong to none."""
    findings = [_stray(*row) for row in tx.rows(_STRAY)] if not after else []
    uploads = tx.rows(_UPLOADS, {"after": after})
    sums = {row[0]: row[1:] for row in (tx.rows(_SUMS, {"ids": [row[0] for row in uploads]}) if uploads else [])}
    for upload_id, space_id, state, held_bytes, part_count, space in uploads:
        name = f"upload {id_text(upload_id)}"
        found_bytes, found_count = sums.get(upload_id, (0, 0))
        if space is None:
            findings.append(Finding("upload", space_id, None, f"{name} is of a space that is gone"))
        if (found_bytes, found_count) != (held_bytes, part_count):
            message = f"{name} says {held_bytes} bytes in {part_count} parts, it has {found_bytes} in {found_count}"
            findings.append(Finding("upload", space_id, None, message, mend=_count_anew(upload_id)))
        if state == "done" and found_count:
            findings.append(Finding("upload", space_id, None, f"{name} is done and has {found_count} parts still"))
    return findings, uploads[-1][0] if uploads else None


def _count_anew(upload_id: Id) -> Callable[[Transaction], None]:
    def mend(tx: Transaction) -> None:
        found = tx.rows(_SUMS, {"ids": [upload_id]})
        held_bytes, count = found[0][1:] if found else (0, 0)
        tx.run(_SET_SUMS, {"upload": upload_id, "sum_bytes": held_bytes, "number": count})

    return mend


def _stray(upload_id: Id, count: int) -> Finding:
    return Finding("upload", None, None, f"{count} parts are of the upload {id_text(upload_id)}, which is not there")
