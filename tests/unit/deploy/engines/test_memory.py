"""Faults and latency of the memory engine are those that were ordered, and what it does replays."""

from __future__ import annotations

import asyncio
import random

import pytest

from skep.base.errors import EngineUnavailable, JobNotFound, StoreFull
from skep.deploy.engines.memory import Fault, MemoryEngine, MemoryHost
from skep.deploy.engines.records import Image, JobSpec, Labels, Observed, Restart
from skep.testing.clock import FakeClock

SPEC = JobSpec(image="tree:1", argv=("program", "stay"))
LABELS = Labels(stack="shop", job="web", slice="shop.web.1")


@pytest.fixture
def host() -> MemoryHost:
    host = MemoryHost("m1", FakeClock(auto=True))
    host.images.add("tree:1")
    return host


async def test_refused_is_not_done(host: MemoryHost) -> None:
    host.fault = lambda verb, number: Fault("refuse") if verb == "ensure" else None
    with pytest.raises(EngineUnavailable):
        await MemoryEngine(host).ensure(SPEC, LABELS)
    assert await MemoryEngine(host).list() == ()


async def test_lost_is_done_and_doing_it_again_changes_nothing(host: MemoryHost) -> None:
    host.fault = lambda verb, number: Fault("lose") if number == 1 else None
    engine = MemoryEngine(host)
    with pytest.raises(EngineUnavailable):
        await engine.ensure(SPEC, LABELS)
    (found,) = await engine.list()
    assert (await engine.ensure(SPEC, LABELS)).started_us == found.started_us
    assert host.calls == ["ensure shop.web.1", "list", "ensure shop.web.1"]


async def test_slow_takes_its_time(host: MemoryHost) -> None:
    host.latency_s = lambda verb: 0.25
    host.fault = lambda verb, number: Fault("slow", seconds=2.0)
    await MemoryEngine(host).facts()
    assert host.clock.monotonic_s() == 2.25


async def test_a_host_that_is_down_answers_nothing_and_its_jobs_go_on(host: MemoryHost) -> None:
    engine = MemoryEngine(host)
    await engine.ensure(SPEC, LABELS)
    host.is_down = True
    with pytest.raises(EngineUnavailable):
        await engine.list()
    host.is_down = False
    assert [job.state for job in await engine.list()] == ["running"]


async def test_a_reboot_ends_all_and_ensure_starts_again(host: MemoryHost) -> None:
    engine = MemoryEngine(host)
    await engine.ensure(SPEC, LABELS)
    host.reboot()
    assert (await engine.inspect(LABELS.slice)).state == "exited"
    assert (await engine.ensure(SPEC, LABELS)).state == "running"


async def test_a_full_disk_takes_no_image(host: MemoryHost) -> None:
    host.disk_is_full = True
    host.registry.add("redis")
    with pytest.raises(StoreFull):
        await MemoryEngine(host).ship(Image(ref="redis"))


async def test_a_cancelled_stop_ends_nevertheless(host: MemoryHost) -> None:
    engine = MemoryEngine(host)
    await engine.ensure(JobSpec(image="tree:1", argv=("program", "stubborn")), LABELS)
    stopping = asyncio.ensure_future(engine.stop(LABELS.slice, 5.0))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (await engine.inspect(LABELS.slice)).state == "stopped"


async def test_waits_between_restarts_double_up_to_their_limit(host: MemoryHost) -> None:
    restart = Restart(backoff_first_s=1.0, backoff_max_s=5.0)
    engine = MemoryEngine(host)
    await engine.ensure(JobSpec(image="tree:1", argv=("program", "exit", "1"), restart=restart), LABELS)
    starts = []
    for second in range(18):
        starts += [second] if (await engine.inspect(LABELS.slice)).restarts > len(starts) else []
        await host.clock.sleep(1.0)
    assert starts == [1, 3, 7, 12, 17]


async def _history(seed: int) -> list[Observed | str]:
    dice, clock = random.Random(seed), FakeClock(auto=True)
    host = MemoryHost("m1", clock)
    host.images.add("tree:1")
    host.fault = lambda verb, number: dice.choice([None, None, Fault("refuse"), Fault("lose"), Fault("slow", 0.3)])
    engine, seen = MemoryEngine(host), list[Observed | str]()
    for _ in range(60):
        labels = Labels(stack="s", job="j", slice=f"s.j.{dice.randrange(3)}")
        spec = JobSpec(image="tree:1", argv=("program", *dice.choice([("stay",), ("exit", "1"), ("stubborn",)])))
        try:
            match dice.randrange(4):
                case 0:
                    seen.append(await engine.ensure(spec, labels))
                case 1:
                    await engine.stop(labels.slice)
                case 2:
                    await engine.remove(labels.slice)
                case _:
                    seen.append(await engine.inspect(labels.slice))
        except Exception as error:
            seen.append(f"{clock.monotonic_s()} {error}")
        await clock.sleep(dice.random())
    return seen


async def test_a_seed_replays() -> None:
    assert await _history(7) == await _history(7)
    assert await _history(7) != await _history(8)


async def test_a_job_that_was_removed_is_not_there(host: MemoryHost) -> None:
    with pytest.raises(JobNotFound, match=r"shop\.web\.1 on m1"):
        await MemoryEngine(host).inspect(LABELS.slice)


async def test_a_build_knows_its_tree_by_content(host: MemoryHost, tmp_path_factory: pytest.TempPathFactory) -> None:
    from skep.base.errors import BuildFailed
    from skep.deploy.stack.records import Build

    async def progress(line: str) -> None:
        told.append(line)

    told: list[str] = []
    refs = []
    for content in ("one", "one", "two"):
        tree = tmp_path_factory.mktemp("tree")
        (tree / "file").write_text(content)
        refs.append((await MemoryEngine(host).build(tree, Build(install=("make",)), "shop/web", progress)).ref)
    assert refs[0] == refs[1] != refs[2]
    assert told == ["$ make"] * 3
    with pytest.raises(BuildFailed) as caught:
        await MemoryEngine(host).build(tree, Build(install=("false",)), "shop/web", progress)
    assert caught.value.details["last_lines"] == ("$ false",)
