from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.errors import CursorTooOld, InvalidCursor, SpaceNotFound
from skep.base.ids import new_id
from skep.db import insert_new
from skep.db.schema import changes, spaces
from skep.events import (
    CHANGE_KINDS,
    EVENT_TYPES,
    RESYNC,
    Change,
    Draft,
    Event,
    EventLog,
    Hub,
    Journal,
    decode_cursor,
    encode_cursor,
    records,
)

_NODE = new_id()


def _draft(path: str = "/a", kind: str = "created") -> Draft:
    return Draft(kind=kind, node_id=_NODE, node_kind="file", path=path, size_bytes=3, actor_id=None)


async def _space(database) -> bytes:
    space_id = new_id()
    row = {"id": space_id, "kind": "personal", "owner_id": new_id(), "name": "x", "root_id": new_id()}
    await database.write(lambda tx: tx.run(insert_new(spaces), {**row, "domain_id": new_id(), "created_us": 1}))
    return space_id


async def _record(database, log, space_id, *paths) -> int:
    return await database.write(lambda tx: log.record_many(tx, space_id, [_draft(path) for path in paths]))


async def test_numbers_have_no_gaps_though_units_fail(each_database):
    space_id, log = await _space(each_database), EventLog(Hub())

    async def one(number: int) -> int | None:
        def unit(tx):
            given = log.record(
                tx,
                space_id,
                kind="created",
                node_id=_NODE,
                node_kind="file",
                path=f"/{number}",
                size_bytes=number,
                actor_id=_NODE,
                etag="e",
                version_number=1,
            )
            if number % 3 == 0:
                raise LookupError("on purpose")
            return given

        try:
            return await each_database.write(unit)
        except LookupError:
            return None

    given = await asyncio.gather(*[one(number) for number in range(30)])
    assert sorted(number for number in given if number) == list(range(1, 21))
    found = await Journal(each_database, Hub()).read(space_id, 0, 1000)
    assert [change.number for change in found] == list(range(1, 21))
    assert {change.path for change in found} == {f"/{number}" for number in range(30) if number % 3}


async def test_a_change_has_the_columns_of_its_table():
    assert list(Change.__struct_fields__) == [column.name for column in changes.columns]


async def test_reading_goes_on_from_a_number(database):
    space_id, log = await _space(database), EventLog(Hub())
    assert await _record(database, log, space_id, "/1", "/2", "/3") == 1
    assert await _record(database, log, space_id, "/4") == 4
    journal = Journal(database, log.hub)
    assert [change.path for change in await journal.read(space_id, 1, 2)] == ["/2", "/3"]
    assert await journal.read(space_id, 4, 2) == []
    with pytest.raises(CursorTooOld, match="stands at 5"):
        await journal.read(space_id, 5, 1)
    with pytest.raises(SpaceNotFound):
        await journal.read(new_id(), 0, 1)
    with pytest.raises(SpaceNotFound):
        await _record(database, log, new_id(), "/x")


async def test_waiting_is_woken_by_a_commit_and_asks_the_database_twice_only(database):
    space_id, other, hub = await _space(database), await _space(database), Hub()
    log, journal = EventLog(hub), Journal(database, hub)
    reads = 0
    read = database.read

    async def counted(work):
        nonlocal reads
        found = await read(work)
        reads += 1
        return found

    database.read = counted
    waiting = asyncio.create_task(journal.wait(space_id, 0, 10, 60))
    while reads == 0:
        await asyncio.sleep(0)
    await _record(database, log, other, "/elsewhere")
    await _record(database, log, space_id, "/here")
    assert [change.path for change in await waiting] == ["/here"]
    assert reads == 2
    assert hub.subscribers() == 0


async def test_waiting_ends_with_its_time(database):
    space_id, hub = await _space(database), Hub()
    assert await Journal(database, hub).wait(space_id, 0, 10, 0.01) == []
    assert await Journal(database, hub).wait(space_id, 0, 10, 0) == []
    assert hub.subscribers() == 0


async def test_a_change_that_is_there_is_given_without_waiting(database):
    space_id, log = await _space(database), EventLog(Hub())
    await _record(database, log, space_id, "/1")
    async with asyncio.timeout(30):
        assert len(await Journal(database, log.hub).wait(space_id, 0, 10, 1000)) == 1


