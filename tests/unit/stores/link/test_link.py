"""Both ends of a link against each other, over memory."""

from __future__ import annotations

from pathlib import Path

from skep.stores.conformance import check
from skep.stores.drivers.array import ArrayConfig, ArrayStore
from skep.stores.link.board import LinkBoard
from skep.stores.registry import open_store
from skep.testing.links import linked_pair

AGENT = bytes(16)


async def test_a_linked_store_is_a_store(tmp_path: Path) -> None:
    inner = open_store(f"fs://{tmp_path}/space?capacity=1GB")
    async with linked_pair(inner) as (linked, _):
        board = LinkBoard()
        board.put(AGENT, linked)
        report = await check(lambda: ArrayStore(ArrayConfig(AGENT), board))
    assert report.ok, str(report)
    assert [result.name for result in report.results if result.outcome == "skipped"] == ["deleting-many"]
    await inner.close()
