"""The face for looking: spaces, nodes, listings, contents, the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count as count_from
from typing import TYPE_CHECKING, TypeVar

from skep.base.errors import BadInput, Forbidden, InvalidCursor, InvalidSize, NodeNotFound, SpaceNotFound
from skep.base.ids import Id, id_text
from skep.chunks.manifest import Manifest
from skep.db import Transaction
from skep.events import Change, decode_cursor, encode_cursor
from skep.filesystem import (
    access,
    entries,
    info,
    listing,
    opening,
    share_changes,
    spaces,
    tree,
    versions,
    views,
)
from skep.filesystem.content import FileContent
from skep.filesystem.core import READ, Core
from skep.filesystem.days import Day, by_day
from skep.filesystem.entries import Entries, Wants
from skep.filesystem.records import ChangePage, NodeInfo, SpaceInfo
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal

T = TypeVar("T")
NOTHING_MORE = Wants()
CHANGES_MAX = 10_000
"""Changes in one page of the journal."""


class Looking(Core):
    """What is there."""

    def create_space(self, tx: Transaction, kind: str, owner_id: Id, name: str) -> Id:
        """Make the space of a new user (``personal``) or group (``group``) in the transaction that makes them."""
        return spaces.create(tx, self._chunks, kind, owner_id, name, self.limits.quota_bytes).id

    async def spaces(self, principal: Principal) -> list[SpaceInfo]:
        """The principal's own space, those of their groups by name, and the shares that they accepted by name."""
        principal.require(READ)
        found = await self._db.read(lambda tx: access.visible(tx, principal, self.limits.page_max))
        return [info.space_info(space) for space in found]

    async def home(self, principal: Principal) -> SpaceInfo:
        """The principal's own space. Raises SpaceNotFound."""
        return await self.space(principal, None)

    async def space(self, principal: Principal, space_id: Id | None) -> SpaceInfo:
        """One space, or a share by its id. Raises SpaceNotFound."""
        principal.require(READ)
        return info.space_info(await self._db.read(lambda tx: access.space(tx, principal, space_id, None)))

    async def days(self, principal: Principal, space_id: Id | None) -> list[Day]:
        """When what a space holds came, by day. Raises SpaceNotFound; Forbidden for a share, which is a part."""
        principal.require(READ)

        def work(tx: Transaction) -> list[Day]:
            space = access.space(tx, principal, space_id, None)
            if space.seen is not None:
                raise Forbidden("a share does not tell how its owner's space filled: ask for a space of your own")
            return by_day(tx, space.id)

        return await self._db.read(work)

    async def set_quota(self, principal: Principal, space_id: Id, quota_bytes: int | None) -> SpaceInfo:
        """Allow a space so many bytes; None: no limit. Administrators only."""
        principal.require_admin()
        if quota_bytes is not None and not 0 <= quota_bytes < 1 << 62:
            raise InvalidSize(f"a quota of {quota_bytes} bytes makes no sense: give 0 or more, or no quota")

        def work(tx: Transaction) -> Space:
            spaces.lock(tx, space_id)
            spaces.set_quota(tx, space_id, quota_bytes)
            return spaces.lock(tx, space_id)

        return info.space_info(await self._db.write(work))

    async def space_of_owner(self, principal: Principal, kind: str, owner_id: Id) -> SpaceInfo:
        """The space of a user or a group, for administrators: its size and quota, not what is in it."""
        principal.require_admin()
        space = await self._db.read(lambda tx: spaces.of_owner(tx, kind, owner_id))
        if space is None:
            raise SpaceNotFound(f"no {kind} space of {id_text(owner_id)}")
        return info.space_info(space)

    async def by_path(self, principal: Principal, space_id: Id | None, path: str) -> NodeInfo:
        """The node at a path. Raises NodeNotFound, SpaceNotFound, InvalidPath, InvalidName."""
        principal.require(READ)
        segments = self._split(path)

        def work(tx: Transaction) -> NodeInfo:
            space = access.space(tx, principal, space_id, "read")
            place = views.resolve(tx, space, segments)
            return info.described(tx, space, tree.found(place), place.path, principal.user_id)

        return await self._db.glance(work)

    async def by_id(self, principal: Principal, node_id: Id) -> NodeInfo:
        """A living node. Raises NodeNotFound."""
        principal.require(READ)

        def work(tx: Transaction) -> NodeInfo:
            source = access.living(tx, principal, node_id, "read")
            return info.described(tx, source.space, source.node, source.path, principal.user_id)

        return await self._db.glance(work)

    async def listing(
        self,
        principal: Principal,
        node_id: Id,
        depth: int = 1,
        limit: int | None = None,
        after: str | None = None,
        *,
        digests: bool = True,
    ) -> list[NodeInfo]:
        """What is in a directory, ``depth`` levels down, in tree order by the bytes of names.

        ``after`` is where the last page ended: the path of its last node relative to the directory. Fewer than
        ``limit`` nodes mean the end. A file has nothing in it. Without ``digests`` it is about twice as quick.
        Raises NodeNotFound.
        """
        principal.require(READ)
        count = self._count(limit)
        if depth < 1:
            raise BadInput(f"a listing of depth {depth} makes no sense: give 1 or more", depth=depth)
        start = self._split("/" + after) if after else ()

        def work(tx: Transaction) -> list[NodeInfo]:
            source = access.living(tx, principal, node_id, "read")
            if not source.node.is_directory:
                return []
            directory = info.node_info(source.node, source.path)
            found = listing.listing(tx, directory, principal.user_id, depth, count, start, digests=digests)
            return found if source.space.seen is None else [info.seen(source.space, node) for node in found]

        return await self._db.read(work)

    async def listed(
        self,
        principal: Principal,
        node_id: Id,
        make: Callable[[Entries], T],
        limit: int | None = None,
        after: str | None = None,
        *,
        wants: Wants = NOTHING_MORE,
    ) -> T:
        """What ``make`` makes of a page of what is directly in a directory, as in ``listing``; a file has no entries.

        ``make`` runs in the thread that reads, perhaps more than once, so it must do nothing but make.
        Raises NodeNotFound.
        """
        principal.require(READ)
        count = self._count(limit)
        name = self._split("/" + after)[:1] if after else ()

        def work(tx: Transaction) -> T:
            source = access.living(tx, principal, node_id, "read")
            space, directory = source.space, (node_id, source.path)
            if not source.node.is_directory:
                return make(Entries(space.seen_id, *directory, (), None, {}, {}))
            return make(
                entries.page(tx, space.seen_id, space.id, directory, principal.user_id, "".join(name), count, wants)
            )

        return await self._db.read(work)

    async def open_file(self, principal: Principal, node_id: Id, version: int | None = None) -> FileContent:
        """A version of a file (the current one if None), ready to be read.

        Raises NodeNotFound (no such node, or it is a directory), VersionNotFound.
        """
        principal.require(READ)

        def work(tx: Transaction) -> tuple[NodeInfo, versions.Version, Space]:
            source = access.living_file(tx, principal, node_id, "read")
            chosen = versions.of_file(tx, source.node, version)
            node = info.seen(source.space, info.node_info(source.node, source.path))
            return node, chosen, source.space

        return await self._opened(*await self._db.glance(work))

    async def open_path(self, principal: Principal, space_id: Id | None, path: str) -> FileContent:
        """The current version of the file at a path, ready to be read.

        Raises NodeNotFound (nothing there, or a directory), SpaceNotFound, InvalidPath, InvalidName.
        """
        principal.require(READ)
        segments = self._split(path)
        whole = self._whole_spaces.get(principal, space_id)
        if whole is not None:
            found = await opening.file_at(self._db, whole.root_id, segments)
            if found is not None:
                return await self._opened(*found, whole)

        def work(tx: Transaction) -> tuple[NodeInfo, versions.Version, Space]:
            space = self._whole_spaces.note(principal, space_id, access.space(tx, principal, space_id, "read"))
            place = views.resolve(tx, space, segments)
            node = tree.found(place)
            if node.is_directory:
                raise NodeNotFound(f'file "{place.path}" does not exist: it is a directory', path=place.path)
            return info.seen(space, info.node_info(node, place.path)), versions.of_file(tx, node, None), space

        return await self._opened(*await self._db.glance(work))

    async def _opened(self, node: NodeInfo, chosen: versions.Version, space: Space) -> FileContent:
        return FileContent(
            node,
            info.version_info(chosen, node.version_number),
            Manifest.decode(chosen.manifest),
            await self._chunks.domain(space.domain_id),
            self._chunks,
            self._tap(space),
        )

    async def changes(
        self,
        principal: Principal,
        space_id: Id | None,
        cursor: str | None,
        limit: int | None = None,
        timeout_s: float = 0.0,
    ) -> ChangePage:
        """The journal of a space from a cursor on; from its oldest entry if None.

        Waits up to ``timeout_s`` for the first new change. To follow a space: take ``SpaceInfo.cursor``, list, then ask
        from that cursor on. Of a share only the changes inside it are told, with paths from its root; what comes in by
        a move has no old path, what leaves is ``deleted``. Raises InvalidCursor, CursorTooOld (list anew),
        SpaceNotFound.
        """
        principal.require(READ)
        count = min(self._count(limit), CHANGES_MAX)
        timeout_s = min(max(0.0, timeout_s), self.limits.wait_s_max)
        space = await self._db.read(lambda tx: access.space(tx, principal, space_id, "read"))
        if space.seen is not None:
            return await self._changes_of_share(principal, space.seen_id, cursor, count, timeout_s)
        after = space.first_change - 1 if cursor is None else self._position(space, cursor)
        if timeout_s and after >= space.last_change:
            found = await self._journal.wait(space.id, after, count + 1, timeout_s)
        else:
            found = await self._journal.read(space.id, after, count + 1)
        page = tuple(found[:count])
        last = page[-1].number if page else after
        return ChangePage(page, encode_cursor(space.id, last), len(found) > count)

    async def _changes_of_share(
        self, principal: Principal, share_id: Id, cursor: str | None, count: int, timeout_s: float
    ) -> ChangePage:
        """What changed inside a share. What else happens in its space moves the cursor on and is not told."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        found: list[Change] = []
        position = -1 if cursor is None else self._position_of(share_id, cursor)
        for looks in count_from(1):
            space = await self._db.read(lambda tx: access.space(tx, principal, share_id, "read"))
            assert space.seen is not None
            since = space.seen.held.share.since_change
            if cursor is None and looks == 1:
                position = max(since, space.first_change - 1)
            share_changes.require_known(position, since)
            left_s = end_s - loop.time()
            if position < space.last_change:
                page = await self._journal.read(space.id, position, share_changes.RUN)
            elif left_s > 0:
                page = await self._journal.wait(space.id, position, share_changes.RUN, left_s)
                if page:
                    continue  # where the share is, and whether it still is, may have changed meanwhile
            else:
                break
            for change in page:
                position = change.number
                if (seen := share_changes.seen(space, change)) is not None:
                    found.append(seen)
                    if len(found) == count:
                        return ChangePage(tuple(found), encode_cursor(share_id, position), position < space.last_change)
            if found and position >= space.last_change:
                break
            if looks >= share_changes.LOOKS_MAX and position < space.last_change:
                return ChangePage(tuple(found), encode_cursor(share_id, position), True)
        return ChangePage(tuple(found), encode_cursor(share_id, position), False)

    def _position(self, space: Space, cursor: str) -> int:
        return self._position_of(space.id, cursor)

    def _position_of(self, place_id: Id, cursor: str) -> int:
        space_id, number = decode_cursor(cursor)
        if space_id != place_id:
            raise InvalidCursor("this cursor is of another space: list this space and take its own")
        return number
