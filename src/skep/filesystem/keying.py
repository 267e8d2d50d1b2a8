"""The face for doors that know buckets and keys instead of directories and paths."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skep.base.errors import Forbidden, NodeNotFound
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.crypto.keys import DomainKeys
from skep.db import Transaction
from skep.filesystem import access, copies, facts, flat, keyed, spaces, trash, views, writing
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.facts import Facts
from skep.filesystem.flat import Entry, Key, parse_key
from skep.filesystem.keyed import Bucket, Found, Past, Removed
from skep.filesystem.ports import ContentStore
from skep.filesystem.records import ALWAYS, Conditions, WriteResult
from skep.filesystem.shares import Need
from skep.filesystem.spaces import Space
from skep.filesystem.taps import Tap
from skep.filesystem.tree import Node
from skep.filesystem.versions import Version

if TYPE_CHECKING:
    from skep.auth.records import Principal


@dataclass(frozen=True, slots=True)
class KeyedContent:
    """What is at a key, ready to be read. ``version`` None: a directory, which has no bytes."""

    bucket: Bucket
    node: Node
    version: Version | None
    facts: Facts | None
    created_us: int
    domain: DomainKeys
    chunks: ContentStore
    tap: Tap | None = None
    """What counts the bytes that are read; None: nothing."""

    @property
    def size_bytes(self) -> int:
        return 0 if self.version is None else self.version.size_bytes

    async def read(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """The verified bytes of a range that lies within the content."""
        if self.version is None or not length:
            return
        parts = self.chunks.read(self.domain, Manifest.decode(self.version.manifest), offset, length)
        async for part in parts if self.tap is None else self.tap.out(parts, length):
            yield part

    async def whole(self, offset: int, length: int) -> bytes:
        """The same in one piece, for a range that is small."""
        if self.version is None or not length:
            return b""
        if self.tap is not None:
            await self.tap.counted_out(length)
        return await self.chunks.whole(self.domain, Manifest.decode(self.version.manifest), offset, length)


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """What a copy takes along. None keeps what the source has."""

    facts: Callable[[Found], Facts | None]
    mime: Callable[[Version], str | None]
    modified_us: Callable[[Version], int | None]
    check: Callable[[Found], None]
    """Raises what forbids the copy, such as a condition on the source."""


class Keying(Core):
    """Buckets and keys of a space. ``space_id`` None is the principal's own."""

    def key(self, bucket: str | None, key: str) -> Key:
        """The path of a key; ``bucket`` None: of a space or share itself. Raises InvalidPath, InvalidName."""
        return parse_key(bucket, key, path_bytes_max=self.limits.path_bytes_max, depth_max=self.limits.depth_max)

    def _known_whole(self, tx: Transaction, principal: Principal, space_id: Id | None) -> spaces.Space:
        """The space for a look: what never changes of it may be remembered, so not its size or last change."""
        known = self._whole_spaces.get(principal, space_id)
        return known or self._whole_spaces.note(principal, space_id, _whole(tx, principal, space_id))

    async def buckets(
        self, principal: Principal, space_id: Id | None, after: str = "", count: int = 1000
    ) -> list[Bucket]:
        """The buckets of a space by name."""
        principal.require(READ)
        return await self._db.read(lambda tx: keyed.buckets(tx, _whole(tx, principal, space_id), after, count))

    async def bucket(self, principal: Principal, space_id: Id | None, name: str | None) -> Bucket:
        """One bucket; ``name`` None: the space or the share itself. Raises BucketNotFound."""
        if name is None:
            return await self._db.glance(lambda tx: keyed.root_bucket(tx, access.space(tx, principal, space_id, None)))
        return await self._db.glance(lambda tx: keyed.bucket(tx, self._known_whole(tx, principal, space_id), name))

    async def bucket_settings(self, name: str, count: int) -> list[dict[str, Any]]:
        """What was set for the buckets of that name, whosever they are; for answers that reveal nothing else."""
        return await self._db.read(lambda tx: keyed.settings_by_name(tx, name, count))

    async def set_bucket(
        self, principal: Principal, space_id: Id | None, name: str | None, changes: Mapping[str, Any]
    ) -> None:
        """Merge settings of a bucket; a None takes one away. Raises BucketNotFound, Forbidden."""
        principal.require(WRITE)
        name = _named(name)

        def work(tx: Transaction) -> None:
            space = spaces.lock(tx, _whole(tx, principal, space_id).id)
            found = keyed.bucket(tx, space, name)
            merged = {**found.document, **changes}
            keyed.put_settings(tx, found.id, {key: value for key, value in merged.items() if value is not None})

        await self._db.write(work)

    async def remove_bucket(self, principal: Principal, space_id: Id | None, name: str | None) -> None:
        """Delete an empty bucket. Raises BucketNotFound, InUse, Forbidden."""
        principal.require(WRITE)
        name = _named(name)

        def work(tx: Transaction) -> None:
            space = spaces.lock(tx, _whole(tx, principal, space_id).id)
            keyed.remove_bucket(tx, self.books.of(principal), space, name, principal.user_id)

        await self._commit(work)

    async def keys(
        self,
        principal: Principal,
        space_id: Id | None,
        bucket: str | None,
        *,
        prefix: str = "",
        after: str = "",
        rolled: bool = False,
        count: int = 1000,
    ) -> list[Entry | str]:
        """Up to ``count`` keys with a prefix after a key; ``rolled``: what has a further slash as its text up to there.

        Raises BucketNotFound.
        """
        principal.require(READ)

        def work(tx: Transaction) -> list[Entry | str]:
            seen = _seen(tx, principal, space_id, "read", rooted=bucket is None)
            found = keyed.root_bucket(tx, seen) if bucket is None else keyed.bucket(tx, seen, bucket)
            listed: list[Entry | str] = []
            for one in flat.walk(tx, found.id, prefix, after, rolled=rolled, count=count):
                listed.append(one)
                if len(listed) >= count:
                    break
            return listed

        return await self._db.read(work)

    async def past_keys(
        self, principal: Principal, space_id: Id | None, bucket: str | None, *, prefix: str, after: str, count: int
    ) -> list[Past]:
        """Files of a bucket that are in the trash, by the keys that they had; of a space or share itself none."""
        principal.require(READ)
        if bucket is None:
            return []
        return await self._db.read(
            lambda tx: keyed.past(tx, _whole(tx, principal, space_id), bucket, prefix, after, count)
        )

    async def versions_of(
        self, principal: Principal, space_id: Id | None, node_ids: Sequence[Id]
    ) -> dict[Id, list[Entry]]:
        """All versions of some files that a listing gave, the newest first."""
        principal.require(READ)
        return await self._db.read(
            lambda tx: keyed.versions_of(tx, access.space(tx, principal, space_id, "read"), node_ids)
        )

    async def open_key(
        self, principal: Principal, space_id: Id | None, key: Key, version_id: Id | None = None
    ) -> KeyedContent:
        """What is at a key, or was. Raises BucketNotFound, NodeNotFound, VersionNotFound; InUse: a delete marker."""
        principal.require(READ)

        def work(tx: Transaction) -> tuple[Found, Space]:
            if key.is_rooted:
                space = access.space(tx, principal, space_id, "read")
            else:
                space = self._known_whole(tx, principal, space_id)
            return _find(tx, space, key, version_id), space

        at_once = await self._file_at(principal, space_id, key) if version_id is None else None
        found, space = await self._db.glance(work) if at_once is None else at_once
        created_us = found.node.created_us if found.version is None else found.version.created_us
        domain, tap = await self._chunks.domain(space.domain_id), self._tap(space)
        return KeyedContent(found.bucket, found.node, found.version, found.facts, created_us, domain, self._chunks, tap)

    async def _file_at(self, principal: Principal, space_id: Id | None, key: Key) -> tuple[Found, Space] | None:
        """What most reads ask for: the file at a key of a space that is known, and the space."""
        whole = self._whole_spaces.get(principal, space_id)
        found = None if whole is None else await keyed.file_at(self._db, whole, key)
        return None if whole is None or found is None else (found, whole)

    async def mark_directory(self, principal: Principal, space_id: Id | None, key: Key, known: Facts) -> None:
        """Make the directory of a key, and give it facts, so that it is a key whatever is in it.

        Raises BucketNotFound; NameClash where a file is in the way.
        """
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            space = _seen(tx, principal, space_id, "write", rooted=key.is_rooted)
            if not key.is_rooted:
                keyed.bucket(tx, space, key.segments[0])
            node, _ = writing.make_directory(
                tx, self.books.of(principal), space, principal.user_id, key.segments, parents=True, exist_ok=True
            )
            facts.put(tx, node.id, known)

        await self._commit(work)

    async def remove_key(
        self,
        principal: Principal,
        space_id: Id | None,
        key: Key,
        *,
        for_good: bool,
        conditions: Callable[[Found], None] | None = None,
    ) -> Removed:
        """Remove a key: its file to the trash or for good. That nothing is there is fine. Raises BucketNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> tuple[Id, Removed]:
            space = views.lock(tx, _seen(tx, principal, space_id, "write", rooted=key.is_rooted))
            if conditions is not None:
                conditions(keyed.look(tx, space, key))
            return space.id, keyed.remove(
                tx, self.books.of(principal), space, key, principal.user_id, for_good=for_good
            )

        return await self._removed(*await self._commit(work))

    async def remove_version(
        self, principal: Principal, space_id: Id | None, key: Key, version_id: Id
    ) -> tuple[Removed, bool]:
        """Delete one version for good; of a file in the trash its own id brings it back: whether that was it.

        Raises BucketNotFound, VersionNotFound; Conflict where a newer file has the key.
        """
        principal.require(WRITE)

        def work(tx: Transaction) -> tuple[Id, Removed, bool]:
            space = views.lock(tx, _seen(tx, principal, space_id, "write", rooted=key.is_rooted))
            if keyed.trashed_at(tx, space, key, version_id) is not None:
                path = "/" + "/".join(key.segments)
                writing.make_directory(
                    tx,
                    self.books.of(principal),
                    space,
                    principal.user_id,
                    key.segments[:-1],
                    parents=True,
                    exist_ok=True,
                )
                trash.restore(
                    tx, self.books.of(principal), spaces.lock(tx, space.id), version_id, path, principal.user_id
                )
                return space.id, Removed(), True
            found = keyed.look_at_version(tx, space, key, version_id)
            return space.id, keyed.drop_version(tx, self.books.of(principal), space, found, principal.user_id), False

        space_id_, removed, was_marker = await self._commit(work)
        return await self._removed(space_id_, removed), was_marker

    async def _removed(self, space_id: Id, removed: Removed) -> Removed:
        more = removed.purge_id is not None
        while more:
            more = await self._db.write(
                lambda tx: trash.purge_step(tx, self.books, spaces.lock(tx, space_id), removed.purge_id or b"")
            )
        return removed

    async def copy_key(
        self,
        principal: Principal,
        space_id: Id | None,
        source: Key,
        version_id: Id | None,
        target: Key,
        order: CopyOrder,
        conditions: Conditions = ALWAYS,
        *,
        target_space_id: Id | None,
    ) -> WriteResult | None:
        """Make the content of one key that of another; no bytes move.

        None where the two spaces have different keys: the content has to be read and written.

        Raises BucketNotFound, NodeNotFound, VersionNotFound, NameClash, PreconditionFailed, QuotaExceeded.
        """
        principal.require(WRITE)
        principal.require(READ)

        def work(tx: Transaction) -> WriteResult | None:
            here = _seen(tx, principal, space_id, "read", rooted=source.is_rooted)
            there = _seen(tx, principal, target_space_id, "write", rooted=target.is_rooted)
            if here.domain_id != there.domain_id:
                return None
            here, there = views.lock_both(tx, here, there)
            found = _find(tx, here, source, version_id)
            version = found.version
            if version is None:
                raise NodeNotFound("a directory has no content to copy", key="/".join(source.segments[1:]))
            order.check(found)
            content = copies.content_of(version, Manifest.decode(version.manifest), order.facts(found))
            item = writing.Incoming(
                target.segments,
                content,
                order.mime(version),
                order.modified_us(version),
                conditions,
                below=0 if target.is_rooted else 1,
            )
            return writing.put_file(tx, self.books.of(principal), there, principal.user_id, item, parents=True)

        return await self._commit(work)

    async def change_facts(
        self,
        principal: Principal,
        space_id: Id | None,
        key: Key,
        version_id: Id | None,
        change: Callable[[Facts | None], Facts],
    ) -> Found:
        """Change what is kept of a version; as it was found before. Raises what ``open_key`` raises."""
        principal.require(WRITE)

        def work(tx: Transaction) -> Found:
            space = views.lock(tx, _seen(tx, principal, space_id, "write", rooted=key.is_rooted))
            found = _find(tx, space, key, version_id)
            about_id = found.node.id if found.version is None else found.version.id
            facts.put(tx, about_id, change(found.facts))
            return found

        return await self._commit(work)


def _whole(tx: Transaction, principal: Principal, space_id: Id | None) -> spaces.Space:
    """A space that the principal has all of: a share has no buckets. Raises SpaceNotFound, Forbidden."""
    return access.owned(access.space(tx, principal, space_id, None), "use it by buckets and keys")


def _seen(tx: Transaction, principal: Principal, space_id: Id | None, need: Need, *, rooted: bool) -> spaces.Space:
    """The space, or ``rooted`` the space or share that is a bucket itself. Raises SpaceNotFound, Forbidden."""
    return access.space(tx, principal, space_id, need) if rooted else _whole(tx, principal, space_id)


def _named(bucket: str | None) -> str:
    if bucket is None:
        raise Forbidden("a space or a share that is a bucket has no settings, and is not removed like one")
    return bucket


def _find(tx: Transaction, space: spaces.Space, key: Key, version_id: Id | None) -> Found:
    if version_id is None:
        return keyed.look(tx, space, key)
    return keyed.look_at_version(tx, space, key, version_id)
