"""Adding to a tree: directories, files and versions of one transaction are gathered first and written together.

Writing one file and writing ten thousand is the same code: every step looks and checks while nothing is written yet, so
a bad item of a batch leaves the others alone; ``flush`` then costs a handful of statements whatever the number.

    growth = Growth(books, spaces.lock(tx, space_id), actor_id, tx.now_us)
    parent = growth.directory(tx, ("photos", "2024"), parents=True)
    file, version = growth.put(tx, parent, "a.jpg", growth.existing(tx, parent, "a.jpg"), content, ...)
    growth.flush(tx)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import NameClash, NodeNotFound, SkepError
from skep.base.ids import Id, new_id
from skep.chunks.manifest import Manifest
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem import facts as facts_
from skep.filesystem import locks, quota, tree, versions, views
from skep.filesystem.books import Books
from skep.filesystem.facts import Facts
from skep.filesystem.names import Segments, child_path, join_path
from skep.filesystem.ports import Note
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node, Place, Touches

Row = dict[str, Any]


class Content(NamedTuple):
    """Durable content that becomes a version."""

    manifest: Manifest | None
    """None: its chunks are referenced already, and these references become the version's."""
    encoded: bytes
    size_bytes: int
    etag: str
    md5: bytes | None = None
    sha1: bytes | None = None
    sha256: bytes | None = None
    facts: Facts | None = None


class Directory(NamedTuple):
    """A directory that is there or will be after ``flush``."""

    id: Id
    path: str
    chain: tuple[Id, ...]
    """Its id and those of all directories above it, the root first."""
    is_new: bool


_new_files = s.nodes.c
_UPDATE = prepared(
    sa.update(s.nodes)
    .where(_new_files.id == sa.bindparam("node"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in ("size_bytes", "changed", "version_id", "version_number", "etag", "mime", "modified_us")
        }
    )
)
_INSERT_VERSION = insert_new(s.versions)


