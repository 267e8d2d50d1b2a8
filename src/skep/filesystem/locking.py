"""The face for locks: taking, refreshing, giving back, looking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from skep.base.errors import Conflict, Forbidden, NodeNotFound, PreconditionFailed
from skep.base.ids import Id, new_id
from skep.db import Transaction
from skep.filesystem import access, info, locks, moves, tree, views
from skep.filesystem.core import READ, WRITE
from skep.filesystem.locks import Lock
from skep.filesystem.records import Conditions, LockInfo, NodeInfo
from skep.filesystem.spaces import Space
from skep.filesystem.uploading import Uploading

if TYPE_CHECKING:
    from skep.auth.records import Principal

SECOND_US = 1_000_000


class Locking(Uploading):
    """What is kept from others for a while."""

    async def lock(
        self,
        principal: Principal,
        space_id: Id | None,
        path: str,
        *,
        is_shared: bool,
        is_deep: bool,
        owner: str,
        timeout_s: float,
    ) -> tuple[LockInfo, NodeInfo, bool]:
        """Lock the node at a path; where nothing is, make an empty file first. The lock, the node, whether it is new.

        ``owner`` is what the client wants others to see; ``timeout_s`` is cut to ``limits.lock_max_s``.
        Raises Locked, NodeNotFound (no parent), NameClash, LimitReached.
        """
        principal.require(WRITE)
        segments = self._split(path)
        created = await self._make_lockable(principal, space_id, path)

        def work(tx: Transaction) -> tuple[LockInfo, NodeInfo]:
            space = views.lock(tx, access.space(tx, principal, space_id, "write"))
            place = views.resolve(tx, space, segments)
            node = tree.found(place)
            lock = Lock(
                new_id(), space.id, node.id, int(is_shared), int(is_deep and node.is_directory), owner,
                principal.user_id, tx.now_us, self._end_us(tx, timeout_s),
            )  # fmt: skip
            locks.add(tx, space, lock, place.chain, is_directory=node.is_directory)
            found = info.seen(space, info.node_info(node, place.path))
            return lock_info(tx, lock, place.path, is_directory=node.is_directory), found

        given, node = await self._commit(work)
        return given, node, created

    async def _make_lockable(self, principal: Principal, space_id: Id | None, path: str) -> bool:
        """Make an empty file where nothing is (RFC 4918 section 9.10.4); whether that was needed."""
        try:
            await self._db.read(lambda tx: self._there(tx, principal, space_id, path))
        except NodeNotFound:
            try:
                await self.write_file(
                    principal, space_id, path, _nothing(), length=0, conditions=Conditions(if_none_match=("*",))
                )
            except PreconditionFailed:
                return False  # somebody was faster
            return True
        return False

    def _there(self, tx: Transaction, principal: Principal, space_id: Id | None, path: str) -> tree.Node:
        space = access.space(tx, principal, space_id, "read")
        return tree.found(views.resolve(tx, space, self._split(path)))

    def _end_us(self, tx: Transaction, timeout_s: float) -> int:
        return tx.now_us + int(min(max(1.0, timeout_s), self.limits.lock_max_s) * SECOND_US)

    async def refresh_lock(
        self, principal: Principal, space_id: Id | None, path: str, token: Id, timeout_s: float
    ) -> LockInfo:
        """Let a lock that covers a path last longer. Raises PreconditionFailed where there is none with this token."""
        principal.require(WRITE)

        def work(tx: Transaction) -> LockInfo:
            space = views.lock(tx, access.space(tx, principal, space_id, "write"))
            lock = self._covering(tx, space, path, token)
            if lock is None or lock.user_id != principal.user_id:
                raise PreconditionFailed(f'no lock of yours on "{path}" has this token: lock it anew', path=path)
            return self._info(tx, space, locks.extend(tx, space, lock, self._end_us(tx, timeout_s)))

        return await self._commit(work)

    async def unlock(self, principal: Principal, space_id: Id | None, path: str, token: Id) -> None:
        """Take off a lock that covers a path. Raises Conflict (no such lock here), Forbidden (another user's)."""
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            space = views.lock(tx, access.space(tx, principal, space_id, "write"))
            lock = self._covering(tx, space, path, token)
            if lock is None:
                raise Conflict(f'no lock on "{path}" has this token', path=path)
            if lock.user_id != principal.user_id:
                raise Forbidden(f'the lock on "{path}" is another user\'s: it ends with its time')
            locks.end(tx, space, [lock])

        await self._commit(work)

    def _covering(self, tx: Transaction, space: Space, path: str, token: Id) -> Lock | None:
        place = views.resolve(tx, space, self._split(path))
        node_id = None if place.node is None else place.node.id
        found = locks.covering(locks.in_force(tx, space), place.chain, node_id)
        return next((one for one in found if one.token == token), None)

    async def locks(self, principal: Principal, space_id: Id | None) -> list[LockInfo]:
        """The locks in a space that are in force, the oldest first."""
        principal.require(READ)

        def work(tx: Transaction) -> list[LockInfo]:
            space = access.space(tx, principal, space_id, "read")
            return [self._info(tx, space, lock) for lock in locks.in_force(tx, space) if self._is_seen(tx, space, lock)]

        return await self._db.read(work)

    async def state(self, principal: Principal, space_id: Id | None, path: str) -> tuple[str | None, Sequence[Id]]:
        """The ETag of the node at a path, None if there is none, and the tokens of the locks that cover it."""
        principal.require(READ)

        def work(tx: Transaction) -> tuple[str | None, Sequence[Id]]:
            space = access.space(tx, principal, space_id, "read")
            place = views.resolve(tx, space, self._split(path))
            node = place.node
            found = locks.covering(locks.in_force(tx, space), place.chain, None if node is None else node.id)
            return None if node is None else moves.etag_of(node), [one.token for one in found]

        return await self._db.read(work)

    def _is_seen(self, tx: Transaction, space: Space, lock: Lock) -> bool:
        """Whether a lock is on something that is seen, or covers it from above."""
        if lock.is_deep and lock.node_id in space.base:
            return True
        try:
            views.above(tx, space, lock.node_id)
        except NodeNotFound:
            return False
        return True

    def _info(self, tx: Transaction, space: Space, lock: Lock) -> LockInfo:
        node = tree.node_by_id(tx, lock.node_id)
        path = locks.path_of(tx, space, lock)
        return lock_info(tx, lock, path, is_directory=node is not None and node.is_directory)


def lock_info(tx: Transaction, lock: Lock, path: str, *, is_directory: bool) -> LockInfo:
    """What callers see of a lock."""
    return LockInfo(
        token=lock.token,
        path=path,
        is_directory=is_directory,
        is_shared=bool(lock.is_shared),
        is_deep=bool(lock.is_deep),
        owner=lock.owner,
        user_id=lock.user_id,
        seconds_left=(lock.expires_us - tx.now_us) / SECOND_US,
    )


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for part in nothing:
        yield part
