from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import CorruptRecord
from skep.db import Database, Transaction, migrate, prepared
from skep.db import schema as s
from skep.server import metadata
from skep.server.metadata import export_metadata, load_metadata
from skep.testing.clock import FakeClock
from skep.testing.hive import open_test_hive


async def stream(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def everything(tx: Transaction) -> dict[str, list[tuple[object, ...]]]:
    return {
        table.name: sorted(tx.rows(prepared(sa.select(table))))
        for table in s.METADATA.sorted_tables
        if table.name not in metadata._LEFT_OUT
    }


async def empty(path: Path) -> Database:
    url = f"sqlite:///{path / 'other.db'}"
    migrate(url)
    return await Database.open(url, clock=FakeClock())


async def exported(place: Path) -> tuple[bytes, dict[str, list[tuple[object, ...]]]]:
    async with open_test_hive(place) as hive:
        ada = await hive.client("ada")
        for n in range(7):
            await ada.put("/api/filesystem/data", params={"path": f"/d/f{n}"}, content=b"x" * n)
        await ada.delete("/api/filesystem/info", params={"path": "/d/f3"})
        data = b"".join(await hive.hive.db.read(lambda tx: list(export_metadata(tx))))
        return data, await hive.hive.db.read(everything)


@pytest.mark.parametrize("size", [11, 1 << 20])
async def test_every_row_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(metadata, "BATCH_ROWS", 3)
    data, rows = await exported(tmp_path)
    other = await empty(tmp_path)
    await load_metadata(other, stream(data, size))
    await load_metadata(other, stream(data, size))  # twice does no harm
    assert await other.read(everything) == rows
    assert len(rows["versions"]) == 7
    await other.close()


async def test_what_is_torn_or_newer_is_refused(tmp_path: Path) -> None:
    data, _ = await exported(tmp_path)
    other = await empty(tmp_path)
    for broken in (data[:-1], data[:-20], data[:100], b"\0\0\0\x01\xc1", b""):
        with pytest.raises(CorruptRecord):
            await load_metadata(other, stream(broken, 1000))
    with pytest.raises(CorruptRecord, match="version 2"):
        await load_metadata(other, stream(metadata._sized(metadata.Head(2, 0)), 1000))
    await other.close()