async def test_trimming_by_number_and_by_age_moves_the_first_change(each_database):
    space_id, log = await _space(each_database), EventLog(Hub())
    journal = Journal(each_database, log.hub)
    await _record(each_database, log, space_id, *[f"/{number}" for number in range(1, 11)])
    assert await journal.trim(space_id, before_us=0, keep=10) == 0
    assert await journal.trim_all(before_us=0, keep=4) == 6
    assert [change.number for change in await journal.read(space_id, 6, 100)] == [7, 8, 9, 10]
    with pytest.raises(CursorTooOld, match="7 to 10"):
        await journal.read(space_id, 5, 100)
    assert await journal.trim_all(before_us=2**62, keep=100) == 4
    assert await journal.read(space_id, 10, 100) == []
    assert await _record(each_database, log, space_id, "/new") == 11
    assert [change.number for change in await journal.read(space_id, 10, 100)] == [11]


async def test_one_call_trims_no_more_than_its_limit(database, monkeypatch):
    monkeypatch.setattr("skep.events.journal.TRIM_MAX", 3)
    space_id, log = await _space(database), EventLog(Hub())
    journal = Journal(database, log.hub)
    await _record(database, log, space_id, *[f"/{number}" for number in range(1, 9)])
    assert await journal.trim(space_id, before_us=2**62, keep=100) == 3
    assert [change.number for change in await journal.read(space_id, 3, 100)] == [4, 5, 6, 7, 8]
    assert await journal.trim_all(before_us=0, keep=1) == 4


async def test_a_subscriber_that_falls_behind_gets_the_mark():
    hub = Hub(queue_max=3)
    with hub.subscribe(b"s") as slow, hub.subscribe(b"s") as quick:
        for number in range(1, 5):
            hub.publish(b"s", number)
            assert await quick.get() == number
        assert await slow.get() is RESYNC
        hub.publish(b"s", 5)
        assert await slow.get() == 5
    hub.publish(b"s", 6)
    assert hub.subscribers() == 0


async def test_waiting_reads_anew_after_the_mark(database):
    space_id, hub = await _space(database), Hub(queue_max=1)
    log, journal = EventLog(hub), Journal(database, hub)
    waiting = asyncio.create_task(journal.wait(space_id, 0, 10, 60))
    while hub.subscribers() == 0:
        await asyncio.sleep(0)
    await asyncio.gather(*[_record(database, log, space_id, f"/{number}") for number in range(20)])
    assert len(await waiting) >= 1


async def test_operators_hear_of_events():
    hub = Hub()
    event = records.StoreLost(at_us=5, store_id=_NODE, name="disk2", error="gone")
    hub.emit(event)
    with hub.subscribe_events() as heard:
        hub.emit(event)
        async for found in heard:
            assert found == event
            break


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1))
def test_cursors_come_back(space_id, number):
    text = encode_cursor(space_id, number)
    assert decode_cursor(text) == (space_id, number)
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.one_of(st.text(max_size=50), st.text("ABCabc-_019=+/", min_size=34, max_size=34)))
def test_texts_that_are_no_cursors_are_refused(text):
    try:
        space_id, number = decode_cursor(text)
    except InvalidCursor:
        return
    assert encode_cursor(space_id, number) == text


def test_a_cursor_of_another_version_is_refused():
    text = encode_cursor(b"\x00" * 16, 1)
    with pytest.raises(InvalidCursor):
        decode_cursor("Ag" + text[2:])


def test_an_unknown_kind_of_change_is_refused():
    with pytest.raises(ValueError, match="no kind of change"):
        _draft(kind="exploded")


def test_every_kind_is_listed_and_documented():
    def all_below(cls):
        return [found for child in cls.__subclasses__() for found in (child, *all_below(child))]

    assert set(EVENT_TYPES) == set(all_below(Event))
    page = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
    for kind in CHANGE_KINDS:
        assert f"| `{kind}` |" in page
    for cls in EVENT_TYPES:
        line = next((line for line in page.splitlines() if line.startswith(f"| `{cls.kind()}` |")), "")
        assert line, f"docs/events.md has no row for {cls.kind()}"
        for name in set(cls.__struct_fields__) - {"at_us"}:
            assert f"`{name}`" in line, f"docs/events.md: {cls.kind()} lacks {name}"
    for name in Change.__struct_fields__:
        assert f"`{name}`" in page
