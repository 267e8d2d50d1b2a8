"""What units of work mean, on each of the three databases."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest
import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.base.errors import InvalidSetting, ShuttingDown
from skep.db import Database, RowExists, insert_new, migrate, prepared, upsert
from skep.db.schema import changes, packs, stores, users, worker_states

_put = insert_new(worker_states)
_keep = insert_new(worker_states, or_ignore=True)
_set = upsert(worker_states, ["name"], ["state", "updated_us"])
_get = prepared(sa.select(worker_states.c.state).where(worker_states.c.name == sa.bindparam("name")))
_all = prepared(sa.select(worker_states.c.name, worker_states.c.state).order_by(worker_states.c.name))
_among = prepared(
    sa.select(worker_states.c.name)
    .where(worker_states.c.name.in_(sa.bindparam("names", expanding=True)))
    .order_by(worker_states.c.name)
)
_not_among = prepared(
    sa.select(sa.func.count()).where(worker_states.c.name.not_in(sa.bindparam("names", expanding=True)))
)
_touch = prepared(
    sa.update(worker_states)
    .where(worker_states.c.name == sa.bindparam("which"))
    .values(updated_us=worker_states.c.updated_us + sa.bindparam("by"))
)
_times = prepared(sa.select(worker_states.c.updated_us).where(worker_states.c.name == sa.bindparam("name")))
_forget = prepared(sa.delete(worker_states).where(worker_states.c.name == sa.bindparam("name")))


def _row(name: str, state: bytes = b"", updated_us: int = 0) -> dict[str, object]:
    return {"name": name, "state": state, "updated_us": updated_us}


async def test_a_failing_unit_leaves_nothing_and_harms_no_other(each_database):
    def fails(tx):
        tx.run(_put, _row("half"))
        raise LookupError("on purpose")

    results = await asyncio.gather(
        each_database.write(lambda tx: tx.run(_put, _row("a"))),
        each_database.write(fails),
        each_database.write(lambda tx: tx.run(_put, _row("b"))),
        return_exceptions=True,
    )
    assert results[0] == results[2] == 1
    assert isinstance(results[1], LookupError)
    assert await each_database.read(lambda tx: tx.rows(_all)) == [("a", b""), ("b", b"")]


async def test_a_look_finds_what_was_committed_a_moment_ago(each_database):
    assert await each_database.look(_get, {"name": "a"}) is None
    for state in (b"1", b"2"):
        await each_database.write(lambda tx, state=state: tx.run(_set, _row("a", state)))
        assert await each_database.look(_get, {"name": "a"}) == (state,)
    await each_database.write(lambda tx: tx.run(_forget, {"name": "a"}))
    assert await each_database.look(_get, {"name": "a"}) is None


async def test_a_look_does_not_hold_back_the_log(tmp_path):
    """A look that left its snapshot open would keep SQLite from ever beginning its log anew."""
    url = f"sqlite:///{tmp_path / 'hive.db'}"
    migrate(url)
    database = await Database.open(url, clock=SystemClock())
    await database.write(lambda tx: tx.run(_put, _row("a", b"1")))
    assert await database.look(_get, {"name": "a"}) == (b"1",)
    other = sqlite3.connect(tmp_path / "hive.db")
    busy, pages, copied = other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    other.close()
    await database.close()
    with pytest.raises(ShuttingDown):
        await database.look(_get, {"name": "a"})
    assert busy == 0
    assert pages == copied


async def test_a_taken_key_is_row_exists_and_cannot_be_swallowed(each_database):
    await each_database.write(lambda tx: tx.run(_put, _row("a", b"1")))

    def swallows(tx):
        tx.run(_put, _row("b"))
        try:
            tx.run(_put, _row("a"))
        except RowExists:
            return "swallowed"

    with pytest.raises(RowExists, match="there already"):
        await each_database.write(swallows)
    assert await each_database.read(lambda tx: tx.rows(_all)) == [("a", b"1")]


async def test_a_row_that_another_added_meanwhile_is_found(each_database):
    await each_database.write(lambda tx: tx.run(_put, _row("a", b"theirs")))
    runs = []

    def adds_or_finds(tx):
        runs.append("run")
        return tx.value(_get, {"name": "a"}) if len(runs) > 1 else tx.run(_put, _row("a", b"ours"))

    assert await each_database.write_or_find(adds_or_finds) == b"theirs"
    with pytest.raises(RowExists):
        await each_database.write_or_find(lambda tx: tx.run(_put, _row("a", b"ours")))


async def test_insert_or_ignore_keeps_the_row_and_says_so(each_database):
    assert await each_database.write(lambda tx: tx.run(_keep, _row("a", b"1"))) == 1
    assert await each_database.write(lambda tx: tx.run(_keep, _row("a", b"2"))) == 0
    assert await each_database.read(lambda tx: tx.value(_get, {"name": "a"})) == b"1"


async def test_insert_or_ignore_still_refuses_values_that_are_wrong(each_database):
    with pytest.raises(each_database._engine.driver.failures):
        await each_database.write(lambda tx: tx.run(_keep, {**_row("a"), "state": None}))
    assert await each_database.read(lambda tx: tx.rows(_all)) == []


async def test_upsert_inserts_then_updates_and_counts_one(each_database):
    for state in (b"1", b"2", b"2"):
        assert await each_database.write(lambda tx, state=state: tx.run(_set, _row("a", state, 5))) == 1
    assert await each_database.read(lambda tx: tx.rows(_all)) == [("a", b"2")]


async def test_many_runs_once_per_row(each_database):
    rows = [_row(f"{number:04}", bytes([number % 256]) * 3, number) for number in range(1000)]
    await each_database.write(lambda tx: (tx.many(_put, rows), tx.many(_put, []))[0])
    await each_database.write(lambda tx: tx.many(_set, [{**row, "state": b"x"} for row in rows]))
    await each_database.write(lambda tx: tx.many(_touch, [{"which": row["name"], "by": 1} for row in rows]))
    assert await each_database.read(lambda tx: tx.rows(_all)) == [(row["name"], b"x") for row in rows]
    assert await each_database.read(lambda tx: tx.value(_times, {"name": "0999"})) == 1000


async def test_affected_rows_are_those_that_matched(each_database):
    await each_database.write(lambda tx: tx.run(_put, _row("a", updated_us=1)))
    assert await each_database.write(lambda tx: tx.run(_touch, {"which": "a", "by": 0})) == 1
    assert await each_database.write(lambda tx: tx.run(_touch, {"which": "b", "by": 1})) == 0
    assert await each_database.write(lambda tx: tx.run(_forget, {"name": "a"})) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 64, 300])
async def test_lists_of_every_length(database, count):
    await database.write(lambda tx: tx.many(_put, [_row(f"{number:04}") for number in range(10)]))
    names = [f"{number:04}" for number in range(5, 5 + count)]
    found = await database.read(lambda tx: tx.rows(_among, {"names": names}))
    assert found == [(name,) for name in names if name < "0010"]
    assert await database.read(lambda tx: tx.value(_not_among, {"names": names})) == 10 - len(found)


async def test_lists_on_each_database(each_database):
    await each_database.write(lambda tx: tx.many(_put, [_row("a"), _row("b"), _row("c")]))
    for names in ([], ["b"], ["a", "c", "x"], ("a", "b", "c")):
        found = await each_database.read(lambda tx, names=names: tx.rows(_among, {"names": names}))
        assert found == [(name,) for name in names if name != "x"]
        counted = await each_database.read(lambda tx, names=names: tx.value(_not_among, {"names": names}))
        assert counted == 3 - len(found)


async def test_values_are_the_same_on_each_database(each_database):
    every_byte = bytes(range(256)) * 16
    text = "naïve 'quoted' \\ %s %% ? :x \U0001f41d \u0000".replace("\u0000", "")
    pack = {"id": b"\x00" * 32, "scheme": "ec(4,2)", "size_bytes": 2**62, "live_bytes": 0, "chunk_count": -1}
    await each_database.write(lambda tx: tx.run(insert_new(packs), {**pack, "degraded": True, "created_us": 1}))
    await each_database.write(lambda tx: tx.run(_put, _row(text, every_byte, -(2**63))))
    await each_database.write(lambda tx: tx.run(_put, _row("view", memoryview(every_byte)[7:9])))

    def look(tx):
        whole = tx.one(prepared(sa.select(packs)))
        sums = tx.one(prepared(sa.select(sa.func.sum(packs.c.size_bytes), sa.func.avg(packs.c.chunk_count))))
        flag = tx.value(prepared(sa.select(packs.c.size_bytes > sa.bindparam("least"))), {"least": 5})
        nothing = tx.value(prepared(sa.select(sa.func.sum(packs.c.size_bytes)).where(packs.c.scheme == "none")))
        return whole, sums, flag, nothing, tx.rows(prepared(sa.select(worker_states).order_by(worker_states.c.name)))

    whole, sums, flag, nothing, states = await each_database.read(look)
    assert whole == (b"\x00" * 32, "ec(4,2)", 2**62, 0, -1, 1, 1, None, None, None, None, "")
    assert sums == (2**62, -1)
    assert type(sums[0]) is int
    assert (flag, type(flag), nothing) == (1, int, None)
    assert states == [(text, every_byte, -(2**63)), ("view", every_byte[7:9], 0)]
    assert all(type(value) in (bytes, str, int) for row in states for value in row)


async def test_columns_not_given_take_their_default(each_database):
    row = {"id": b"i" * 16, "name": "n", "name_key": "n", "state": "active", "created_us": 1}
    await each_database.write(lambda tx: tx.run(insert_new(users), row))
    found = await each_database.read(
        lambda tx: tx.one(prepared(sa.select(users.c.full_name, users.c.is_admin, users.c.email)))
    )
    assert found == ("", 0, None)


async def test_several_null_unique_keys_are_allowed(each_database):
    for number in (1, 2):
        row = {"id": bytes([number] * 16), "name": "n", "name_key": str(number), "state": "active", "created_us": 1}
        await each_database.write(lambda tx, row=row: tx.run(insert_new(users), row))
    assert await each_database.read(
        lambda tx: tx.rows(prepared(sa.select(users.c.name_key, users.c.email).order_by(users.c.name_key)))
    ) == [("1", None), ("2", None)]


async def test_limits_as_parameters(each_database):
    await each_database.write(lambda tx: tx.many(_put, [_row("a"), _row("b"), _row("c")]))
    page = prepared(
        sa.select(worker_states.c.name)
        .where(sa.or_(sa.bindparam("after", type_=sa.String).is_(None), worker_states.c.name > sa.bindparam("after")))
        .order_by(worker_states.c.name)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
    assert await each_database.read(lambda tx: tx.rows(page, {"after": "a", "limit": 1})) == [("b",)]
    assert await each_database.read(lambda tx: tx.rows(page, {"after": None, "limit": 2})) == [("a",), ("b",)]


async def test_a_read_cannot_write(each_database):
    with pytest.raises(Exception, match=r"(?i)read.?only|cannot be written"):
        await each_database.read(lambda tx: tx.run(_put, _row("a")))
    await each_database.write(lambda tx: tx.run(_put, _row("b")))


async def test_a_read_is_one_snapshot(each_database):
    loop = asyncio.get_running_loop()
    looked, written = asyncio.Event(), threading.Event()

    def look_twice(tx):
        before = tx.rows(_all)
        loop.call_soon_threadsafe(looked.set)
        assert written.wait(30)
        return before, tx.rows(_all)

    reading = asyncio.create_task(each_database.read(look_twice))
    await looked.wait()
    await each_database.write(lambda tx: tx.run(_put, _row("a")))
    written.set()
    assert await reading == ([], [])
    assert len(await each_database.read(lambda tx: tx.rows(_all))) == 1


async def test_concurrent_increments_are_all_counted(each_database):
    await each_database.write(lambda tx: tx.run(_put, _row("n")))

    def increment(tx):
        value = tx.value(_times, {"name": "n"})
        tx.run(_set, _row("n", b"", value + 1))

    await asyncio.gather(*[each_database.write(increment) for _ in range(24)])
    assert await each_database.read(lambda tx: tx.value(_times, {"name": "n"})) == 24


async def test_calls_run_on_the_loop_after_the_commit_and_only_then(each_database):
    seen = []

    def unit(tx):
        tx.run(_put, _row("a"))
        tx.after_commit(lambda: seen.append(threading.current_thread()))

    def fails(tx):
        tx.after_commit(lambda: seen.append("failed"))
        raise LookupError

    await each_database.write(unit)
    assert seen == [threading.current_thread()]
    with pytest.raises(LookupError):
        await each_database.write(fails)
    assert len(seen) == 1


async def test_a_call_that_fails_is_reported_and_harms_nobody(database):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def unit(tx):
        tx.after_commit(lambda: 1 / 0)
        return "done"

    assert await database.write(unit) == "done"
    assert isinstance(reported[0], ZeroDivisionError)


async def test_units_run_in_the_order_in_which_they_were_submitted(database):
    ran = []
    await asyncio.gather(*[database.write(lambda tx, number=number: ran.append(number)) for number in range(5000)])
    assert ran == list(range(5000))


async def test_waiting_units_share_commits(database):
    gate = threading.Event()
    commits = database._engine._writer._batches
    first = asyncio.create_task(database.write(lambda tx: gate.wait(30)))
    others = [asyncio.create_task(database.write(lambda tx, n=n: tx.run(_put, _row(str(n))))) for n in range(100)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    # The first alone and the others after it, or all at once; on a slow machine time cuts the batch again.
    assert 1 <= database._engine._writer._batches - commits <= 10


async def test_a_unit_that_may_wait_goes_with_the_next_and_before_it(database):
    order: list[str] = []
    held = database.write_in_order(lambda tx: order.append("held"), with_next=True)
    assert held is not None
    await database.write(lambda tx: order.append("next"))
    assert order == ["held", "next"]
    assert held.done()


async def test_a_unit_that_nobody_follows_goes_alone_after_a_moment(database):
    held = database.write_in_order(lambda tx: tx.run(_put, _row("a")), with_next=True)
    assert await asyncio.wait_for(held, 10) == 1


async def test_a_unit_that_may_wait_and_fails_harms_not_the_next(database):
    def fails(tx):
        raise LookupError("on purpose")

    held = database.write_in_order(fails, with_next=True)
    assert await database.write(lambda tx: tx.run(_put, _row("b"))) == 1
    with pytest.raises(LookupError):
        await held


async def test_close_finishes_what_waits_for_a_next(sqlite_url):
    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=SystemClock())
    held = database.write_in_order(lambda tx: tx.run(_put, _row("a")), with_next=True)
    await database.close()
    assert held.done()
    assert held.result() == 1


async def test_a_cancelled_unit_that_waits_is_not_run(database):
    gate = threading.Event()
    first = asyncio.create_task(database.write(lambda tx: gate.wait(30)))
    second = asyncio.create_task(database.write(lambda tx: tx.run(_put, _row("cancelled"))))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    gate.set()
    await first
    assert await database.read(lambda tx: tx.rows(_all)) == []


async def test_close_finishes_what_was_submitted(sqlite_url):
    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=SystemClock())
    pending = [asyncio.create_task(database.write(lambda tx, n=n: tx.run(_put, _row(str(n))))) for n in range(500)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert await asyncio.gather(*pending) == [1] * 500
    with pytest.raises(ShuttingDown):
        await database.read(lambda tx: 1)


async def test_a_transaction_ends_with_its_unit(database):
    kept = []
    await database.write(kept.append)
    with pytest.raises(RuntimeError, match="is over"):
        kept[0].rows(_all)


async def test_an_async_unit_is_refused(database):
    async def unit(tx):
        return 1

    with pytest.raises(TypeError, match="plain function"):
        await database.write(unit)


async def test_mistakes_in_parameters_are_named(database):
    with pytest.raises(TypeError, match="'name' is missing"):
        await database.read(lambda tx: tx.value(_get, {}))
    with pytest.raises(TypeError, match="no column wheel"):
        await database.write(lambda tx: tx.run(insert_new(stores), {"wheel": 1}))
    with pytest.raises(TypeError, match="a list"):
        await database.read(lambda tx: tx.rows(_among, {"names": "abc"}))
    with pytest.raises(TypeError, match="different columns"):
        await database.write(lambda tx: tx.many(_put, [_row("a"), {"name": "b"}]))


async def test_now_is_taken_from_the_clock(sqlite_url):
    class Fixed(SystemClock):
        def now_us(self) -> int:
            return 12_345

    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=Fixed())
    assert await database.write(lambda tx: tx.now_us) == 12_345
    await database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlight:///x.db", "did you mean sqlite"),
        ("/var/lib/skep.db", "no database that Skep knows"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///x.db?busy_timeout=1", "did you mean 'busy_timeout_s'"),
        ("sqlite:///x.db?synchronous=often", "none of"),
        ("mysql://root@localhost", "name of the database"),
        ("mysql://root:secret@localhost:port/x", "port"),
    ],
)
async def test_bad_urls_say_what_is_wrong(url, said):
    with pytest.raises(InvalidSetting, match=said) as caught:
        await Database.open(url, clock=SystemClock())
    assert "secret" not in str(caught.value)


def test_all_statements_of_clustered_keys_compile():
    for dialect in ("sqlite", "postgresql", "mysql"):
        text, values = insert_new(changes).bound(dialect, {"space_id": b"s" * 16, "number": 1})
        assert values == (b"s" * 16, 1)
        assert "RETURNING" not in text
