"""Rows of what is not there any more: found by the check, taken away by its repair, which touches no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.ids import new_id
from skep.db import Database, prepared
from skep.db import schema as s
from skep.filesystem import Limits, check, repair
from skep.testing.files import open_files

NOTHING = b"\x02" * 16


async def rows_of(db: Database) -> dict[str, int]:
    tables = (s.locks, s.properties, s.facts, s.buckets, s.tags, s.share_holders, s.links)
    return {
        table.name: await db.read(lambda tx, t=table: tx.value(prepared(sa.select(sa.func.count()).select_from(t))))
        for table in tables
    }


@pytest.mark.parametrize("good", [True, False])
async def test_strays_are_found_and_taken_away_and_nothing_else_is(
    tmp_path: Path, database_url: str, good: bool
) -> None:
    async with open_files(tmp_path, Limits(), url=database_url) as bench:
        ada = await bench.user("ada")
        node = (await bench.put(ada, "/d/f", b"1")).node
        node_id = node.id if good else NOTHING
        version_id = node.id if good else NOTHING
        lock = {
            "space_id": node.space_id, "is_shared": False, "is_deep": False, "owner": "", "created_us": 1,
            "expires_us": 1 << 60,
        }  # fmt: skip
        given = [
            (s.locks, {"token": new_id(), "node_id": node_id, "user_id": ada.user_id, **lock}),
            (s.properties, {"node_id": node_id, "name": "{x}a", "value": "<a/>"}),
            (s.properties, {"node_id": node_id, "name": "{x}b", "value": "<b/>"}),
            (s.facts, {"about_id": version_id, "etag": None, "document": "{}"}),
            (s.buckets, {"node_id": node_id, "document": "{}"}),
            (s.tags, {"user_id": ada.user_id, "name": "t", "node_id": node_id}),
        ]
        if not good:
            answer = {"state": "accepted", "name": "x", "changed_us": 1}
            given.append((s.share_holders, {"share_id": NOTHING, "user_id": ada.user_id, **answer}))
            link = dict.fromkeys(s.links.c.keys(), 0) | {"id": NOTHING, "token_hash": bytes(32), "password_hash": None}
            given.append((s.links, link | {"created_by": ada.user_id}))
        for table, row in given:
            await bench.db.write(lambda tx, t=table, r=row: tx.run(prepared(sa.insert(t)), r))
        before = await rows_of(bench.db)
        found = sorted([finding.check async for finding in check(bench.db)])
        if good:
            assert found == []
        else:
            assert found == ["bucket", "facts", "link", "lock", "property", "share", "tag"]
        assert await repair(bench.db) == len(found)
        assert [finding.message async for finding in check(bench.db)] == []
        assert await rows_of(bench.db) == (before if good else dict.fromkeys(before, 0))


async def test_an_upload_whose_sums_are_wrong_is_counted_anew_and_so_is_its_space(bench, ada) -> None:
    await bench.put(ada, "/f", b"12345")
    upload_id = new_id()
    home_id = (await bench.filesystem.home(ada)).id
    row = dict.fromkeys(s.uploads.c.keys()) | {
        "id": upload_id, "user_id": ada.user_id, "space_id": home_id, "door": "tus", "state": "open",
        "held_bytes": 700, "part_count": 3, "created_us": 1, "expires_us": 1 << 60,
        "through_id": home_id,
    }  # fmt: skip
    await bench.db.write(lambda tx: tx.run(prepared(sa.insert(s.uploads)), row))
    assert [one.check async for one in check(bench.db)] == ["upload", "used-bytes"]
    assert await repair(bench.db) == 1  # the upload: its space's sum was right
    assert [one.check async for one in check(bench.db)] == []
    assert (await bench.filesystem.home(ada)).used_bytes == 5
