"""Jobs of the process engine outlive everybody, and are found again whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skep.base.errors import BadInput, BuildFailed, EngineUnavailable, Integrity
from skep.deploy.engines.backoff import wait_before_start_s
from skep.deploy.engines.process.building import TreeBuilder
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.process.skephost import supervising
from skep.deploy.engines.records import Image, JobSpec, Labels, Mount, Observed, Restart
from skep.deploy.engines.trees import pack_tree, tree_ref
from skep.deploy.shell.local import LocalRunner
from skep.deploy.stack.records import Build

LABELS = Labels(stack="s", job="j", slice="s.j.1")
FAMILY = """
echo began
(trap '' TERM HUP; exec setsid sleep 7777) &
sleep 7777 &
wait
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(LocalRunner(), str(tmp_path / "engine"), python=sys.executable)
    yield engine
    for job in await engine.list():
        await engine.remove(job.id)


async def shipped(engine: ProcessEngine, tmp_path: Path) -> str:
    tree = tmp_path / "tree"
    (tree / "uploads").mkdir(parents=True, exist_ok=True)
    (tree / "uploads" / "first").write_text("first\n")
    pack_tree(tree, tmp_path / "tar")
    return (await engine.ship(Image(ref=tree_ref(tree), archive=tmp_path / "tar"))).ref


async def start(engine: ProcessEngine, tmp_path: Path, script: str, **fields: object) -> Observed:
    ref = await shipped(engine, tmp_path)
    spec = JobSpec(image=ref, argv=("sh", "-c", script), **{"restart": Restart(policy="never"), **fields})  # type: ignore[arg-type]
    return await engine.ensure(spec, LABELS)


async def until(engine: ProcessEngine, holds: Callable[[Observed], bool]) -> Observed:
    for _ in range(400):
        seen = await engine.inspect(LABELS.slice)
        if holds(seen):
            return seen
        await asyncio.sleep(0.02)  # until another process has come so far
    raise AssertionError(seen)


