from __future__ import annotations

import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.db import Database, insert_new, migrate, prepared, upsert
from skep.db.schema import worker_states

_state = prepared(sa.select(worker_states.c.state).where(worker_states.c.name == sa.bindparam("name")))


async def test_a_unit_of_work_is_read_back(tmp_path):
    url = f"sqlite:///{tmp_path / 'hive.db'}"
    migrate(url)
    database = await Database.open(url, clock=SystemClock())
    row = {"name": "gc", "state": b"1", "updated_us": 1}
    assert await database.write(lambda tx: tx.run(insert_new(worker_states), row)) == 1
    st = upsert(worker_states, ["name"], ["state"])
    assert await database.write(lambda tx: tx.run(st, {**row, "state": b"2"})) == 1
    assert await database.read(lambda tx: tx.value(_state, {"name": "gc"})) == b"2"
    await database.close()
