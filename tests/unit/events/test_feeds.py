"""Feeds: every change once and in order, whatever comes between."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.base.errors import DatabaseBusy, SpaceNotFound
from skep.base.ids import new_id
from skep.db import Database, insert_new, prepared
from skep.db.schema import spaces
from skep.events import Batch, Draft, EventLog, Feeds, Follower, Hub, Journal, Skip
from skep.server.live import Poller
from skep.testing.clock import FakeClock

_NODE = new_id()


class Ground:
    """A space with its journal and feeds, and what wakes a follower."""

    def __init__(self, database: Database, *, kept_max: int = 256) -> None:
        self.database = database
        self.hub = Hub()
        self.log = EventLog(self.hub)
        self.journal = Journal(database, self.hub)
        self.feeds = Feeds(self.journal, self.hub, SystemClock(), kept_max=kept_max)
        self.space_id = new_id()
        self.news = asyncio.Event()

    async def begin(self) -> Ground:
        row = {"id": self.space_id, "kind": "personal", "owner_id": new_id(), "name": "x", "root_id": new_id()}
        row |= {"domain_id": new_id(), "created_us": 1}
        await self.database.write(lambda tx: tx.run(insert_new(spaces), row))
        return self

    async def write(self, count: int = 1, path: str = "/a") -> None:
        draft = Draft(kind="created", node_id=_NODE, node_kind="file", path=path, size_bytes=1, actor_id=None)
        await self.database.write(lambda tx: self.log.record_many(tx, self.space_id, [draft] * count))

    async def follow(self, after: int | None = None) -> Follower:
        return await self.feeds.follow(self.space_id, after, self.news.set)

    async def next(self, follower: Follower, limit: int = 1000) -> Batch | Skip:
        async with asyncio.timeout(20):
            while (item := await follower.take(limit)) is None:
                self.news.clear()
                await self.news.wait()
        return item

    async def numbers(self, follower: Follower, count: int, limit: int = 1000) -> list[int]:
        """The next ``count`` numbers; a skip fails."""
        found: list[int] = []
        while len(found) < count:
            item = await self.next(follower, limit)
            assert isinstance(item, Batch)
            found += [change.number for change in item.changes]
        return found


async def test_a_follower_gets_what_was_and_what_comes_without_gap_or_double(each_database):
    ground = await Ground(each_database).begin()
    await ground.write(1200)

    async def writer() -> None:
        for _ in range(40):
            await ground.write(7)

    writing = asyncio.create_task(writer())
    followers = [await ground.follow(after) for after in (0, 1, 600, 1199, 1200)]
    for follower, after in zip(followers, (0, 1, 600, 1199, 1200), strict=True):
        assert await ground.numbers(follower, 1480 - after, 33) == list(range(after + 1, 1481))
    await writing
    assert [await follower.take(1) for follower in followers] == [None] * 5


async def test_one_who_begins_now_gets_nothing_old(database):
    ground = await Ground(database).begin()
    await ground.write(5)
    follower = await ground.follow()
    assert await follower.take(10) is None
    await ground.write(2)
    assert await ground.numbers(follower, 2) == [6, 7]


async def test_one_who_falls_behind_gets_one_skip_and_goes_on_from_the_present(database):
    ground = await Ground(database, kept_max=10).begin()
    slow, quick = await ground.follow(), await ground.follow()
    assert await slow.take(1) is None
    for _ in range(5):
        await ground.write(5)
        assert len(await ground.numbers(quick, 5)) == 5
    assert await ground.next(slow) == Skip("behind", 0, 25)
    assert await slow.take(1) is None
    await ground.write(3)
    assert await ground.numbers(slow, 3) == [26, 27, 28]


async def test_one_who_replays_the_past_slowly_is_not_behind(database):
    ground = await Ground(database, kept_max=4).begin()
    await ground.write(50)
    follower = await ground.follow(0)
    found: list[int] = []
    for _ in range(10):
        found += await ground.numbers(follower, 7, 7)
        await ground.write(6)
    assert found == list(range(1, 71))


async def test_nothing_is_kept_once_everybody_has_it(database):
    ground = await Ground(database).begin()
    first, second = await ground.follow(), await ground.follow()
    await ground.write(20)
    await ground.numbers(first, 20)
    assert await first.take(1) is None
    [feed] = ground.feeds._feeds.values()
    assert len(feed.kept) == 20
    await ground.numbers(second, 20)
    assert await second.take(1) is None
    assert (len(feed.kept), feed.kept_bytes) == (0, 0)


async def test_long_paths_are_not_kept_without_limit(database):
    ground = await Ground(database, kept_max=10_000).begin()
    follower = await ground.follow()
    assert await follower.take(1) is None
    for _ in range(4):
        await ground.write(100, path="/" + "n" * 4000)
    await ground.write(1)
    while ground.feeds._feeds[ground.space_id].position != 401:
        await asyncio.sleep(0)
    [feed] = ground.feeds._feeds.values()
    assert feed.kept_bytes <= 256 << 10
    assert await ground.next(follower) == Skip("behind", 0, 401)


@pytest.mark.parametrize("after", [3, 99])
async def test_a_cursor_that_the_journal_does_not_reach_is_a_skip(database, after):
    ground = await Ground(database).begin()
    await ground.write(10)
    await ground.journal.trim(ground.space_id, before_us=0, keep=2)
    follower = await ground.follow(after)
    assert await ground.next(follower) == Skip("too-old", after, 10)
    await ground.write()
    assert await ground.numbers(follower, 1) == [11]


async def test_a_space_that_nobody_follows_costs_nothing(database):
    ground = await Ground(database).begin()
    with await ground.follow():
        assert ground.feeds.spaces() == [ground.space_id]
    await ground.write()
    assert ground.feeds._feeds == {}


async def test_following_no_space_is_refused_and_leaves_nothing(database):
    ground = Ground(database)
    with pytest.raises(SpaceNotFound):
        await ground.follow()
    assert ground.feeds._feeds == {}


async def test_polling_finds_what_no_notice_told_of(database):
    ground = await Ground(database).begin()
    follower = await ground.follow()
    elsewhere = EventLog(Hub())  # another process's
    draft = Draft(kind="created", node_id=_NODE, node_kind="file", path="/a", size_bytes=1, actor_id=None)
    await database.write(lambda tx: elsewhere.record(tx, ground.space_id, **_fields(draft)))
    assert await follower.take(1) is None
    assert await ground.feeds.poll() == 1
    assert await ground.numbers(follower, 1) == [1]
    assert await ground.feeds.poll() == 0


async def test_a_database_restored_from_before_makes_everybody_list_anew(database):
    ground = await Ground(database).begin()
    await ground.write(9)
    follower = await ground.follow()
    back = prepared(sa.update(spaces).values(last_change=4))
    await database.write(lambda tx: tx.run(back))
    assert await ground.feeds.poll() == 1
    assert await ground.next(follower) == Skip("too-old", 9, 4)


async def test_a_journal_that_cannot_be_read_is_read_later(database):
    ground = await Ground(database).begin()
    follower = await ground.follow()
    read, failures = ground.journal.read, [DatabaseBusy("busy"), DatabaseBusy("busy")]

    async def failing(*arguments):
        if failures:
            raise failures.pop()
        return await read(*arguments)

    ground.journal.read = failing
    await ground.write(3)
    assert await ground.numbers(follower, 3) == [1, 2, 3]
    assert failures == []


async def test_a_deleted_space_ends_its_followers(database):
    ground = await Ground(database).begin()
    follower = await ground.follow()
    await ground.write()
    gone = prepared(sa.delete(spaces))
    await database.write(lambda tx: tx.run(gone))
    ground.hub.publish(ground.space_id, 2)
    with pytest.raises(SpaceNotFound):
        await ground.numbers(follower, 3)


def _fields(draft: Draft) -> dict[str, object]:
    return {name: getattr(draft, name) for name in Draft.__struct_fields__}


async def test_a_poller_makes_up_for_notices_that_got_lost(database):
    ground, clock = await Ground(database).begin(), FakeClock()
    follower = await ground.follow()
    poller = Poller(ground.feeds, clock, 5.0)
    poller.start()
    draft = Draft(kind="created", node_id=_NODE, node_kind="file", path="/a", size_bytes=1, actor_id=None)
    await database.write(lambda tx: EventLog(Hub()).record(tx, ground.space_id, **_fields(draft)))
    assert await follower.take(1) is None
    await clock.advance(5)
    assert await ground.numbers(follower, 1) == [1]
    await poller.close()
