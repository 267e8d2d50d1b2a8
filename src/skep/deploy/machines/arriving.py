"""From a machine that was made to a host that can be used: SSH answers, its key is known, it is checked and prepared.

    pacific = Pacific(driver, arrive=Arriving(key, remember))

What is learnt of a host (its key, its facts) is told to ``remember`` before it is used for anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import HostUnavailable, MachineRefused, TimedOut
from skep.deploy.machines.checking import FOLDER, HostReport, Needs, check_host
from skep.deploy.machines.preparing import prepare_host
from skep.deploy.machines.records import Machine
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.ssh import SshRunner, SshTarget, host_key_of
from skep.deploy.stack.records import Size

Remember: TypeAlias = Callable[[Machine, HostReport], Awaitable[None]]
ARRIVAL_TIMEOUT_S = 300.0
LOOK_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""The waits between two looks whether SSH answers; the last one is repeated."""


class Arriving:
    """Waits for machines with the key pair at ``key`` and ``key.pub``. Raises TimedOut, MachineRefused."""

    def __init__(
        self,
        key: Path,
        remember: Remember | None = None,
        *,
        needs: Needs | None = None,
        folder: str = FOLDER,
        timeout_s: float = ARRIVAL_TIMEOUT_S,
        clock: Clock | None = None,
        connect: Callable[[SshTarget], Runner] = SshRunner,
    ) -> None:
        self._key = key
        self._remember = remember
        self._needs = needs or Needs()
        self._folder = folder
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._connect = connect

    async def __call__(self, machine: Machine) -> Machine:
        """The machine with its host key and its real size, once it takes commands."""
        started_s = self._clock.monotonic_s()
        attempt = 0
        while True:
            try:
                return await self._arrived(machine)
            except HostUnavailable as error:
                waited_s = self._clock.monotonic_s() - started_s
                if waited_s > self._timeout_s:
                    raise TimedOut(
                        f"machine {machine.name} took no commands within {waited_s:.0f} s: {error}"
                    ) from None
            await self._clock.sleep(LOOK_S[min(attempt, len(LOOK_S) - 1)])
            attempt += 1

    async def _arrived(self, machine: Machine) -> Machine:
        host_key = machine.host_key or await host_key_of(machine.address, machine.port)
        runner = self._connect(machine.target(self._key, host_key))
        try:
            await prepare_host(runner, self._key.with_name(f"{self._key.name}.pub").read_text(), folder=self._folder)
            report = await check_host(runner, self._needs, folder=self._folder, clock=self._clock)
        finally:
            await runner.close()
        if not report.fits:
            raise MachineRefused(f"machine {machine.name} will not do: {'; '.join(report.problems)}")
        size = machine.size or Size(
            memory_bytes=report.memory_bytes, cpu_millis=report.cpu_millis, disk_bytes=report.disk_bytes
        )
        known = msgspec.structs.replace(machine, host_key=host_key, size=size)
        if self._remember is not None:
            await self._remember(known, report)
        return known
