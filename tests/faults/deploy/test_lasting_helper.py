"""Ways in which the helper that stays on a host goes wrong, and that the engine goes on after each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skep.base.errors import EngineUnavailable, HostUnavailable, TimedOut
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.process.lasting import LastingHelper
from skep.deploy.engines.records import Image, JobSpec, Labels
from skep.deploy.engines.trees import pack_tree, tree_ref
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import ByteReader, ByteWriter
from skep.deploy.shell.records import Command

LABELS = Labels(stack="s", job="j", slice="s.j.1")


class WrongLine(LocalRunner):
    """Talks do one thing wrong when the next order with a verb goes over them."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: dict[str, str] = {}
        self.talks = 0
        self.mute = False
        """Whether no talk can be had."""

    @contextlib.asynccontextmanager
    async def talk(self, command: Command) -> AsyncIterator[tuple[ByteReader, ByteWriter]]:
        if self.mute:
            raise HostUnavailable("the connection broke")
        self.talks += 1
        async with super().talk(command) as (reader, writer):
            line = _Line(self.wrong, reader, writer)
            yield line, line


class _Line:
    def __init__(self, wrong: dict[str, str], reader: ByteReader, writer: ByteWriter) -> None:
        self.wrong, self.reader, self.writer = wrong, reader, writer
        self.kind = ""
        self.over = False

    def write(self, data: bytes) -> None:
        for verb in list(self.wrong):
            if f'"{verb}"'.encode() in data:
                self.kind = self.wrong.pop(verb)
        if self.kind == "refused":
            raise BrokenPipeError("the connection broke")
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    async def read(self, n: int = -1) -> bytes:
        if self.over:
            return b""
        piece = await self.reader.read(n)
        self.over = self.kind in ("lost", "short", "corrupt")
        if self.kind == "corrupt":
            return b'{"id": "none of yours"}\n'
        return {"lost": b"", "short": piece[: len(piece) // 2]}.get(self.kind, piece)


@pytest.fixture
async def runner() -> WrongLine:
    return WrongLine()


@pytest.fixture
async def engine(runner: WrongLine, tmp_path: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(runner, str(tmp_path / "engine"), python=sys.executable, lasting=True)
    yield engine
    runner.wrong.clear()
    runner.mute = False
    await engine.remove(LABELS.slice)
    await engine.close()
    assert helpers(tmp_path) == []


async def spec_of(engine: ProcessEngine, tmp_path: Path, script: str, **fields: float) -> JobSpec:
    (tmp_path / "tree").mkdir()
    pack_tree(tmp_path / "tree", tmp_path / "tar")
    ref = (await engine.ship(Image(ref=tree_ref(tmp_path / "tree"), archive=tmp_path / "tar"))).ref
    return JobSpec(image=ref, argv=("sh", "-c", script), **fields)  # type: ignore[arg-type]


def helpers(root: Path) -> list[int]:
    """The processes of lasting helpers: each itself, and the verbs that run, but not the supervisors that they left."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"serve" in words and str(root / "engine").encode() in words:
                pid = int(entry.name)
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z" and not supervises(entry):
                    found.append(pid)
        except OSError:
            continue
    return sorted(found)


def supervises(entry: Path) -> bool:
    return any(str(path.readlink()).endswith("/lock") for path in (entry / "fd").iterdir())


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)  # until another process has come so far
    raise AssertionError("it never came so far")


@pytest.mark.parametrize("kind", ["refused", "lost", "short", "corrupt"])
async def test_a_start_that_went_wrong_is_told_and_started_once(
    kind: str, runner: WrongLine, engine: ProcessEngine, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    spec = await spec_of(engine, tmp_path, f"echo x >> {starts}; exec sleep 7777")
    runner.wrong["ensure"] = kind
    with pytest.raises(EngineUnavailable, match="not known what was done"):
        await engine.ensure(spec, LABELS)
    assert (await engine.ensure(spec, LABELS)).state == "running"
    runner.wrong["stop"] = kind
    with pytest.raises(EngineUnavailable):
        await engine.stop(LABELS.slice, 0.2)
    await engine.stop(LABELS.slice, 0.2)
    assert (await engine.inspect(LABELS.slice)).state == "stopped"
    assert starts.read_text().split() in ([], ["x"])  # it may have been stopped before its first line
    assert runner.talks == 3


async def test_a_helper_that_froze_is_given_up_and_the_next_one_answers(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.facts()
    (frozen,) = helpers(tmp_path)
    lasting = engine._lasting
    assert lasting is not None
    os.kill(frozen, signal.SIGSTOP)
    with pytest.raises(TimedOut, match="to list"):
        await lasting.run(engine._command("serve"), ["list"], b'{"stack": ""}', 0.3)
    assert await engine.list() == ()
    await until(lambda: frozen not in helpers(tmp_path))


async def test_a_verb_that_is_cancelled_is_killed_and_the_session_goes_on(
    runner: WrongLine, engine: ProcessEngine, tmp_path: Path
) -> None:
    spec = await spec_of(engine, tmp_path, "trap '' TERM; while :; do sleep 1; done", stop_grace_s=600.0)
    await engine.ensure(spec, LABELS)
    (helper,) = helpers(tmp_path)
    stopping = asyncio.ensure_future(engine.stop(LABELS.slice))
    await until(lambda: len(helpers(tmp_path)) == 2)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await until(lambda: helpers(tmp_path) == [helper])
    assert (await engine.inspect(LABELS.slice)).state in ("running", "stopping")
    assert runner.talks == 1


async def test_a_helper_that_is_killed_does_not_take_its_verbs_along(
    runner: WrongLine, engine: ProcessEngine, tmp_path: Path
) -> None:
    spec = await spec_of(engine, tmp_path, "trap '' TERM; while :; do sleep 1; done")
    await engine.ensure(spec, LABELS)
    (helper,) = helpers(tmp_path)
    stopping = asyncio.ensure_future(engine.stop(LABELS.slice, 600.0))
    await until(lambda: len(helpers(tmp_path)) == 2)
    os.kill(helper, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match="not known what was done"):
        await stopping
    await engine.stop(LABELS.slice, 0.2)
    assert (await engine.inspect(LABELS.slice)).state == "stopped"
    assert runner.talks == 2


async def test_a_helper_whose_files_were_taken_away_goes_on_and_is_brought_again(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    spec = await spec_of(engine, tmp_path, "exec sleep 7777")
    (helper,) = helpers(tmp_path)
    for path in (tmp_path / "engine").glob("helper-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert (await engine.ensure(spec, LABELS)).state == "running"
    assert len(helpers(tmp_path)) == 1
    os.kill(helper, signal.SIGKILL)
    await until(lambda: helpers(tmp_path) == [])
    with contextlib.suppress(EngineUnavailable):  # the first that notices is told
        await engine.list()
    assert [seen.state for seen in await engine.list()] == ["running"]


async def test_where_no_helper_can_stay_each_verb_starts_one(
    runner: WrongLine, engine: ProcessEngine, tmp_path: Path
) -> None:
    runner.mute = True
    spec = await spec_of(engine, tmp_path, "exec sleep 7777")
    assert (await engine.ensure(spec, LABELS)).state == "running"
    assert (runner.talks, helpers(tmp_path)) == (0, [])


async def test_a_hundred_verbs_at_once_are_answered_each_with_its_own(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.facts()
    (tmp_path / "engine" / "images" / "there").mkdir(parents=True)
    lasting = engine._lasting
    assert lasting is not None
    names = ["there" if number % 3 else "missing" for number in range(100)]
    asked = [lasting.run(engine._command("serve"), ["has", name], b"", 60.0) for name in names]
    said = [told.text for told in await asyncio.gather(*asked) if told is not None]
    assert said == ["true" if name == "there" else "false" for name in names]


async def test_a_helper_ends_when_hq_goes_away(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.facts()
    async with LocalRunner().talk(engine._command("serve")) as (reader, writer):
        assert await reader.read(100) == b'{"ready": true}\n'
        assert len(helpers(tmp_path)) == 2
        writer.close()
        assert await reader.read(100) == b""
        await until(lambda: len(helpers(tmp_path)) == 1)


async def test_what_is_no_order_ends_a_helper(engine: ProcessEngine) -> None:
    await engine.facts()
    for wrong in (b"{\n", b"[]\n", b'{"id": 1, "words": ["list"], "size": 99999999}\n', b"x" * 70_000):
        async with LocalRunner().talk(engine._command("serve")) as (reader, writer):
            assert await reader.read(100) == b'{"ready": true}\n'
            writer.write(wrong)
            assert await reader.read(100) == b""


async def test_an_order_that_fails_is_told_with_what_python_says(engine: ProcessEngine, runner: WrongLine) -> None:
    await engine.facts()
    helper = LastingHelper(runner)
    told = await helper.run(engine._command("serve"), ["inspect"], b"no JSON", 30.0)
    assert told is not None
    assert told.exit_code == 1
    assert "JSONDecodeError" in told.complaint()
    await helper.close()
