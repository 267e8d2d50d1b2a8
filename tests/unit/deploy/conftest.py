"""A real SSH server for what speaks to hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from skep.deploy.shell.ssh import SshRunner, SshTarget
from skep.testing.sshd import Sshd, sshd


@pytest.fixture(scope="session")
def ssh_server(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder, home = tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("home")
    with sshd(program("sshd", "apt-get install openssh-server"), folder, home=home) as server:
        yield server


@pytest.fixture
def ssh_target(ssh_server: Sshd) -> SshTarget:
    return SshTarget(
        address="127.0.0.1",
        port=ssh_server.port,
        user=ssh_server.user,
        key=ssh_server.client_key,
        host_key=ssh_server.host_key,
    )


@pytest.fixture
async def ssh_runner(ssh_target: SshTarget) -> AsyncIterator[SshRunner]:
    runner = SshRunner(ssh_target)
    yield runner
    await runner.close()
