"""Machines that people own: a pool of hosts reached over SSH, of which a fleet takes and gives back.

    driver = SshPool(Path("/srv/hq/pool.json"), [OwnHost(name="attic", target=SshTarget(address="10.0.0.11", …), …)])

Nothing is rented: to create is to take a free host of the type, to destroy is to free it again. Which host is whose is
kept in a file, so a name stays with its host over crashes. A host that does not answer is not given out.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, HostUnavailable, MachineRefused
from skep.deploy.machines.records import Machine, MachineType, Traits, checked_name, takes
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command
from skep.deploy.shell.ssh import SshRunner, SshTarget
from skep.deploy.stack.records import Size

R = TypeVar("R")
LOOK_TIMEOUT_S = 20.0


class OwnHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host of the pool. ``name`` is what its owner calls it; ``type`` groups hosts that may stand for each other."""

    name: str
    target: SshTarget
    size: Size
    type: str = "own"


class _Taken(msgspec.Struct, frozen=True):
    host: str
    created_us: int


class _State(msgspec.Struct):
    """The file: machine name → the host that it is."""

    version: int = 1
    taken: dict[str, _Taken] = {}


class SshPool:
    """The hosts of one fleet. ``connect`` opens a runner, to see whether a host answers before it is given out."""

    def __init__(
        self,
        file: Path,
        hosts: Iterable[OwnHost],
        *,
        clock: Clock | None = None,
        connect: Callable[[SshTarget], Runner] = SshRunner,
    ) -> None:
        self._file = file
        self._hosts = {host.name: host for host in hosts}
        self._clock = clock or SystemClock()
        self._connect = connect
        self._taking = asyncio.Lock()

    @property
    def traits(self) -> Traits:
        return Traits(kind="ssh", resizes=False, rents=False)

    async def types(self) -> tuple[MachineType, ...]:
        """One for each type of host, of the size that each of them has at least."""
        found: dict[str, Size] = {}
        for host in self._hosts.values():
            found[host.type] = _smaller(found.get(host.type, host.size), host.size)
        types = [MachineType(name=name, size=size) for name, size in found.items()]
        return tuple(sorted(types, key=lambda one: (one.price_hourly, one.size.memory_bytes, one.name)))

    async def list(self) -> tuple[Machine, ...]:
        state = await asyncio.to_thread(self._read)
        known = {name: taken for name, taken in state.taken.items() if taken.host in self._hosts}
        return tuple(self._machine(name, known[name]) for name in sorted(known))

    async def create(self, name: str, type: str) -> Machine:
        checked_name(name)
        if type not in {host.type for host in self._hosts.values()}:
            raise BadInput(f"the pool has no hosts of type {type}: {', '.join(one.name for one in await self.types())}")
        async with self._taking:
            passed: list[str] = []
            while True:
                taken = await self._changed(lambda state: self._take(state, name, type, passed))
                machine = self._machine(name, taken)
                try:
                    await self._look(self._hosts[taken.host])
                    return machine
                except HostUnavailable:
                    if taken.host not in passed and len(passed) < len(self._hosts) and self._is_new(taken):
                        passed.append(taken.host)
                        await self._changed(lambda state: state.taken.pop(name, None))
                        continue
                    raise

    async def destroy(self, name: str) -> None:
        checked_name(name)
        await self._changed(lambda state: state.taken.pop(name, None))

    async def resize(self, name: str, type: str) -> Machine:
        raise BadInput(f"{name} is a host of its owner's and cannot be resized: add another one and remove it")

    async def close(self) -> None:
        """Nothing is held open."""

    def _take(self, state: _State, name: str, type: str, passed: Iterable[str]) -> _Taken:
        if name in state.taken and state.taken[name].host in self._hosts:
            return state.taken[name]
        busy = {taken.host for taken in state.taken.values()}
        free = [one for one in self._hosts.values() if one.type == type and one.name not in busy | set(passed)]
        if not free:
            silent = f"; {', '.join(passed)} do not answer" if passed else ""
            raise MachineRefused(f"machine {name} cannot be had: no host of type {type} is free{silent}: add one")
        state.taken[name] = _Taken(free[0].name, self._clock.now_us())
        self._fresh = state.taken[name]
        return state.taken[name]

    _fresh: _Taken | None = None

    def _is_new(self, taken: _Taken) -> bool:
        """Whether nothing can run there yet: it was taken by this very call."""
        return taken == self._fresh

    async def _look(self, host: OwnHost) -> None:
        runner = self._connect(host.target)
        try:
            await runner.run(Command.of("true", timeout_s=LOOK_TIMEOUT_S))
        finally:
            await runner.close()

    async def _changed(self, change: Callable[[_State], R]) -> R:
        def run() -> R:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                state = self._read()
                result = change(state)
                new = self._file.with_suffix(".new")
                new.write_bytes(msgspec.json.encode(state))
                new.replace(self._file)
                return result

        return await asyncio.to_thread(run)

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_State)
        except FileNotFoundError:
            return _State()

    def _machine(self, name: str, taken: _Taken) -> Machine:
        host = self._hosts[taken.host]
        return Machine(
            name=name,
            type=host.type,
            id=host.name,
            address=host.target.address,
            port=host.target.port,
            user=host.target.user,
            host_key=host.target.host_key,
            size=host.size,
            created_us=taken.created_us,
        )


def _smaller(one: Size, other: Size) -> Size:
    return one if takes(other, one) else Size(
        memory_bytes=min(one.memory_bytes, other.memory_bytes),
        cpu_millis=min(one.cpu_millis, other.cpu_millis),
        disk_bytes=min(one.disk_bytes, other.disk_bytes),
    )  # fmt: skip
