"""Ways in which a call to a host goes wrong: what the process engine says, and that doing it again puts it right."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.base.errors import EngineUnavailable, HostUnavailable, TimedOut
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.records import Image, JobSpec, Labels
from skep.deploy.engines.trees import pack_tree, tree_ref
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command, Result

LABELS = Labels(stack="s", job="j", slice="s.j.1")


class WrongRunner(LocalRunner):
    """A line to a host that does one thing wrong to the next command with a verb."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: dict[str, str] = {}

    async def run(self, command: Command, *, check: bool = True) -> Result:
        kind = next((self.wrong.pop(word) for word in command.argv if word in self.wrong), "")
        if kind == "refused":
            raise HostUnavailable("the connection broke")
        result = await super().run(command, check=check)
        if kind == "lost":
            raise HostUnavailable("the connection broke")
        if kind == "slow":
            raise TimedOut("it took too long")
        if kind == "short":
            return Result(exit_code=0, stdout=result.stdout[: len(result.stdout) // 2])
        if kind == "corrupt":
            return Result(exit_code=0, stdout=b'{"labels": 5}')
        return result


@pytest.fixture
async def runner() -> WrongRunner:
    return WrongRunner()


@pytest.fixture
async def engine(runner: WrongRunner, tmp_path: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(runner, str(tmp_path / "engine"), python=sys.executable)
    yield engine
    await engine.remove(LABELS.slice)


@pytest.mark.parametrize("kind", ["refused", "lost", "slow", "short", "corrupt"])
async def test_a_start_that_went_wrong_is_told_and_started_once(
    kind: str, runner: WrongRunner, engine: ProcessEngine, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    pack_tree(tmp_path / "tree", tmp_path / "tar")
    image = Image(ref=tree_ref(tmp_path / "tree"), archive=tmp_path / "tar")
    ref = (await engine.ship(image)).ref
    starts = tmp_path / "starts"
    spec = JobSpec(image=ref, argv=("sh", "-c", f"echo x >> {starts}; exec sleep 7777"))
    runner.wrong["ensure"] = kind
    with pytest.raises(TimedOut if kind == "slow" else EngineUnavailable):
        await engine.ensure(spec, LABELS)
    assert (await engine.ensure(spec, LABELS)).state == "running"
    runner.wrong["stop"] = kind if kind in ("refused", "lost", "slow") else "lost"
    with pytest.raises((EngineUnavailable, TimedOut)):
        await engine.stop(LABELS.slice, 0.2)
    await engine.stop(LABELS.slice, 0.2)
    assert (await engine.inspect(LABELS.slice)).state == "stopped"
    assert len(starts.read_text().split()) <= 1  # it may have been stopped before its first line
    runner.wrong["remove"] = "lost"
    with pytest.raises(EngineUnavailable):
        await engine.remove(LABELS.slice)
    assert await engine.list() == ()


async def test_an_image_whose_arrival_was_not_heard_of_is_there(
    runner: WrongRunner, engine: ProcessEngine, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    pack_tree(tmp_path / "tree", tmp_path / "tar")
    image = Image(ref=tree_ref(tmp_path / "tree"), archive=tmp_path / "tar")
    runner.wrong["take"] = "lost"
    with pytest.raises(EngineUnavailable):
        await engine.ship(image)
    assert (await engine.ship(image)).sent_bytes == 0
