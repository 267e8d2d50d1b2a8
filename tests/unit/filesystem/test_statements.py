"""What the hot paths cost: statements per transaction, and that SQLite searches and never scans."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from skep.db.sqlite import SqliteEngine
from skep.db.transaction import Transaction
from skep.filesystem import BatchItem, Digests, Limits
from skep.testing.files import open_files


class Recorder:
    """Notes what transactions run, and what SQLite plans for it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: list[tuple[str, object]] = []
        self._lock = threading.Lock()

    def note(self, statement: object, params: object, *, many: bool) -> None:
        bound = statement.bound_many("sqlite", params) if many else statement.bound("sqlite", params)  # type: ignore[attr-defined]
        with self._lock:
            self.seen.append((bound[0], bound[1][0] if many else bound[1]))

    def plans(self) -> dict[str, list[str]]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return {
                sql: [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, values)]
                for sql, values in self.seen
            }
        finally:
            connection.close()


@pytest.fixture
def recorded(monkeypatch, tmp_path) -> Recorder:
    recorder = Recorder(str(tmp_path / "hive.db"))
    for name in ("rows", "one", "run", "many"):
        real = getattr(Transaction, name)

        def wrapped(self, st, params=(), real=real, many=name == "many"):
            params = params or ({} if not many else [])
            if params or not many:
                recorder.note(st, params, many=many)
            return real(self, st, params)

        monkeypatch.setattr(Transaction, name, wrapped)
    look = SqliteEngine.look

    def looked(self, st, params):
        recorder.note(st, params, many=False)
        return look(self, st, params)

    monkeypatch.setattr(SqliteEngine, "look", looked)
    return recorder


@contextmanager
def counted(recorder: Recorder) -> Iterator[list[str]]:
    recorder.seen.clear()
    statements: list[str] = []
    yield statements
    statements += [sql for sql, _ in recorder.seen]


def changes_rows(sql: str) -> bool:
    return sql.startswith(("INSERT", "UPDATE", "DELETE"))


async def everything(bench, ada) -> None:
    """Each call of the service once, over a space that holds something."""
    files = bench.filesystem
    club = next(iter(ada.groups))
    await files.write_batch(ada, None, [BatchItem(f"/d/{n}/f", b"x") for n in range(30)])
    node = (await bench.put(ada, "/a/b/c/f", b"1")).node
    for body in (b"2", b"3", b"4"):
        await bench.put(ada, "/a/b/c/f", body)
    shared = next(space for space in await files.spaces(ada) if space.owner_id == club)
    await files.by_id(ada, node.id)
    await files.open_file(ada, node.id, 3)
    for _ in range(2):
        await files.open_path(ada, None, "/a/b/c/f")
        await files.open_key(ada, None, files.key("a", "b/c/f"))
    await files.versions(ada, node.id)
    await files.restore_version(ada, node.id, 3)
    await files.delete_version(ada, node.id, 4)
    await files.set_tags(ada, node.id, ["t"])
    await files.by_tag(ada, "t")
    await files.tags(ada)
    root = (await files.home(ada)).root_id
    await files.listing(ada, root)
    await files.listing(ada, root, 5, 10, "a/b")
    await files.move(ada, node.id, None, "/g")
    await files.copy(ada, (await files.by_path(ada, None, "/d")).id, None, "/e")
    await files.move(ada, (await files.by_path(ada, None, "/e")).id, shared.id, "/e")
    await files.update(ada, node.id, name="h", attributes={"x": 1})
    await files.delete(ada, node.id)
    await files.trash(ada)
    await files.restore_from_trash(ada, node.id)
    await files.delete(ada, (await files.by_path(ada, None, "/d")).id, permanently=True)
    await files.changes(ada, None, None)
    await files.drop_tag(ada, "t")


async def test_no_statement_scans(recorded, tmp_path):
    from skep.filesystem import Retention

    async with open_files(tmp_path, Limits(versions_max=2, versions_days=1, trash_days=1)) as bench:
        ada = await bench.user("ada", [await bench.group("club")])
        await everything(bench, ada)
        await bench.filesystem.delete(ada, (await bench.filesystem.by_path(ada, None, "/h")).id)
        bench.clock.jump(400 * 86_400)
        worker = Retention(bench.db, bench.filesystem.books, bench.filesystem._journal, bench.clock)
        digests = Digests(bench.db, bench.chunks, bench.clock, after_s=60)
        for one in (worker, digests):
            while (await one.run_once(None)).more_work:
                pass
        ours = re.compile(r"\b(nodes|versions|spaces|trash|tags|changes)\b")
        plans = {sql: plan for sql, plan in recorded.plans().items() if ours.search(sql)}
        assert await bench.findings() == []
    assert len(plans) > 50
    # A recursive query reads its own rows one after another: that is no scan of a table.
    scans = {
        sql: step for sql, plan in plans.items() for step in plan if step.startswith("SCAN") and step != "SCAN way"
    }
    assert scans == {}


async def test_a_small_write_costs_a_handful_of_statements(recorded, tmp_path):
    async with open_files(tmp_path) as bench:
        ada = await bench.user("ada")
        await bench.put(ada, "/a/b/f", b"1")
        for path, body in (("/a/b/f", b"2"), ("/a/b/g", b"3")):
            with counted(recorded) as statements:
                await bench.put(ada, path, body)
            charge = next(at for at, sql in enumerate(statements) if "quota_bytes IS NULL" in sql)
            commit = statements[charge - 2 :]
            # Lock, resolve, charge, number (two), change, node, version, ancestors, references; tags of what was there.
            assert len(commit) <= 10 + 2 * (path == "/a/b/f"), [" ".join(sql.split())[:80] for sql in commit]


async def test_a_small_read_costs_two_statements(recorded, tmp_path):
    """One finds the file, one its chunk; what never changes of the space is known."""
    async with open_files(tmp_path) as bench:
        ada = await bench.user("ada")
        await bench.put(ada, "/a/b/f", b"1")
        for _ in range(2):
            with counted(recorded) as statements:
                assert await (await bench.filesystem.open_path(ada, None, "/a/b/f")).whole(0, 1) == b"1"
        assert [bool(re.search(r"\bnodes\b", sql)) for sql in statements] == [True, False]
        plans = recorded.plans()
        assert [step.split(" ", 1)[0] for sql in statements for step in plans[sql]] == ["SEARCH"] * 5


async def test_a_batch_costs_by_its_files_only_a_look_each(recorded, tmp_path):
    async with open_files(tmp_path) as bench:
        ada = await bench.user("ada")
        costs = []
        for count in (10, 100):
            items = [BatchItem(f"/{count}/{number}", b"%d" % number) for number in range(count)]
            with counted(recorded) as statements:
                await bench.filesystem.write_batch(ada, None, items)
            costs.append(sum(changes_rows(sql) and "chunks" not in sql and "packs" not in sql for sql in statements))
    assert costs[0] == costs[1]
