"""SliceGrid by itself: orders, lost servers, its file, its picture."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from rich.console import Console

from skep.base.errors import (
    AlreadyExists,
    BadInput,
    CorruptRecord,
    GridFull,
    InUse,
    LocalFailure,
    NotFound,
    TimedOut,
    Unavailable,
)
from skep.deploy.grid import BlockFacts, CreateOrder, ServerType, Size, Slice, SliceGrid
from skep.deploy.grid.picture import picture
from skep.testing.clock import FakeClock

GIB = 1 << 30
SMALL = ServerType("small", Size(cpu_millis=2_000, memory_bytes=2 * GIB), price=5.0)
LARGE = ServerType("large", Size(cpu_millis=8_000, memory_bytes=16 * GIB), price=30.0, tags=frozenset({"ssd"}))


class Log(list[str]):
    """What the handlers were called with, in order."""


def made(log: Log, *, file: Path | None = None, clock: FakeClock | None = None, **options: object) -> SliceGrid:
    grid = SliceGrid(file=file, clock=clock or FakeClock(), types=(SMALL, LARGE), **{"max": 4, **options})

    @grid.on("create")
    async def create(order: CreateOrder) -> dict[str, str]:
        log.append(f"create {order.id} {order.slice}")
        return {"address": f"10.0.0.{len(log)}"}

    @grid.on("destroy")
    async def destroy(block: BlockFacts) -> None:
        log.append(f"destroy {block.id}")

    @grid.on("added")
    async def added(block: BlockFacts, item: Slice) -> None:
        log.append(f"added {block.id} {item.id}")

    @grid.on("removed")
    async def removed(block: BlockFacts, item: Slice) -> None:
        log.append(f"removed {block.id} {item.id}")

    return grid


async def test_a_job_gets_a_server_and_the_server_goes_when_it_is_not_needed() -> None:
    log, clock = Log(), FakeClock()
    grid = made(log, clock=clock)
    await grid.open()
    block = await grid.add("shop.web.1", 512)
    assert (block.id, block.address, block.type) == ("small-1", "10.0.0.1", "small")
    assert (await grid.add("shop.web.2", 512)).id == "small-1"
    await grid.remove("shop.web.1")
    await grid.remove("shop.web.2")
    await grid.tick()
    assert "destroy small-1" not in log
    clock.jump(601)
    await grid.tick()
    assert log == [
        "create small-1 shop.web.1",
        "added small-1 shop.web.1",
        "added small-1 shop.web.2",
        "removed small-1 shop.web.1",
        "removed small-1 shop.web.2",
        "destroy small-1",
    ]


async def test_the_cheapest_type_that_fits_is_rented_and_min_is_kept() -> None:
    log = Log()
    grid = made(log, min=1)
    await grid.open()
    await grid.tick()
    assert log == ["create small-1 "]
    assert (await grid.add("a.db.1", 4096)).type == "large"
    assert (await grid.add("a.db.2", 64, tags=("ssd",))).type == "large"


async def test_a_rented_hour_is_used_up() -> None:
    log, clock = Log(), FakeClock()
    grid = made(log, clock=clock, billing_s=3600.0)
    await grid.open()
    await grid.add("a.web.1", 512)
    await grid.remove("a.web.1")
    clock.jump(1800)
    await grid.tick()
    assert len(grid.blocks) == 1
    clock.jump(1500)
    await grid.tick()
    assert len(grid.blocks) == 0


async def test_jobs_that_come_at_once_share_the_server_that_is_being_made() -> None:
    log = Log()
    grid = made(log)
    await grid.open()
    blocks = await asyncio.gather(*(grid.add(f"a.web.{n}", 320) for n in range(5)))
    assert {block.id for block in blocks} == {"small-1"}
    assert sum(line.startswith("create") for line in log) == 1


async def test_a_server_that_does_not_come_is_given_up() -> None:
    log = Log()
    grid = made(log, create_timeout_s=0.05)

    @grid.on("create")
    async def create(order: CreateOrder) -> None:
        log.append(f"create {order.id}")
        await asyncio.sleep(30)  # longer than the timeout above, which is what is tested

    await grid.open()
    with pytest.raises(TimedOut, match="small-1 did not come within"):
        await grid.add("a.web.1", 512)
    assert grid.slices == ()
    await grid.tick()
    assert grid.blocks == ()
    assert log == ["create small-1", "destroy small-1"]


async def test_a_server_that_comes_smaller_than_ordered_is_given_back() -> None:
    log = Log()
    grid = made(log)

    @grid.on("create")
    async def create(order: CreateOrder) -> dict[str, int]:
        return {"size": 256}

    await grid.open()
    with pytest.raises(BadInput, match="smaller than what was reserved"):
        await grid.add("a.web.1", 512)
    await grid.tick()
    assert grid.blocks == ()
    assert log == ["destroy small-1"]


async def test_what_was_to_go_does_not_come_back_when_its_server_is_lost() -> None:
    log = Log()
    grid = made(log)
    await grid.open()
    await grid.adopt("one", 2048)
    await grid.add("s.web.1", 256)

    @grid.on("removed")
    async def removed(block: BlockFacts, item: Slice) -> None:
        raise Unavailable("the host does not answer")

    with pytest.raises(Unavailable):
        await grid.remove("s.web.1")
    assert await grid.lost("one") == ()
    assert grid.slices == ()


async def test_a_move_waits_for_the_copy_and_falls_back_when_it_is_not_well() -> None:
    log = Log()
    grid = made(log)
    await grid.open()
    await grid.adopt("old", 2048)
    await grid.add("a.web.1", 512)
    await grid.adopt("new", 2048)
    await grid.move("a.web.1", "new")
    assert log[-2:] == ["added new a.web.1", "removed old a.web.1"]
    assert [len(block.slices) for block in grid.blocks] == [0, 1]

    @grid.on("added")
    async def added(block: BlockFacts, item: Slice) -> None:
        raise Unavailable("it answers 500")

    with pytest.raises(Unavailable, match="it answers 500"):
        await grid.move("a.web.1", "old")
    assert log[-1] == "removed old a.web.1"
    assert (grid.slice("a.web.1").block, grid.slice("a.web.1").state) == ("new", "running")
    assert [len(block.slices) for block in grid.blocks] == [0, 1]


async def test_release_moves_everything_and_refuses_volumes() -> None:
    log = Log()
    grid = made(log)
    await grid.open()
    await grid.adopt("a", Size(cpu_millis=1000, memory_bytes=GIB))
    await grid.add("s.db.1", 256, disruption=1e9)
    await grid.add("s.vol.1", 256, pinned="a")
    with pytest.raises(InUse, match=r"volumes of s\.vol\.1"):
        await grid.release("a")
    await grid.remove("s.vol.1")
    await grid.release("a")
    assert [block.facts.id for block in grid.blocks] == ["small-2"]
    assert grid.slice("s.db.1").block == "small-2"
    assert "destroy a" not in log, "a server that was adopted is not the grid's to destroy"


async def test_a_lost_server() -> None:
    log = Log()
    grid = made(log)
    await grid.open()
    await grid.adopt("one", 2048)
    await grid.add("s.web.1", 256)
    await grid.add("s.vol.1", 256, pinned="one")
    assert await grid.lost("one") == ("s.vol.1",)
    assert grid.slice("s.web.1").block == "small-2"
    assert "removed one s.web.1" not in log, "nobody can be asked there"
    assert await grid.found("one") == ("s.vol.1",)
    assert grid.slice("s.vol.1").state == "running"
    await grid.lost("one")
    await grid.forget("one")
    assert [block.facts.id for block in grid.blocks] == ["small-2"]
    with pytest.raises(NotFound):
        grid.slice("s.vol.1")


async def test_what_a_crash_leaves_is_read_back(tmp_path: Path) -> None:
    file, log = tmp_path / "grid.json", Log()
    grid = made(log, file=file)
    await grid.open()
    await grid.add("a.web.1", 512, group="a.web", ports=frozenset({8080}))
    again = made(log, file=file)
    await again.open()
    assert again.slice("a.web.1") == grid.slice("a.web.1")
    assert [block.facts for block in again.blocks] == [block.facts for block in grid.blocks]
    assert again.decisions == grid.decisions
    assert (await again.add("a.web.2", 1900)).id == "small-2", "numbers are never given twice"


async def test_a_bad_file_is_named_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "grid.json"
    file.write_text("{")
    with pytest.raises(CorruptRecord, match=r"grid\.json is not a grid file"):
        await made(Log(), file=file).open()
    file.write_text(json.dumps({"version": 99}))
    with pytest.raises(CorruptRecord, match="has version 99"):
        await made(Log(), file=file).open()
    assert json.loads(file.read_text()) == {"version": 99}


async def test_a_file_that_cannot_be_written_stops_the_order_before_it_is_given(tmp_path: Path) -> None:
    log = Log()
    folder = tmp_path / "gone"
    folder.mkdir()
    grid = made(log, file=folder / "grid.json")
    await grid.open()
    (folder / "grid.json").unlink()
    folder.rmdir()
    with pytest.raises(LocalFailure, match="nothing was changed"):
        await grid.add("a.web.1", 512)
    assert "added small-1 a.web.1" not in log
    assert not any(line.startswith("create") for line in log)


async def test_orders_that_make_no_sense() -> None:
    grid = made(Log())
    with pytest.raises(BadInput, match="open the grid"):
        await grid.add("a", 1)
    await grid.open()
    await grid.add("a", 64)
    with pytest.raises(AlreadyExists):
        await grid.add("a", 64)
    with pytest.raises(NotFound, match="`skep grid` lists them"):
        await grid.remove("b")
    with pytest.raises(GridFull, match="pinned to block nowhere"):
        await grid.add("c", 64, pinned="nowhere")
    with pytest.raises(BadInput, match="no event moved"):
        grid.on("moved")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no such option"):
        SliceGrid(minimum=3)
    with pytest.raises(BadInput, match="that cannot be"):
        SliceGrid(min=3, max=2)


async def test_explain_says_why_here_and_what_would_be_chosen_now() -> None:
    grid = made(Log())
    await grid.open()
    await grid.adopt("tight", 600)
    await grid.adopt("roomy", 2048)
    await grid.add("a.web.1", 512)
    first, *_, now = grid.explain("a.web.1")
    assert (first.what, first.block) == ("place", "tight")
    assert [one.block for one in first.candidates] == ["tight", "roomy"]
    assert (now.what, now.block) == ("now", "tight")
    with pytest.raises(NotFound):
        grid.explain("b")


async def test_the_picture_shows_blocks_slices_and_shares() -> None:
    grid = made(Log())
    await grid.open()
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(picture(grid))
    await grid.adopt("host-a", Size(cpu_millis=1000, memory_bytes=GIB), address="10.0.0.9")
    await grid.add("shop.web.1", Size(cpu_millis=100, memory_bytes=GIB // 2))
    console.print(picture(grid))
    text = console.export_text()
    assert "no servers yet" in text
    line = next(line for line in text.splitlines() if line.startswith("host-a"))
    assert "10.0.0.9" in line
    assert " 50 %" in line
    assert " 10 %" in line
    assert line.count("·") == 24
    assert "shop.web.1" in line
