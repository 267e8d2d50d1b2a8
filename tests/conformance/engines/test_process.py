"""The shared suite on the process engine: on this machine, and through a real sshd."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.deploy.engines.conformance import CHECKS, check
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.records import Image
from skep.deploy.engines.trees import pack_tree, tree_ref
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.ssh import SshRunner, SshTarget
from skep.testing.engine_program import write_program
from skep.testing.sshd import Sshd, sshd

OVER_SSH = (
    "ensure-starts-and-tells",
    "logs-can-be-followed-to-the-end",
    "commands-run-beside-a-job",
    "health-over-http",
)


class ProcessBench:
    program = ("./program",)

    def __init__(self, root: Path, image: Image, runner: Callable[[], Runner], *, lasting: bool = True) -> None:
        self.clock = SystemClock()
        self.root = root
        self.image = image
        self._runner = runner
        self._lasting = lasting

    async def open(self) -> ProcessEngine:
        return ProcessEngine(self._runner(), str(self.root), python=sys.executable, lasting=self._lasting)

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


def processes_below(root: Path) -> list[str]:
    """What still runs of an engine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if command and str(root).encode() in command + (entry / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    tree, archive = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("archive") / "tar"
    write_program(tree)
    pack_tree(tree, archive)
    return Image(ref=tree_ref(tree), archive=archive)


ALWAYS = frozenset(
    {
        "ensure-starts-and-tells", "ensure-many-times-at-once-makes-one", "another-spec-needs-another-id",
        "stop-stops-for-good-and-ensure-starts-again", "what-ignores-term-is-killed", "remove-forgets",
        "what-ends-at-once-is-told-with-its-last-lines", "always-starts-again", "health-over-http",
        "a-fixed-port-is-kept-and-not-given-twice", "commands-run-beside-a-job",
    }
)  # fmt: skip
"""What is run every time; the rest, and all over SSH, is with the long tests."""


ONE_SHOT = frozenset({"stop-stops-for-good-and-ensure-starts-again", "remove-forgets", "commands-run-beside-a-job"})
"""What is run every time with a helper for each verb, which is what engines do where none can stay."""


@pytest.mark.parametrize(
    ("name", "lasting"),
    [
        pytest.param(name, lasting, marks=() if name in (ALWAYS if lasting else ONE_SHOT) else pytest.mark.long)
        for name in CHECKS
        for lasting in (True, False)
    ],
)
async def test_the_process_engine_keeps_the_contract(name: str, lasting: bool, image: Image, tmp_path: Path) -> None:
    (result,) = await check(ProcessBench(tmp_path / "engine", image, LocalRunner, lasting=lasting), only=name)
    assert result.outcome == "passed", result.detail
    assert processes_below(tmp_path) == []


@pytest.fixture(scope="module")
def server(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(program("sshd", "apt-get install openssh-server"), tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.mark.long
@pytest.mark.parametrize("name", OVER_SSH)
async def test_the_process_engine_keeps_it_over_ssh(name: str, image: Image, server: Sshd, tmp_path: Path) -> None:
    target = SshTarget(
        address="127.0.0.1", port=server.port, user=server.user, key=server.client_key, host_key=server.host_key
    )
    (result,) = await check(ProcessBench(tmp_path / "engine", image, lambda: SshRunner(target)), only=name)
    assert result.outcome == "passed", result.detail
    assert processes_below(tmp_path) == []
