"""Rows of a pack that cannot be recorded: nobody is told that content is safe, and it can be sent again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from skep.durability.catalog import ChunkVanished
from skep.testing.durable import Rig, open_rig

BODY = bytes(range(256)) * 40


def rename(rig: Rig, old: str, new: str) -> None:
    with sqlite3.connect(rig.directory / "rig.db") as other:
        other.execute(f"ALTER TABLE {old} RENAME TO {new}")
    other.close()


@pytest.mark.parametrize("size", [len(BODY), 3 << 20])
async def test_a_write_whose_rows_fail_is_refused_and_leaves_garbage_only(tmp_path: Path, size: int) -> None:
    body = (BODY * (size // len(BODY) + 1))[:size]
    async with open_rig(tmp_path) as rig:
        kept = await rig.put(b"kept")
        rename(rig, "shards", "hidden")
        with pytest.raises(ChunkVanished, match="upload the file again"):
            await rig.put(body)
        rename(rig, "hidden", "shards")
        assert len(rig.chunks.on_their_way) == 0
        again = await rig.put(body)
        assert await rig.get(again) == body
        assert await rig.get(kept) == b"kept"
        assert await rig.sweeper.run() == 1
        assert (await rig.scrubber.run()).whole
