"""What keeps HQ's state, whatever it is: the contract of StateStore."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.base.errors import BadInput, CorruptDatabase, CorruptRecord, DatabaseTooNew, PreconditionFailed
from skep.deploy.hq.people import Person
from skep.deploy.hq.sqlite_state import SqliteState
from skep.deploy.hq.state import VALUE_MAX_BYTES, StateStore, load, save
from skep.deploy.hq.state_conformance import CHECKS


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    opened = SqliteState(tmp_path / "state.db")
    yield opened
    await opened.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_sqlite_keeps_the_contract(state: StateStore, check) -> None:  # type: ignore[no-untyped-def]
    await check(state)


async def test_what_was_written_is_there_after_another_open(tmp_path: Path) -> None:
    first = SqliteState(tmp_path / "state.db")
    await save(first, "people/ann", Person(name="ann", keys=("k",)))
    await first.close()
    second = SqliteState(tmp_path / "state.db")
    assert await load(second, "people/ann", Person) == Person(name="ann", keys=("k",))
    await second.close()
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600


async def test_commits_are_on_the_disk_before_a_call_returns(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    with sqlite3.connect(tmp_path / "state.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert state._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    await state.close()


async def test_too_large_and_nameless_records_are_refused(state: StateStore) -> None:
    with pytest.raises(BadInput):
        await state.put("a", b"x" * (VALUE_MAX_BYTES + 1))
    with pytest.raises(BadInput):
        await state.put("", b"x")


async def test_what_is_no_record_is_told(state: StateStore) -> None:
    await state.put("people/ann", b'{"name": 3}')
    with pytest.raises(CorruptRecord, match="people/ann"):
        await load(state, "people/ann", Person)


def test_a_newer_file_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(DatabaseTooNew):
        SqliteState(tmp_path / "newer.db")
    (tmp_path / "damaged.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(CorruptDatabase):
        SqliteState(tmp_path / "damaged.db")


async def test_a_failed_condition_leaves_nothing_open(state: StateStore) -> None:
    await state.put("a", b"1")
    with pytest.raises(PreconditionFailed):
        await state.put("a", b"2", expected=0)
    await state.put("a", b"3")  # the transaction before has ended
