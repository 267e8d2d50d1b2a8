"""One process serves one database: on each kind, a second one is refused, and a lost lock is taken again or noticed."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from skep.base.errors import DatabaseBusy, DatabaseInUse
from skep.server.database_lock import DatabaseLock

HOLD = (
    "import sys; from skep.server.database_lock import DatabaseLock\n"
    "with DatabaseLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


def holder(url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_gone(database_url):
    process = holder(database_url)
    try:
        with pytest.raises(DatabaseInUse, match="another hive process uses the database"), DatabaseLock(database_url):
            pass
    finally:
        process.kill()
        process.wait()
    with DatabaseLock(database_url), pytest.raises(DatabaseInUse), DatabaseLock(database_url):
        pass
    with DatabaseLock(database_url):
        pass


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)  # what is waited for happens in a thread and on the server


async def test_a_broken_session_is_replaced_and_holds_again(postgresql_url):
    with DatabaseLock(postgresql_url, watch_s=0.05) as lock:
        watching = asyncio.create_task(lock.lost())
        first = lock._held
        lock._held._connection.close()
        await until(lambda: lock._held is not first)
        with pytest.raises(DatabaseInUse), DatabaseLock(postgresql_url):
            pass
        assert not watching.done()
        watching.cancel()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_whoever_was_quicker_has_it(kind, request):
    url = request.getfixturevalue(f"{kind}_url")
    with DatabaseLock(url, watch_s=0.2) as lock:
        lock._held._connection.close()
        process = await asyncio.to_thread(holder, url)
        try:
            async with asyncio.timeout(30):
                await lock.lost()
            assert isinstance(lock.taken, DatabaseInUse)
        finally:
            process.kill()
            process.wait()


def test_a_server_that_does_not_answer_is_told():
    with pytest.raises(DatabaseBusy), DatabaseLock("postgresql://skep@127.0.0.1:1/skep"):
        pass
