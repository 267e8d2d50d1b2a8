from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skep.base.clock import SystemClock
from skep.base.errors import CorruptRecord, DatabaseTooNew, InUse
from skep.db import Database, insert_new, migrate, prepared
from skep.db import snapshot as snapshots
from skep.db.schema import METADATA, hive, tags, versions, worker_states
from skep.db.snapshot import export, load


def _value(column: sa.Column, number: int) -> object:
    if column.nullable and number % 3 == 0:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return hashlib.sha512(f"{column} {number}".encode()).digest()[: column.type.length or 40]
    if isinstance(column.type, sa.SmallInteger):
        return number % 2
    if isinstance(column.type, sa.Integer):
        return number * 7 - 3
    return f"naïve {number} \U0001f41d"


async def _fill(database: Database, count: int = 70) -> None:
    for table in METADATA.tables.values():
        rows = [{column.name: _value(column, number) for column in table.columns} for number in range(count)]
        await database.write(lambda tx, table=table, rows=rows: tx.many(insert_new(table), rows))


async def _everything(database: Database) -> dict[str, set[tuple[object, ...]]]:
    statements = {table.name: prepared(sa.select(table)) for table in METADATA.tables.values()}
    return await database.read(lambda tx: {name: set(tx.rows(st)) for name, st in statements.items()})


async def _exported(database: Database) -> bytes:
    return await database.read(lambda tx: b"".join(export(tx)))


@pytest.fixture
async def other(tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}?synchronous=off"
    migrate(url)
    opened = await Database.open(url, clock=SystemClock())
    yield opened
    await opened.close()


async def test_from_each_database_to_another_kind_and_back(each_database, other):
    await _fill(each_database)
    before = await _everything(each_database)
    raw = await _exported(each_database)
    assert await load(other, [raw]) == 70 * len(METADATA.tables)
    assert await _everything(other) == before
    await each_database.write(snapshots.empty)
    parts = await other.read(lambda tx: list(export(tx)))

    async def uneven():
        for part in parts:
            yield part[:7]
            yield part[7:]

    await load(each_database, uneven())
    assert await _everything(each_database) == before


async def test_tables_can_be_left_out(database, other):
    await _fill(database, 3)
    await load(other, await database.read(lambda tx: list(export(tx, leave_out={"sessions"}))))
    assert await _everything(other) == await _everything(database) | {"sessions": set()}


async def test_keys_of_several_columns_are_paged_without_loss(database, other, monkeypatch):
    monkeypatch.setattr(snapshots, "_PAGE_ROWS_FIRST", 3)
    monkeypatch.setattr(snapshots, "_PAGE_ROWS_MAX", 3)
    rows = [
        {"user_id": bytes([user] * 16), "name": name, "node_id": bytes([node] * 16)}
        for user in range(3)
        for name in ("", "a", "b")
        for node in range(7)
    ]
    await database.write(lambda tx: tx.many(insert_new(tags), rows))
    assert await load(other, [await _exported(database)]) == len(rows)
    assert await _everything(other) == await _everything(database)


async def test_parts_are_bounded_though_rows_are_large(database):
    big = {column.name: _value(column, 1) for column in versions.columns} | {"manifest": b"m" * 300_000}
    rows = [big | {"id": bytes([n] * 16), "number": n} for n in range(100)]
    await database.write(lambda tx: tx.many(insert_new(versions), rows))
    sizes = await database.read(lambda tx: [len(part) for part in export(tx)])
    assert max(sizes) <= 16 * 301_000
    assert sizes.count(max(sizes)) <= 2


async def test_a_database_with_rows_is_not_overwritten(database, other):
    raw = await _exported(database)
    await _fill(other, 1)
    before = await _everything(other)
    with pytest.raises(InUse, match="is not empty"):
        await load(other, [raw])
    assert await _everything(other) == before


async def test_a_load_that_was_killed_is_done_again(database, other):
    await _fill(database, 5)
    await other.write(lambda tx: tx.run(insert_new(hive), {"name": snapshots._LOADING, "value": b""}))
    await other.write(lambda tx: tx.run(insert_new(worker_states), {"name": "gc", "state": b"", "updated_us": 1}))
    await load(other, [await _exported(database)])
    assert await _everything(other) == await _everything(database)


async def test_the_last_words_of_a_load_come_with_its_end(database, other):
    """Whoever has more to do after a load leaves no moment in which the database looks finished."""
    await _fill(database, 3)
    raw = await _exported(database)
    said = []

    def last(tx):
        said.append(snapshots.loading(tx))
        raise LookupError

    with pytest.raises(LookupError):
        await load(other, [raw], last)
    assert await other.read(snapshots.loading)
    await load(other, [raw], lambda tx: said.append(snapshots.loading(tx)))
    assert said == [False, False]
    assert not await other.read(snapshots.loading)


async def test_a_newer_snapshot_is_refused(database, other, monkeypatch):
    monkeypatch.setattr(snapshots, "HEAD", "9999")
    raw = await _exported(database)
    with pytest.raises(DatabaseTooNew, match="9999"):
        await load(other, [raw])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(data=st.data())
async def test_damage_anywhere_is_noticed_and_leaves_an_empty_database(database, other, data):
    if not (await _everything(database))["users"]:
        await _fill(database, 3)
    raw = bytearray(await _exported(database))
    where = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "repeat"]))
    if how == "flip":
        raw[where] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del raw[where:]
    else:
        raw[where:where] = raw[max(0, where - 50) : where] or b"\x00"
    with pytest.raises((CorruptRecord, DatabaseTooNew)):
        await load(other, [bytes(raw)])
    assert not any((await _everything(other)).values())


# Never edited: what the first format looked like.
VERSION_1 = bytes.fromhex(
    "534b45504d455441010000001493a468656164a430303031cf00060a24181e40005a2317e5983f6d055df6fe9804d3504400"
    "00001893a57461626c65a46869766592a46e616d65a576616c7565b0c2b6748a46ed11a6a3866094c9e43a0000001392a472"
    "6f77739292a161c40200ff92a162c4006c283f2647b89a9d4e943b975433feec0000002c93a57461626c65ad776f726b6572"
    "5f73746174657393a46e616d65a57374617465aa757064617465645f7573ab996132bfb4721fc4453caac6da43c10000000f"
    "92a4726f77739193a26763c40178fb6f610d1ba88a3a6d1faa593e847a1f970000000692a3656e640330ef3fbb35cb0101bd"
    "1d3eee749e5368"
)


async def test_the_first_format_stays_readable(other):
    assert await load(other, [VERSION_1]) == 3
    found = await _everything(other)
    assert found["hive"] == {("a", b"\x00\xff"), ("b", b"")}
    assert found["worker_states"] == {("gc", b"x", -5)}
