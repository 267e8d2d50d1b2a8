"""The tree seen flat: keys instead of paths, in the order of whole keys, as object stores list them.

A key is a path below a directory of the root (a *bucket*) without the slash in front. Files have keys; a directory has
one, with a slash at its end, where it is empty or somebody gave it facts. ``a-b`` comes before ``a/b``, though ``a``
comes before ``a-b``: so directories wait until the names before ``a/`` are through.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import InvalidPath
from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem.names import Segments, check_name

PAGE = 1_000
"""Names read at once."""
Row = tuple[Any, ...]
EMPTY_MD5 = bytes.fromhex("d41d8cd98f00b204e9800998ecf8427e")


class Key(NamedTuple):
    """A key as a path: the bucket and the names below it; whether it ended with a slash."""

    segments: Segments
    is_directory: bool
    is_rooted: bool = False
    """Whether the bucket is the space or the share itself: ``segments`` has no bucket in front then."""

    @property
    def text(self) -> str:
        """The key below its bucket."""
        return "/".join(self.segments if self.is_rooted else self.segments[1:]) + ("/" if self.is_directory else "")


class Entry(NamedTuple):
    """One key of a listing."""

    key: str
    node_id: Id
    version_id: Id | None
    """None: a directory."""
    size_bytes: int
    etag: str
    """Of the content, as the other doors know it."""
    md5: bytes | None
    facts_etag: str | None
    created_us: int
    """When this version was made."""


_n, _v, _f = s.nodes.c, s.versions.c, s.facts.c
_COLUMNS = (_n.name, _n.id, _n.version_id, _n.size_bytes, _n.etag, _v.md5, _f.etag, _f.about_id)
_SELECT = (
    sa.select(*_COLUMNS, sa.func.coalesce(_v.created_us, _n.created_us))
    .select_from(s.nodes)
    .join(s.versions, _v.id == _n.version_id, isouter=True)
    .join(s.facts, _f.about_id == sa.func.coalesce(_n.version_id, _n.id), isouter=True)
)
_CHILDREN = prepared(
    _SELECT.where(
        _n.parent_id == sa.bindparam("parent"), _n.name >= sa.bindparam("since"), _n.name > sa.bindparam("after")
    )
    .order_by(_n.name)
    .limit(sa.bindparam("count"))
)
_DIRECTORIES = prepared(
    _SELECT.where(
        _n.parent_id == sa.bindparam("parent"),
        _n.name.in_(sa.bindparam("names", expanding=True)),
        _n.version_id.is_(None),
    )
)


def parse_key(bucket: str | None, key: str, *, path_bytes_max: int, depth_max: int) -> Key:
    """The path of a key; ``bucket`` None: that of a space or share itself.

    Raises InvalidPath or InvalidName where there can be none: ``a//b``, ``/a``, ``a/../b``.
    """
    is_directory = key.endswith("/")
    names = (key[:-1] if is_directory else key).split("/")
    if "" in names:
        raise InvalidPath(f"the key {key[:80]!r} has an empty name in it: a file's path cannot", key=key[:1024])
    segments = (*(() if bucket is None else (check_name(bucket),)), *map(check_name, names))
    if len(segments) > depth_max or sum(len(name.encode()) + 1 for name in segments) > path_bytes_max:
        raise InvalidPath(f"the key {key[:80]!r} is too long or too deep for a path", key=key[:1024])
    return Key(segments, is_directory, bucket is None)


def walk(tx: Transaction, bucket_id: Id, prefix: str, after: str, *, rolled: bool, count: int) -> Iterator[Entry | str]:
    """Keys with a prefix that come after a key, in order; ``rolled``: what lies behind a further slash as one text.

    ``count`` is how many the caller means to take. ``after`` may be a text that was given for several keys.
    """
    upper, tail = prefix.rpartition("/")[0], prefix.rpartition("/")[2]
    base = upper + "/" if "/" in prefix else ""
    if after and after < base:
        after = ""
    if after and not after.startswith(base):
        return
    step = _Walk(tx, rolled, min(PAGE, count + 1))
    directory_id = bucket_id
    row: Row = ()
    for name in upper.split("/") if base else []:
        found = tx.rows(_DIRECTORIES, {"parent": directory_id, "names": [name]})
        if not found:
            return
        row = found[0]
        directory_id = row[1]
    rest = after[len(base) :]
    own = _directory_entry(base, row) if base and not tail and after < base else None
    if own is not None and row[7] is not None:
        yield own
        own = None
    yield from step.level(directory_id, base, tail, rest, own)


class _Walk(NamedTuple):
    """What stays the same on the way down."""

    tx: Transaction
    rolled: bool
    page: int

    def level(self, directory_id: Id, base: str, tail: str, after: str, hollow: Entry | None) -> Iterator[Entry | str]:
        """What is in a directory: names that begin with ``tail``, keys after ``after``; ``hollow`` if nothing is."""
        segment = after.partition("/")[0]
        waiting = [(row[0] + "/", row) for row in self._before(directory_id, tail, after)]
        heapq.heapify(waiting)
        for row in self._names(directory_id, tail, segment):
            if row is None:
                if hollow is not None:
                    yield hollow
                break
            name = row[0]
            while waiting and waiting[0][0] < name:
                yield from self._directory(heapq.heappop(waiting)[1], base, after)
            if row[2] is None:
                own = name + "/"
                if own > after or after.startswith(own):
                    heapq.heappush(waiting, (own, row))
            elif name > after:
                yield Entry(base + name, row[1], row[2], row[3], row[4], row[5], row[6], row[8])
        while waiting:
            yield from self._directory(heapq.heappop(waiting)[1], base, after)

    def _before(self, directory_id: Id, tail: str, after: str) -> list[Row]:
        """Directories whose name is before ``after`` and whose keys are not, or not all."""
        if not after:
            return []
        segment = after.partition("/")[0]
        names = [segment[:end] for end in range(max(1, len(tail)), len(segment)) if segment[end] < "/"]
        names = [name for name in (*names, segment) if name.startswith(tail)]
        return self.tx.rows(_DIRECTORIES, {"parent": directory_id, "names": names}) if names else []

    def _names(self, directory_id: Id, tail: str, after: str) -> Iterator[Row | None]:
        """Rows by name; a single None says that the directory is empty."""
        last, first = after, not after and not tail
        while True:
            rows = self.tx.rows(_CHILDREN, {"parent": directory_id, "since": tail, "after": last, "count": self.page})
            if first and not rows:
                yield None
                return
            first = False
            for row in rows:
                if not row[0].startswith(tail):
                    return
                yield row
            if len(rows) < self.page:
                return
            last = rows[-1][0]

    def _directory(self, row: Row, base: str, after: str) -> Iterator[Entry | str]:
        own = row[0] + "/"
        inside = after[len(own) :] if after.startswith(own) else ""
        if self.rolled:
            if after == own:
                return
            if inside and next(_Walk(self.tx, False, 2).level(row[1], base + own, "", inside, None), None) is None:
                return
            yield base + own
            return
        entry = None if after.startswith(own) else _directory_entry(base + own, row)
        if entry is not None and row[7] is not None:
            yield entry
            entry = None
        yield from self.level(row[1], base + own, "", inside, entry)


def _directory_entry(key: str, row: Row) -> Entry:
    return Entry(key, row[1], None, 0, "", EMPTY_MD5, None, row[8])
