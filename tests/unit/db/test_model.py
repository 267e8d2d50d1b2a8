"""Random units of work with failures, submitted together, against a plain dictionary."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skep.db import RowExists, insert_new, prepared, upsert
from skep.db.schema import worker_states

_name = sa.bindparam("which")
_put = insert_new(worker_states)
_keep = insert_new(worker_states, or_ignore=True)
_set = upsert(worker_states, ["name"], ["updated_us"])
_add = prepared(
    sa.update(worker_states)
    .where(worker_states.c.name == _name)
    .values(updated_us=worker_states.c.updated_us + sa.bindparam("by"))
)
_drop = prepared(sa.delete(worker_states).where(worker_states.c.name == _name))
_all = prepared(sa.select(worker_states.c.name, worker_states.c.updated_us))
_clear = prepared(sa.delete(worker_states))


class OnPurpose(Exception):
    pass


STEPS = st.tuples(
    st.sampled_from(["put", "put-swallowed", "keep", "set", "add", "drop", "fail"]),
    st.sampled_from("abcd"),
    st.integers(-5, 5),
)
UNITS = st.lists(st.lists(STEPS, min_size=1, max_size=6), min_size=1, max_size=12)


def _in_database(tx, steps) -> list[int]:
    counts = []
    for step, name, number in steps:
        row = {"name": name, "state": b"", "updated_us": number}
        match step:
            case "put":
                counts.append(tx.run(_put, row))
            case "put-swallowed":
                try:
                    counts.append(tx.run(_put, row))
                except RowExists:
                    counts.append(-1)
            case "keep":
                counts.append(tx.run(_keep, row))
            case "set":
                counts.append(tx.run(_set, row))
            case "add":
                counts.append(tx.run(_add, {"which": name, "by": number}))
            case "drop":
                counts.append(tx.run(_drop, {"which": name}))
            case "fail":
                raise OnPurpose
    return counts


def _in_model(model: dict[str, int], steps) -> tuple[dict[str, int], object]:
    after, counts, poisoned = dict(model), [], False
    for step, name, number in steps:
        there = name in after
        match step:
            case "put" | "put-swallowed" if there:
                if step == "put":
                    return model, RowExists
                poisoned = True
            case "put" | "put-swallowed" | "keep":
                after.setdefault(name, number)
                counts.append(int(not there))
            case "set":
                after[name] = number
                counts.append(1)
            case "add":
                after = {**after, name: after[name] + number} if there else after
                counts.append(int(there))
            case "drop":
                after.pop(name, None)
                counts.append(int(there))
            case "fail":
                return model, OnPurpose
    return (model, RowExists) if poisoned else (after, counts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
@given(units=UNITS)
async def test_units_submitted_together_are_units_run_one_by_one(database, units):
    await database.write(lambda tx: tx.run(_clear))
    results = await asyncio.gather(
        *[database.write(lambda tx, steps=steps: _in_database(tx, steps)) for steps in units], return_exceptions=True
    )
    model: dict[str, int] = {}
    for steps, result in zip(units, results, strict=True):
        model, expected = _in_model(model, steps)
        assert result == expected if isinstance(expected, list) else type(result) is expected
    assert dict(await database.read(lambda tx: tx.rows(_all))) == model
