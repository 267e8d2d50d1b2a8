"""Checks of what always holds in the file metadata: the part of ``skep fsck`` that needs no store.

Each check looks at one bounded page and says where the next begins, so that none holds a transaction for long. Counters
that can be counted anew (sizes, used bytes) are corrected by ``repair``; the rest is reported, with what to do.

    async for finding in check(db):
        print(finding.message)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.errors import SkepError
from skep.base.ids import Id, id_text
from skep.chunks.manifest import Manifest
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.filesystem import shares, spaces, strays, trash, tree
from skep.filesystem.findings import Finding, Page
from skep.filesystem.names import check_name
from skep.filesystem.uploads import checking

PAGE = 2_000


@dataclass(frozen=True, slots=True)
class KeptManifest:
    """The chunks that one version references."""

    version_id: Id
    domain_id: Id
    manifest: Manifest


_n, _v, _t, _s, _ch = s.nodes.c, s.versions.c, s.trash.c, s.spaces.c, s.changes.c
_child = s.nodes.alias("child")
_parent = s.nodes.alias("parent")
_NODES = prepared(
    sa.select(_n.id, _n.space_id, _n.parent_id, _n.name, _n.kind, _n.size_bytes, _n.changed)
    .where(_n.id > sa.bindparam("after"))
    .order_by(_n.id)
    .limit(sa.bindparam("count"))
)
_SUMS = prepared(
    sa.select(
        _child.c.parent_id,
        sa.cast(sa.func.sum(_child.c.size_bytes), sa.BigInteger),
        sa.func.max(_child.c.changed),
    )
    .where(_child.c.parent_id.in_(sa.bindparam("parents", expanding=True)))
    .group_by(_child.c.parent_id)
)
_PARENTS = prepared(
    sa.select(_parent.c.id, _parent.c.space_id, _parent.c.kind).where(
        _parent.c.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_TRASHED = prepared(sa.select(_t.node_id, _t.space_id).where(_t.node_id.in_(sa.bindparam("ids", expanding=True))))
_CURRENT = prepared(
    sa.select(
        _n.id, _n.space_id, _n.size_bytes, _n.etag, _n.version_number, _v.node_id, _v.size_bytes, _v.etag, _v.number
    )
    .join_from(s.nodes, s.versions, _v.id == _n.version_id, isouter=True)
    .where(_n.id.in_(sa.bindparam("ids", expanding=True)))
)
_VERSIONS = prepared(
    sa.select(_v.id, _v.node_id, _n.space_id, _n.kind, _s.domain_id, _v.size_bytes, _v.manifest)
    .select_from(s.versions)
    .join(s.nodes, _n.id == _v.node_id, isouter=True)
    .join(s.spaces, _s.id == _n.space_id, isouter=True)
    .where(_v.id > sa.bindparam("after"))
    .order_by(_v.id)
    .limit(sa.bindparam("count"))
)
_USED = prepared(
    sa.select(sa.cast(sa.func.coalesce(sa.func.sum(_v.size_bytes), 0), sa.BigInteger))
    .join_from(s.nodes, s.versions, _v.node_id == _n.id)
    .where(_n.space_id == sa.bindparam("space"))
)
_OBJECTS = prepared(
    sa.select(sa.cast(sa.func.coalesce(sa.func.sum(s.objects.c.size_bytes), 0), sa.BigInteger)).where(
        s.objects.c.owner_id == sa.bindparam("owner")
    )
)
_HELD = prepared(
    sa.select(sa.cast(sa.func.coalesce(sa.func.sum(s.uploads.c.held_bytes), 0), sa.BigInteger)).where(
        s.uploads.c.space_id == sa.bindparam("space")
    )
)
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.nodes).where(_n.space_id == sa.bindparam("space")))
_TOPS = prepared(sa.select(_n.id).where(_n.space_id == sa.bindparam("space"), _n.parent_id.is_(None)).order_by(_n.id))
_JOURNAL = prepared(
    sa.select(sa.func.count(), sa.func.min(_ch.number), sa.func.max(_ch.number)).where(
        _ch.space_id == sa.bindparam("space")
    )
)
_SET_SIZE = prepared(
    sa.update(s.nodes).where(_n.id == sa.bindparam("node")).values(size_bytes=sa.bindparam("sum_bytes"))
)
_SET_USED = prepared(
    sa.update(s.spaces).where(_s.id == sa.bindparam("space")).values(used_bytes=sa.bindparam("sum_bytes"))
)


_SHARES = prepared(
    sa.select(s.shares.c.id, s.shares.c.space_id, s.shares.c.node_id, _n.space_id)
    .join_from(s.shares, s.nodes, _n.id == s.shares.c.node_id, isouter=True)
    .where(s.shares.c.id > sa.bindparam("after"))
    .order_by(s.shares.c.id)
    .limit(sa.bindparam("count"))
)


def _below() -> sa.Executable:
    first = sa.select(_n.id).where(_n.id == sa.bindparam("top"))
    below = first.cte("below", recursive=True)
    return sa.select(sa.func.count()).select_from(below.union(sa.select(_n.id).join(below, _n.parent_id == below.c.id)))


_COUNT_BELOW = prepared(_below())


async def check(db: Database) -> AsyncIterator[Finding]:
    """All findings. Uploads may go on meanwhile; each page is looked at in one consistent view."""
    first = (_check_nodes, _check_versions, checking.check_page, _check_spaces, _check_shares)
    for one in (*first, *strays.CHECKS):
        after: Id | None = b""
        while after is not None:
            findings, after = await db.read(_page(one, after))
            for finding in findings:
                yield finding


def _page(one: Callable[[Transaction, Id], Page], after: Id) -> Callable[[Transaction], Page]:
    return lambda tx: one(tx, after)


async def repair(db: Database) -> int:
    """Correct sizes, sums and used bytes that are wrong, and remove rows that belong to nothing; how many."""
    corrected = 0
    async for finding in check(db):
        if finding.mend is not None:
            await db.write(finding.mend)
            corrected += 1
            continue
        if not finding.repairable or finding.space_id is None:
            continue
        space_id, node_id = finding.space_id, finding.node_id

        def work(tx: Transaction, space_id: Id = space_id, node_id: Id | None = node_id) -> None:
            space = spaces.lock(tx, space_id)
            if node_id is None:
                tx.run(_SET_USED, {"space": space_id, "sum_bytes": _used(tx, space)})
            else:
                _correct_sizes(tx, node_id)

        await db.write(work)
        corrected += 1
    return corrected


def _correct_sizes(tx: Transaction, directory_id: Id) -> None:
    """Set the size of a directory, then of all above it, from what is directly in them."""
    above = tree.above(tx, directory_id)
    for node_id in (directory_id, *reversed(above.chain)):
        rows = tx.rows(_SUMS, {"parents": [node_id]})
        tx.run(_SET_SIZE, {"node": node_id, "sum_bytes": rows[0][1] if rows else 0})


def manifests(tx: Transaction, after: Id, count: int = PAGE) -> list[KeptManifest]:
    """What versions reference, in the order of version ids: ``after`` is the last id of the page before.

    The check of reference counts adds these up. Raises CorruptRecord.
    """
    rows = tx.rows(_VERSIONS, {"after": after, "count": count})
    return [KeptManifest(row[0], row[4], Manifest.decode(row[6])) for row in rows if row[4] is not None]


def _check_nodes(tx: Transaction, after: Id) -> Page:
    rows = tx.rows(_NODES, {"after": after, "count": PAGE})
    if not rows:
        return [], None
    findings: list[Finding] = []
    _check_names(rows, findings)
    _check_parents(tx, rows, findings)
    _check_sums(tx, [row for row in rows if row[4] == "directory"], findings)
    _check_current(tx, [row[0] for row in rows if row[4] == "file"], findings)
    return findings, rows[-1][0]


def _check_names(rows: list[tuple[Id, Id, Id | None, str, str, int, int]], findings: list[Finding]) -> None:
    for node_id, space_id, parent_id, name, _, _, _ in rows:
        if parent_id is None and name == "":
            continue  # the root
        try:
            check_name(name)
        except SkepError as error:
            findings.append(Finding("name", space_id, node_id, f"{_of(node_id)}: {error.message}"))


def _check_parents(
    tx: Transaction, rows: list[tuple[Id, Id, Id | None, str, str, int, int]], findings: list[Finding]
) -> None:
    wanted = sorted({row[2] for row in rows if row[2] is not None})
    parents = {row[0]: row[1:] for row in (tx.rows(_PARENTS, {"ids": wanted}) if wanted else [])}
    tops = [row[0] for row in rows if row[2] is None]
    trashed = {row[0] for row in (tx.rows(_TRASHED, {"ids": tops}) if tops else [])}
    hooked = [row[0] for row in rows if row[2] is not None]
    both = {row[0] for row in (tx.rows(_TRASHED, {"ids": hooked}) if hooked else [])}
    for node_id, space_id, parent_id, name, kind, _, _ in rows:
        if parent_id is None:
            if node_id not in trashed and not _is_root(tx, space_id, node_id):
                findings.append(Finding("orphan", space_id, node_id, f"{_of(node_id)} {name!r} is in no directory"))
        elif parents.get(parent_id) != (space_id, "directory"):
            what = "is in a directory that is gone, of another space, or a file"
            findings.append(Finding("orphan", space_id, node_id, f"{_of(node_id)} {name!r} ({kind}) {what}"))
        elif node_id in both:
            findings.append(Finding("trash", space_id, node_id, f"{_of(node_id)} is in the trash and in a directory"))


def _is_root(tx: Transaction, space_id: Id, node_id: Id) -> bool:
    space = spaces.by_id(tx, space_id)
    return space is not None and space.root_id == node_id


def _check_sums(
    tx: Transaction, rows: list[tuple[Id, Id, Id | None, str, str, int, int]], findings: list[Finding]
) -> None:
    if not rows:
        return
    sums = {row[0]: row[1:] for row in tx.rows(_SUMS, {"parents": [row[0] for row in rows]})}
    for node_id, space_id, _, _, _, size_bytes, changed in rows:
        sum_bytes, newest = sums.get(node_id, (0, 0))
        if sum_bytes != size_bytes and not _is_being_purged(tx, node_id):
            message = f"{_of(node_id)} says {size_bytes} bytes, what is in it has {sum_bytes}"
            findings.append(Finding("size", space_id, node_id, message, repairable=True))
        if newest > changed:
            message = f"{_of(node_id)} was last changed at {changed}, something in it at {newest}"
            findings.append(Finding("changed", space_id, node_id, message))


def _is_being_purged(tx: Transaction, node_id: Id) -> bool:
    top_id = tree.above(tx, node_id).top_id
    row = trash.any_entry(tx, top_id)
    return row is not None and row[4] == trash.GONE_US


def _check_current(tx: Transaction, files: list[Id], findings: list[Finding]) -> None:
    if not files:
        return
    for node_id, space_id, *here, owner, size_bytes, etag, number in tx.rows(_CURRENT, {"ids": files}):
        if owner != node_id:
            findings.append(Finding("version", space_id, node_id, f"{_of(node_id)} has no current version"))
        elif here != [size_bytes, etag, number]:
            findings.append(Finding("version", space_id, node_id, f"{_of(node_id)} differs from its current version"))


def _check_versions(tx: Transaction, after: Id) -> Page:
    rows = tx.rows(_VERSIONS, {"after": after, "count": PAGE})
    findings: list[Finding] = []
    for version_id, node_id, space_id, kind, _, size_bytes, encoded in rows:
        if kind != "file":
            findings.append(Finding("version", space_id, node_id, f"version {id_text(version_id)} belongs to no file"))
            continue
        try:
            manifest = Manifest.decode(encoded)
        except SkepError as error:
            findings.append(Finding("version", space_id, node_id, f"version {id_text(version_id)}: {error.message}"))
            continue
        if manifest.size_bytes != size_bytes:
            message = f"version {id_text(version_id)} says {size_bytes} bytes, its chunks have {manifest.size_bytes}"
            findings.append(Finding("version", space_id, node_id, message))
    return findings, rows[-1][0] if rows else None


def _check_spaces(tx: Transaction, after: Id) -> Page:
    page = spaces.page(tx, after, 1)
    if not page:
        return [], None
    space = page[0]
    findings: list[Finding] = []
    used = _used(tx, space)
    if used != space.used_bytes:
        message = f"space {space.name!r} says {space.used_bytes} bytes, its versions, uploads and objects have {used}"
        findings.append(Finding("used-bytes", space.id, None, message, repairable=True))
    reachable = sum(tx.value(_COUNT_BELOW, {"top": row[0]}) or 0 for row in tx.rows(_TOPS, {"space": space.id}))
    nodes = tx.value(_COUNT, {"space": space.id})
    if reachable != nodes:
        message = f"space {space.name!r} has {nodes} nodes, {reachable} are reached from its root and trash"
        findings.append(Finding("unreachable", space.id, None, message))
    _check_journal(tx, space, findings)
    return findings, space.id


def _used(tx: Transaction, space: spaces.Space) -> int:
    """What counts against the quota: all versions, what uploads hold, and of a person the objects too."""
    used: int = (tx.value(_USED, {"space": space.id}) or 0) + (tx.value(_HELD, {"space": space.id}) or 0)
    if space.kind == "personal":
        used += tx.value(_OBJECTS, {"owner": space.owner_id}) or 0
    return used


def _check_shares(tx: Transaction, after: Id) -> Page:
    rows = tx.rows(_SHARES, {"after": after, "count": PAGE})
    findings = [
        Finding(
            "share", row[1], row[2], f"share {id_text(row[0])} is of {_of(row[2])}, which is gone", True, _end(row[2])
        )
        for row in rows
        if row[3] != row[1]
    ]
    return findings, rows[-1][0] if rows else None


def _end(node_id: Id) -> Callable[[Transaction], None]:
    return lambda tx: shares.remove_on(tx, [node_id])


def _check_journal(tx: Transaction, space: spaces.Space, findings: list[Finding]) -> None:
    count, first, last = tx.one(_JOURNAL, {"space": space.id}) or (0, None, None)
    expected = space.last_change - space.first_change + 1
    if count != expected or (count and (first, last) != (space.first_change, space.last_change)):
        message = (
            f"the journal of space {space.name!r} has {count} entries from {first} to {last}, "
            f"not all from {space.first_change} to {space.last_change}"
        )
        findings.append(Finding("journal", space.id, None, message))


def _of(node_id: Id) -> str:
    return f"node {id_text(node_id)}"
