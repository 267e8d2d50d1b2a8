"""The shared suite on a real dockerd, in a network namespace of its own. Opt in: SKEP_TEST_DOCKER=1 (needs root).

The base image is made from busybox-static, so no registry is asked.
"""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import BuildFailed, ImageNotFound
from skep.deploy.engines.conformance import CHECKS, check
from skep.deploy.engines.docker.engine import DockerEngine
from skep.deploy.engines.docker.images import archive_layers
from skep.deploy.engines.protocol import Builder
from skep.deploy.engines.records import Image
from skep.deploy.stack.records import Build
from skep.testing.dockerd import Dockerd, dockerd
from skep.testing.engine_program import write_program

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.environ.get("SKEP_TEST_DOCKER") != "1" or os.geteuid() != 0,
        reason="starts dockerd: SKEP_TEST_DOCKER=1 as root, after apt-get install docker.io busybox-static",
    ),
]
BASE = """FROM scratch
COPY bin /bin
COPY program /program
RUN ["/bin/busybox", "--install", "/bin"]
RUN mkdir -p /tmp
"""


@pytest.fixture(scope="module")
def daemons(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Dockerd]]:
    binary = program("dockerd", "apt-get install docker.io")
    program("busybox", "apt-get install busybox-static")
    with dockerd(binary, tmp_path_factory.mktemp("one")) as one, dockerd(binary, tmp_path_factory.mktemp("two")) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], Path]) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    write_program(tree)
    (tree / "bin").mkdir()
    shutil.copy(program("busybox", "apt-get install busybox-static"), tree / "bin" / "busybox")
    for name in ("sh", "timeout"):
        (tree / "bin" / name).symlink_to("busybox")
    return tree


async def ignore(line: str) -> None:
    """Nobody reads it."""


class DockerBench:
    program = ("/program",)

    def __init__(self, daemon: Dockerd, image: Image, archives: Path) -> None:
        self.clock = SystemClock()
        self.image = image
        self._daemon = daemon
        self._archives = archives

    async def open(self) -> DockerEngine:
        return DockerEngine("one", archives=self._archives, url=self._daemon.url, address=self._daemon.address)

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


async def built(daemon: Dockerd, tree: Path, archives: Path, build: Build, tag: str = "check/program") -> Image:
    engine = DockerEngine("one", archives=archives, url=daemon.url, address=daemon.address)
    try:
        assert isinstance(engine, Builder)
        return await engine.build(tree, build, tag, ignore)
    finally:
        await engine.close()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@pytest.mark.parametrize("name", CHECKS)
async def test_the_docker_engine_keeps_the_contract(
    name: str, daemons: list[Dockerd], tree: Path, archives: Path
) -> None:
    image = await built(daemons[1], tree, archives, Build(dockerfile_text=BASE))
    (result,) = await check(DockerBench(daemons[0], image, archives), only=name)
    assert result.outcome == "passed", result.detail


async def test_only_layers_that_are_missing_are_shipped(
    daemons: list[Dockerd], tree: Path, archives: Path, tmp_path: Path
) -> None:
    base = await built(daemons[1], tree, archives, Build(dockerfile_text=BASE))
    engine = DockerEngine("one", archives=archives, url=daemons[0].url)
    try:
        await engine.ship(base)
        (tmp_path / "new").write_text("new")
        plan = Build(base="check/program", install=("echo built > made",))
        more = await built(daemons[1], tmp_path, archives, plan, "check/more")
        assert base.archive is not None
        assert more.archive is not None
        assert len(archive_layers(more.archive)) > len(archive_layers(base.archive))
        shipped = await engine.ship(more)
        assert 0 < shipped.sent_bytes < base.archive.stat().st_size / 5
        assert (await engine.ship(more)).sent_bytes == 0
    finally:
        await engine.close()


async def test_builds_that_fail_and_images_that_are_nowhere_are_told(
    daemons: list[Dockerd], tree: Path, archives: Path
) -> None:
    with pytest.raises(BuildFailed, match="returned a non-zero code: 3") as caught:
        await built(daemons[1], tree, archives, Build(dockerfile_text=BASE + "RUN echo oh no && exit 3\n"), "check/bad")
    assert "oh no" in "\n".join(caught.value.details["last_lines"])  # type: ignore[arg-type]
    with pytest.raises(BuildFailed):
        await built(daemons[1], tree, archives, Build(dockerfile_text="NONSENSE\n"), "check/bad")
    engine = DockerEngine("one", archives=archives, url=daemons[0].url)
    try:
        with pytest.raises(ImageNotFound):
            await engine.ship(Image(ref="127.0.0.1:1/there/is/none:1"))
    finally:
        await engine.close()
    assert [path.name for path in archives.iterdir() if path.name.startswith(".")] == []


def test_archives_are_tars_of_layers(archives: Path) -> None:
    for archive in archives.glob("*.tar"):
        with tarfile.open(archive) as tar:
            assert {path for _, path in archive_layers(archive)} <= set(tar.getnames())
