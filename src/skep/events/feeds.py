"""Feeds: the changes of a space as they happen, read from the journal once for all who follow it.

What always holds:
- a follower gets every change after its position once and in order, or a Skip that says what it was not given;
- a feed keeps at most ``kept_max`` changes, and none at all while everybody is up to date: what a follower that
  began in the past needs is read from the journal, page by page, at its own pace;
- a follower that once was up to date and then fell behind by more than the feed keeps gets one Skip and goes on
  from the present;
- a space that nobody follows costs nothing, one that is idle no task and no timer.

    feeds = Feeds(journal, hub, clock)
    with await feeds.follow(space_id, after=41, wake=event.set) as follower:
        while (item := await follower.take(100)) is not None: ...   # then wait for the event
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Literal, TypeAlias

from skep.base.clock import Clock
from skep.base.errors import CursorTooOld, SkepError, SpaceNotFound
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.events.hub import QUEUE_MAX, Hub
from skep.events.journal import Journal
from skep.events.records import Change

PAGE = 500
"""Changes read from the journal at once."""
KEPT_BYTES_MAX = 256 << 10
"""Of the paths that a feed keeps for those who are not up to date."""
RETRY_MIN_S, RETRY_MAX_S = 0.25, 15.0
log = get_logger("skep.events")

Why: TypeAlias = Literal["behind", "too-old"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The next changes of a space, in order. ``position`` is the number of the last one."""

    changes: tuple[Change, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Changes above ``seen`` and up to ``position`` were not given; what comes next is after ``position``.

    ``behind``: too many waited, the journal still has them. ``too-old``: the journal lacks some, list anew.
    """

    why: Why
    seen: int
    position: int


class _Feed:
    """One followed space."""

    def __init__(self, space_id: Id) -> None:
        self.space_id = space_id
        self.position: int | None = None
        """The last change that was read; None until a follower has asked the journal."""
        self.wanted = 0
        """The last change that is known to be there."""
        self.kept: deque[Change] = deque()
        self.kept_bytes = 0
        self.followers: set[Follower] = set()
        self.behind: set[Follower] = set()
        self.joining = 0
        """Followers that are about to be."""
        self.restarts = 0
        self.error: SkepError | None = None
        self.reading: asyncio.Task[None] | None = None

    def keep(self, changes: list[Change], kept_max: int) -> None:
        """Take in what was read, drop what is more than is kept, wake everybody."""
        for change in changes:
            self.kept.append(change)
            self.kept_bytes += _weight(change)
        while len(self.kept) > kept_max or self.kept_bytes > KEPT_BYTES_MAX:
            self.kept_bytes -= _weight(self.kept.popleft())
        self.position = changes[-1].number
        self.behind.update(self.followers)
        self.wake()

    def wake(self) -> None:
        for follower in tuple(self.followers):
            follower.wake()

    def caught_up(self, follower: Follower) -> None:
        """This one needs nothing that is kept; when nobody does, nothing is."""
        self.behind.discard(follower)
        if not self.behind and self.kept:
            self.kept.clear()
            self.kept_bytes = 0

    def restart(self, position: int) -> None:
        """The journal is not the one that was read before: everybody begins at its end."""
        self.kept.clear()
        self.kept_bytes = 0
        self.position = self.wanted = position
        self.restarts += 1
        self.wake()


def _weight(change: Change) -> int:
    return len(change.path) + len(change.old_path or "") + 256


class Follower:
    """One place in a feed. Use it in a ``with`` block; one task at a time may call ``take``."""

    __slots__ = ("_feed", "_feeds", "_pending", "_replaying", "_restarts", "position", "wake")

    def __init__(
        self, feeds: Feeds, feed: _Feed, position: int, wake: Callable[[], None], *, pending: Skip | None
    ) -> None:
        self.position = position
        self.wake = wake
        self._feeds = feeds
        self._feed = feed
        self._restarts = feed.restarts
        self._pending = pending
        self._replaying = True

    @property
    def space_id(self) -> Id:
        """The space that it follows."""
        return self._feed.space_id

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Follow no more. Safe to call twice."""
        self._feeds.leave(self._feed, self)

    async def take(self, limit: int) -> Batch | Skip | None:
        """Up to ``limit`` next changes, or what was skipped; None when it is up to date: ``wake`` will be called.

        Raises SpaceNotFound when the space is gone, and what the database raises.
        """
        feed = self._feed
        if feed.error is not None:
            raise feed.error
        assert feed.position is not None
        if self._pending is not None:
            skip, self._pending = self._pending, None
            return skip
        if self._restarts != feed.restarts:
            self._restarts = feed.restarts
            return self._skip("too-old", feed.position)
        if self.position >= feed.position:
            self._replaying = False
            feed.caught_up(self)
            return None
        oldest = feed.kept[0].number if feed.kept else feed.position + 1
        if oldest <= self.position + 1:
            start = self.position + 1 - oldest
            return self._give(tuple(islice(feed.kept, start, start + limit)))
        if not self._replaying:
            return self._skip("behind", feed.position)
        try:
            found = await self._feeds.journal.read(feed.space_id, self.position, min(limit, PAGE))
        except CursorTooOld:
            return self._skip("too-old", feed.position)
        return self._give(tuple(found)) if found else None

    def _give(self, changes: tuple[Change, ...]) -> Batch:
        assert changes[0].number == self.position + 1, "numbers have no gaps"
        self.position = changes[-1].number
        return Batch(changes, self.position)

    def _skip(self, why: Why, position: int) -> Skip:
        skip = Skip(why, self.position, position)
        self.position = position
        self._replaying = False
        self._feed.caught_up(self)
        return skip


class Feeds:
    """All followed spaces of this process. Lives on one event loop; listens to the hub until closed."""

    def __init__(self, journal: Journal, hub: Hub, clock: Clock, *, kept_max: int = QUEUE_MAX) -> None:
        self.journal = journal
        self._hub = hub
        self._clock = clock
        self._kept_max = kept_max
        self._feeds: dict[Id, _Feed] = {}
        hub.listen(self)

    async def follow(self, space_id: Id, after: int | None, wake: Callable[[], None]) -> Follower:
        """Follow a space from the change ``after`` on; None: from now.

        ``wake`` is called, on the loop, whenever ``take`` has something. Raises SpaceNotFound.
        """
        feed = self._feeds.setdefault(space_id, _Feed(space_id))
        feed.joining += 1  # before the look: no notice falls between
        try:
            first, last = await self.journal.bounds(space_id)
            if feed.position is None:
                feed.position = last
            position = last if after is None else after
            lost = not first <= position + 1 <= last + 1
            skip = Skip("too-old", position, last) if lost else None
            follower = Follower(self, feed, last if lost else position, wake, pending=skip)
            feed.followers.add(follower)
        finally:
            feed.joining -= 1
            self._forget(feed)
        self._want(feed, last)
        return follower

    def leave(self, feed: _Feed, follower: Follower) -> None:
        """A follower's end."""
        feed.followers.discard(follower)
        feed.caught_up(follower)
        self._forget(feed)

    def spaces(self) -> list[Id]:
        """The spaces that somebody follows."""
        return [space_id for space_id, feed in self._feeds.items() if feed.followers]

    async def poll(self) -> int:
        """Ask the journals of all followed spaces for news, in case a notice was lost; how many had some."""
        found = 0
        for space_id, last in (await self.journal.heads(self.spaces())).items():
            feed = self._feeds.get(space_id)
            if feed is None or feed.position is None or last == max(feed.position, feed.wanted):
                continue
            found += 1
            if last < feed.position:  # the database was restored from before
                feed.restart(last)
            else:
                self._hub.publish(space_id, last, relayed=True)
        return found

    def changed(self, space_id: Id, number: int, *, relayed: bool) -> None:
        """The hub's notice."""
        feed = self._feeds.get(space_id)
        if feed is not None:
            self._want(feed, number)

    def voided(self, user_id: Id, *, relayed: bool) -> None:
        """Nothing that a feed knows depends on users."""

    def doubted(self, space_id: Id, *, relayed: bool) -> None:
        """Nor on shares."""

    async def close(self) -> None:
        """End all reading."""
        self._hub.leave(self)
        tasks = [feed.reading for feed in self._feeds.values() if feed.reading is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _want(self, feed: _Feed, number: int) -> None:
        feed.wanted = max(feed.wanted, number)
        if feed.position is not None and feed.wanted > feed.position and feed.followers and feed.reading is None:
            feed.reading = asyncio.get_running_loop().create_task(self._read(feed))

    def _forget(self, feed: _Feed) -> None:
        if not feed.followers and not feed.joining and self._feeds.get(feed.space_id) is feed:
            del self._feeds[feed.space_id]

    async def _read(self, feed: _Feed) -> None:
        """Read until all that is wanted is there; failures are tried again for as long as somebody follows."""
        pause_s = RETRY_MIN_S
        try:
            while feed.followers and feed.error is None and feed.position is not None and feed.wanted > feed.position:
                try:
                    await self._page(feed, feed.position)
                    pause_s = RETRY_MIN_S
                except SkepError as error:
                    log.warning("a journal could not be read", code=error.code, retry_in_s=pause_s)
                    await self._clock.sleep(pause_s)
                    pause_s = min(2 * pause_s, RETRY_MAX_S)
        finally:
            feed.reading = None

    async def _page(self, feed: _Feed, position: int) -> None:
        try:
            changes = await self.journal.read(feed.space_id, position, PAGE)
        except SpaceNotFound as error:
            feed.error = error
            feed.wake()
        except CursorTooOld:
            _, last = await self.journal.bounds(feed.space_id)
            feed.restart(last)
        else:
            if changes:
                feed.keep(changes, self._kept_max)
            else:
                feed.wanted = position  # a notice of a change that this database never got
