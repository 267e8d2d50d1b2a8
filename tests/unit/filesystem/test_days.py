"""When what a space holds came, on every database."""

from __future__ import annotations

from skep.base.ids import new_id
from skep.db import Database, Transaction, insert_new
from skep.db import schema as s
from skep.filesystem.days import DAY_US, Day, by_day

NODE, VERSION = insert_new(s.nodes), insert_new(s.versions)


async def test_what_came_is_summed_by_day_and_by_space(each_database: Database) -> None:
    mine, other = new_id(), new_id()

    def fill(tx: Transaction) -> None:
        for space, name, versions in (
            (mine, "a", [(3 * DAY_US, 10), (3 * DAY_US + 5, 20), (4 * DAY_US - 1, 1)]),
            (mine, "b", [(400 * DAY_US, 1 << 40)]),
            (other, "c", [(3 * DAY_US, 999)]),
        ):
            node, parent = new_id(), new_id()
            times = {"created_us": 0, "modified_us": 0}
            tx.run(
                NODE,
                {
                    "id": node,
                    "space_id": space,
                    "parent_id": parent,
                    "name": name,
                    "kind": "file",
                    "changed": 1,
                    **times,
                },
            )
            for number, (at_us, size) in enumerate(versions, 1):
                row = {"id": new_id(), "node_id": node, "number": number, "size_bytes": size, "created_us": at_us}
                tx.run(VERSION, {**row, "modified_us": 0, "etag": "e", "mime": "text/plain", "manifest": b""})

    await each_database.write(fill)
    assert await each_database.read(lambda tx: by_day(tx, mine)) == [
        Day(3 * DAY_US, 31, 3),
        Day(400 * DAY_US, 1 << 40, 1),
    ]
    assert await each_database.read(lambda tx: by_day(tx, new_id())) == []