class Growth:
    """What one transaction adds to one space. The space must be locked by the transaction."""

    def __init__(self, books: Books, space: Space, actor_id: Id, now_us: int) -> None:
        self.space = space
        self.added_bytes = 0
        self._overdrawn_bytes = 0
        self._replaced: set[Id] = set()
        self._books = books
        self._actor_id = actor_id
        self._now_us = now_us
        self._notes: list[Note] = []
        self._touches = Touches()
        self._new: dict[Id, Row] = {}
        self._updated: dict[Id, Row] = {}
        self._versions: list[Row] = []
        self._manifests: list[Manifest] = []
        self._facts: list[Row] = []
        self._directories: dict[Segments, Directory] = {}
        self._pending: dict[tuple[Id, str], Row] = {}
        self._guarded: list[tuple[Directory, Id | None]] = []
        self._expected: dict[Segments, list[str]] = {}
        self._objects_left: int | None = None
        """How many more the space could hold when this was first asked."""
        self._looked: dict[tuple[Id, str], Row | None] = {}
        """What was in directories under the names that are expected. Nobody else changes it: the space is locked."""

    def require_objects(self, tx: Transaction, count: int) -> None:
        """Raise QuotaExceeded if the space cannot hold so many new nodes besides those that this adds already."""
        if self.space.objects_max is None:
            return
        if self._objects_left is None:
            self._objects_left = quota.objects_left(tx, self.space) or 0
        if len(self._new) + count > self._objects_left:
            raise quota.too_many(self.space, count)

    def missing(self, tx: Transaction, segments: Segments) -> int:
        """How many directories of the way to a file are not there yet."""
        place, wanted = views.resolve(tx, self.space, segments), segments[:-1]
        depths = range(len(place.chain) - place.base, len(wanted))
        return sum(wanted[: depth + 1] not in self._directories for depth in depths)

    def expect(self, paths: Iterable[Segments]) -> None:
        """Say what will be looked for, so that the names of one directory are looked for together."""
        for segments in paths:
            if segments:
                self._expected.setdefault(segments[:-1], []).append(segments[-1])

    def look(self, tx: Transaction, segments: Segments, *, parents: bool) -> tuple[Directory | None, Row | None]:
        """The parent directory of a path and the node that is there, each None where there is none yet.

        Raises NameClash (a file stands in the way), NodeNotFound (no parent, and ``parents`` is false).
        """
        parent = self._directories.get(segments[:-1])
        if parent is not None:
            self._look_together(tx, parent, segments[:-1])
            return parent, self._child(tx, parent, segments[-1])
        place = views.resolve(tx, self.space, segments)
        if place.blocked_by is not None:
            raise NameClash(f'path "{place.blocked_by}" exists as file', path=place.blocked_by)
        if place.missing_parents:
            return self._deepest(place, parents=parents)
        parent = Directory(place.chain[-1], join_path(segments[:-1]), place.chain, False)
        self._directories[segments[:-1]] = parent
        return parent, None if place.node is None else place.node._asdict()

    def _deepest(self, place: Place, *, parents: bool) -> tuple[Directory | None, Row | None]:
        """Nothing at the path yet: an earlier item may have put a file where a directory should be."""
        wanted = place.segments[:-1]
        if not parents:
            raise NodeNotFound(f'directory "{join_path(wanted)}" does not exist', path=join_path(wanted))
        upper = place.chain[-1]
        for depth in range(len(place.chain) - place.base, len(wanted)):
            pending = self._pending.get((upper, wanted[depth]))
            if pending is None:
                break
            if pending["kind"] == "file":
                path = join_path(wanted[: depth + 1])
                raise NameClash(f'path "{path}" exists as file', path=path)
            upper = pending["id"]
        return None, None

    def _child(self, tx: Transaction, parent: Directory, name: str) -> Row | None:
        pending = self._pending.get((parent.id, name))
        if pending is not None or parent.is_new:
            return pending
        if (parent.id, name) in self._looked:
            return self._looked[parent.id, name]
        node = tree.child(tx, parent.id, name)
        return None if node is None else node._asdict()

    def _look_together(self, tx: Transaction, parent: Directory, segments: Segments) -> None:
        names = self._expected.pop(segments, None)
        if names is None or len(names) < 2 or parent.is_new:
            return
        there = tree.children_named(tx, parent.id, list(dict.fromkeys(names)))
        for name in names:
            node = there.get(name)
            self._looked[parent.id, name] = None if node is None else node._asdict()

    def directory(self, tx: Transaction, segments: Segments, *, parents: bool = True) -> Directory:
        """The directory at a path, made if it is not there, with all above it if ``parents``.

        Raises NameClash where a file is in the way, NodeNotFound where a parent is missing.
        """
        known = self._directories.get(segments)
        if known is not None:
            return known
        if not segments:
            made = Directory(self.space.root_id, "/", self.space.base, False)
        else:
            made = self._directory_below_root(tx, segments, parents=parents)
        self._directories[segments] = made
        return made

    def _directory_below_root(self, tx: Transaction, segments: Segments, *, parents: bool) -> Directory:
        parent, row = self.look(tx, segments, parents=parents)
        if parent is None:
            parent = self.directory(tx, segments[:-1])
            row = None
        if row is None:
            return self.make_directory(parent, segments[-1])
        path = join_path(segments)
        if row["kind"] == "file":
            raise NameClash(f'path "{path}" exists as file', path=path)
        return Directory(row["id"], path, (*parent.chain, row["id"]), row["id"] in self._new)

    def make_directory(
        self,
        parent: Directory,
        name: str,
        *,
        modified_us: int | None = None,
        attributes: str | None = None,
    ) -> Directory:
        """A new, empty directory in one that has no such name."""
        self._guarded.append((parent, None))
        row = self._new_row(parent, name, "directory", modified_us, attributes)
        made = Directory(row["id"], child_path(parent.path, name), (*parent.chain, row["id"]), True)
        self._note(Note("created", made.id, "directory", self.space.whole(made.path), 0), made.chain, 0)
        return made

    def put(
        self,
        parent: Directory,
        name: str,
        there: Row | None,
        content: Content,
        *,
        mime: str,
        modified_us: int,
        attributes: str | None = None,
        replaces: bool = False,
    ) -> tuple[Row, Row]:
        """A file of this content, new or a new version of the one that is ``there``: its row and the version's.

        ``replaces``: older versions go for good.
        """
        is_new = there is None
        self._guarded.append((parent, None if there is None else there["id"]))
        row = self._new_row(parent, name, "file", modified_us, attributes) if there is None else there
        old_bytes: int = row["size_bytes"]
        number = (row["version_number"] or 0) + 1
        version = self._version(row["id"], number, content, mime, modified_us)
        row.update(
            size_bytes=content.size_bytes,
            version_id=version["id"],
            version_number=number,
            etag=content.etag,
            mime=mime,
            modified_us=modified_us,
        )
        if row["id"] not in self._new:
            self._updated[row["id"]] = row
            self._pending[parent.id, name] = row
        if replaces and not is_new:
            self._replaced.add(row["id"])
        is_root = row["id"] == self.space.root_id
        note = Note(
            "created" if is_new else "updated",
            row["id"],
            "file",
            self.space.whole("/" if is_root else child_path(parent.path, name)),
            content.size_bytes,
            version_number=number,
            etag=content.etag,
        )
        row["changed"] = self._note(note, parent.chain, content.size_bytes - old_bytes)
        return row, version

    def overdraw(self, size_bytes: int) -> None:
        """Count bytes that were put although they do not fit."""
        self._overdrawn_bytes += size_bytes

    @property
    def depth_max(self) -> int:
        """How many names a path may have."""
        return self._books.limits.depth_max

    def known(self, node: Node) -> Row:
        """The row of a node that is there, as this transaction has left it so far."""
        return self._updated.get(node.id) or node._asdict()

    def row(self, node_id: Id) -> Row:
        """The row of a node made here."""
        return self._new[node_id]

    def _new_row(self, parent: Directory, name: str, kind: str, modified_us: int | None, attributes: str | None) -> Row:
        row: Row = Node(
            id=new_id(),
            space_id=self.space.id,
            parent_id=parent.id,
            name=name,
            kind=kind,
            size_bytes=0,
            changed=0,
            version_id=None,
            version_number=None,
            etag=None,
            mime=None,
            created_us=self._now_us,
            modified_us=self._now_us if modified_us is None else modified_us,
            attributes=attributes,
        )._asdict()
        self._new[row["id"]] = row
        self._pending[parent.id, name] = row
        return row

    def _version(self, node_id: Id, number: int, content: Content, mime: str, modified_us: int) -> Row:
        row: Row = {
            "id": new_id(),
            "node_id": node_id,
            "number": number,
            "size_bytes": content.size_bytes,
            "etag": content.etag,
            "mime": mime,
            "md5": content.md5,
            "sha1": content.sha1,
            "sha256": content.sha256,
            "manifest": content.encoded,
            "created_us": self._now_us,
            "modified_us": modified_us,
            "created_by": self._actor_id,
        }
        self._versions.append(row)
        if content.manifest is not None:
            self._manifests.append(content.manifest)
        if content.facts is not None:
            self._facts.append(facts_.row(row["id"], content.facts))
        self.added_bytes += content.size_bytes
        return row

    def _note(self, note: Note, directories: Iterable[Id], delta_bytes: int) -> int:
        """Note a change; its number is certain, because the space is locked."""
        self._notes.append(note)
        number = self.space.last_change + len(self._notes)
        self._touches.add(directories, number, delta_bytes)
        return number

    def guard(self, tx: Transaction, parent: Directory, node_id: Id | None) -> None:
        """Raise Locked if a node of a directory, or a new one (None), may not be written for a lock."""
        locks.require_writable(tx, self._books, self.space, self._actor_id, parent.chain, node_id)

    def flush(self, tx: Transaction) -> None:
        """Write it all. Raises QuotaExceeded, Locked."""
        if not self._notes:
            return
        if locks.any_in_force(tx, self.space):
            for parent, node_id in self._guarded:
                self.guard(tx, parent, node_id)
        quota.require_objects(tx, self.space, len(self._new))
        if self.added_bytes > self._overdrawn_bytes:
            quota.charge(tx, self.space, self.added_bytes - self._overdrawn_bytes)
        if self._overdrawn_bytes:
            quota.give_back(tx, self.space.id, -self._overdrawn_bytes)
        self._books.record(tx, self.space, self._notes, self._actor_id)
        for row in self._new.values():
            if row["kind"] == "directory":
                row["changed"], row["size_bytes"] = self._touches.of(row["id"])
        tx.many(tree.INSERT, list(self._new.values()))
        tx.many(_UPDATE, [_renamed(row) for row in self._updated.values()])
        tx.many(_INSERT_VERSION, self._versions)
        tx.many(facts_.INSERT, self._facts)
        self._touches.write(tx, but=self._new)
        if self._manifests:
            self._books.chunks.reference(tx, self.space.domain_id, self._manifests)
        self._prune(tx)

    def _prune(self, tx: Transaction) -> None:
        """Let go of the oldest versions of files that have more than a file may keep."""
        for node_id in self._replaced:
            versions.keep_newest(tx, self._books, self.space, node_id, 1)
        keep = self._books.limits.versions_max
        if not keep:
            return
        for row in self._updated.values():
            if row["version_number"] > keep and row["id"] not in self._replaced:
                versions.keep_newest(tx, self._books, self.space, row["id"], keep)


def _renamed(row: Row) -> Row:
    return {
        "node": row["id"],
        "new_size_bytes": row["size_bytes"],
        "new_changed": row["changed"],
        "new_version_id": row["version_id"],
        "new_version_number": row["version_number"],
        "new_etag": row["etag"],
        "new_mime": row["mime"],
        "new_modified_us": row["modified_us"],
    }


def attributes_of(text: str | None) -> dict[str, Any]:
    """The attributes in a row's JSON."""
    if not text:
        return {}
    loaded: dict[str, Any] = json.loads(text)
    return loaded


Outcome = tuple[Row, Row, bool] | SkepError