def state(tmp_path: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((tmp_path / "engine" / "jobs" / LABELS.slice / "state.json").read_text())
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def sleepers(tmp_path: Path) -> list[int]:
    """Processes of the family, by the token of their environment."""
    token = json.loads((tmp_path / "engine" / "jobs" / LABELS.slice / "job.json").read_text())["token"].encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and token in (entry / "environ").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_stop_ends_children_that_left_the_session_and_ignore_signals(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    await start(engine, tmp_path, FAMILY)
    await until(engine, lambda seen: seen.last_lines == ("began",))
    while len(sleepers(tmp_path)) < 3:
        await asyncio.sleep(0.01)  # until the shell has started both
    await engine.stop(LABELS.slice, 0.3)
    assert sleepers(tmp_path) == []


async def test_a_job_whose_supervisor_is_killed_goes_on_and_gets_another(engine: ProcessEngine, tmp_path: Path) -> None:
    script = 'echo one; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; seq 1 20000; echo two; exec sleep 7777'
    await start(engine, tmp_path, script)
    await until(engine, lambda seen: seen.last_lines == ("one",))
    before = state(tmp_path)
    os.kill(before["supervisor"], signal.SIGKILL)
    (tmp_path / "engine" / "jobs" / LABELS.slice / "work" / "go").touch()
    seen = await until(engine, lambda seen: "two" in seen.last_lines)
    after = state(tmp_path)
    assert (seen.state, seen.restarts, after["pid"]) == ("running", 0, before["pid"])
    assert after["supervisor"] != before["supervisor"]
    lines = [line.text async for line in engine.logs(LABELS.slice)]
    assert lines == ["one", *map(str, range(1, 20001)), "two"]
    await engine.stop(LABELS.slice)
    assert not alive(after["pid"])


async def test_a_job_that_is_killed_together_with_its_supervisor_is_told_and_can_start_again(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    await start(engine, tmp_path, "echo up; exec sleep 7777")
    before = state(tmp_path)
    for pid in (before["supervisor"], before["pid"]):
        os.kill(pid, signal.SIGKILL)
    seen = await until(engine, lambda seen: seen.state == "exited")
    assert "killed" in seen.reason
    again = await start(engine, tmp_path, "echo up; exec sleep 7777")
    assert again.state == "running"
    assert state(tmp_path)["pid"] != before["pid"]


async def test_a_job_that_is_killed_is_started_again_by_its_policy(engine: ProcessEngine, tmp_path: Path) -> None:
    await start(engine, tmp_path, "exec sleep 7777", restart=Restart(backoff_first_s=0.05))
    os.kill(state(tmp_path)["pid"], signal.SIGKILL)
    assert (await until(engine, lambda seen: seen.restarts == 1)).state == "running"


async def test_ensure_that_is_cancelled_anywhere_leaves_one_job_or_none(engine: ProcessEngine, tmp_path: Path) -> None:
    ref = await shipped(engine, tmp_path)
    spec = JobSpec(image=ref, argv=("sh", "-c", "echo x >> $HOME/../starts; exec sleep 7777"))
    for _ in range(6):
        ensuring = asyncio.ensure_future(engine.ensure(spec, LABELS))
        await asyncio.wait([ensuring], timeout=0.08)
        ensuring.cancel()
        await asyncio.gather(ensuring, return_exceptions=True)
    assert (await engine.ensure(spec, LABELS)).state == "running"
    for _ in range(200):
        if (tmp_path / "engine" / "jobs" / LABELS.slice / "starts").exists():
            break
        await asyncio.sleep(0.02)  # until the shell has written it
    assert len(sleepers(tmp_path)) == 1
    assert [p.name for p in (tmp_path / "engine" / "jobs").iterdir() if not p.name.startswith(".new")] == [LABELS.slice]


async def test_a_volume_inside_the_tree_begins_with_what_the_tree_has(engine: ProcessEngine, tmp_path: Path) -> None:
    mounts = (Mount(volume="s.up", path="uploads"),)
    await start(
        engine, tmp_path, 'cat uploads/first; echo "$VOLUME_UPLOADS"; echo more >> uploads/first', mounts=mounts
    )
    seen = await until(engine, lambda seen: seen.state == "exited")
    assert seen.last_lines == ("first", str(tmp_path / "engine" / "volumes" / "s.up"))
    await engine.remove(LABELS.slice)
    await start(engine, tmp_path, "cat uploads/first", mounts=mounts)
    seen = await until(engine, lambda seen: seen.state == "exited")
    assert seen.last_lines == ("first", "more")


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs root and control groups")
async def test_what_takes_too_much_memory_is_told(engine: ProcessEngine, tmp_path: Path) -> None:
    if not (await engine.facts()).capabilities.limits:
        pytest.skip("no control groups that this user may make")
    hungry = f"exec {sys.executable} -c 'x = bytearray(200 << 20); print(len(x))'"
    await start(engine, tmp_path, hungry, memory_limit_bytes=32 << 20)
    seen = await until(engine, lambda seen: seen.state == "exited")
    assert seen.exit_code == 137
    assert "more than its 32 MB of memory" in seen.reason


@pytest.mark.long
async def test_output_is_kept_within_a_limit(engine: ProcessEngine, tmp_path: Path) -> None:
    await start(engine, tmp_path, "head -c 40000000 /dev/zero | tr '\\0' x; echo; seq 1 1500000; echo end")
    await until(engine, lambda seen: seen.state == "exited")
    directory = tmp_path / "engine" / "jobs" / LABELS.slice
    kept = [path.stat().st_size for path in directory.iterdir() if path.name.startswith("log")]
    assert len(kept) == 4
    assert max(kept) < 9 << 20
    lines = [line.text async for line in engine.logs(LABELS.slice)]
    assert lines[-1] == "end"
    assert lines[-2] == "1500000"
    assert max(map(len, lines)) <= 16 << 10


async def test_an_archive_that_is_not_what_it_says_or_arrives_short_is_refused(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    ref = await shipped(engine, tmp_path)
    with pytest.raises(Integrity, match="holds"):
        await engine.ship(Image(ref=ref[:-1] + ("0" if ref[-1] != "0" else "1"), archive=tmp_path / "tar"))
    command = engine._command("take", "f" * 40, "0" * 64, stdin=tmp_path / "tar")
    with pytest.raises(Integrity, match="did not arrive whole"):
        await engine._run(bool, command)
    assert [p.name for p in (tmp_path / "engine" / "images").iterdir()] == [ref.removeprefix("tree:")]


async def test_a_host_without_python_is_told(tmp_path: Path) -> None:
    engine = ProcessEngine(LocalRunner(), str(tmp_path / "engine"), python="python-is-not-here")
    with pytest.raises(EngineUnavailable, match="install Python"):
        await engine.facts()


@pytest.mark.parametrize("policy", ["always", "on-failure", "never"])
@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("failures", [1, 2, 5, 100])
def test_the_helper_waits_as_the_others_do(policy: str, code: int, failures: int) -> None:
    import msgspec

    restart = msgspec.convert({"policy": policy, "attempts_max": 50}, Restart)
    theirs = supervising.wait_before_start_s(msgspec.to_builtins(restart), code, failures)
    assert theirs == wait_before_start_s(restart, code, failures)


async def test_images_are_built_once_and_failures_say_why(tmp_path: Path) -> None:
    told: list[str] = []

    async def progress(line: str) -> None:
        told.append(line)

    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "source").write_text("a\n")
    builder = TreeBuilder(tmp_path / "images")
    build = Build(install=("tr a b < source > made", "echo done >&2"))
    image = await builder.build(tree, build, "shop/web", progress)
    assert image.archive is not None
    assert told == ["$ tr a b < source > made", "$ echo done >&2", "done"]
    assert await builder.build(tree, build, "shop/web", progress) == image
    assert told[-1] == "shop/web is built already"
    assert not (tree / "made").exists()
    with pytest.raises(BuildFailed, match="ended with 3: oh no") as caught:
        await builder.build(tree, Build(install=("echo oh no; exit 3",)), "shop/web", progress)
    assert caught.value.details["last_lines"] == ("$ echo oh no; exit 3", "oh no")
    with pytest.raises(BadInput):
        await builder.build(tree, Build(dockerfile_text="FROM x"), "shop/web", progress)
    assert [path.name for path in (tmp_path / "images").iterdir() if path.name.startswith(".")] == []
