"""An engine whose jobs exist in memory only, under a clock that tests move: with latency and faults by order.

A ``MemoryHost`` is the machine: it lives as long as the test wants, and any number of engines look at it, as programs
of HQ come and go. What a job does is a ``Behaviour``, which the host's ``behave`` finds for its spec; without one,
``spoken_behaviour`` reads it from the words of the spec, those that the conformance suite uses:

    host = MemoryHost("m1", clock)
    engine = MemoryEngine(host)
    await engine.ensure(JobSpec(image="tree:1", argv=("program", "exit", "3", "no luck")), labels)

States are computed from the clock when somebody looks; nothing runs in the background, so a seed replays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from skep.base.clock import Clock
from skep.base.errors import (
    BuildFailed,
    EngineUnavailable,
    ImageNotFound,
    InUse,
    JobDiffers,
    JobNotFound,
    JobNotRunning,
    PortInUse,
    StoreFull,
)
from skep.base.waiting import to_the_end
from skep.crypto.hashing import digest
from skep.deploy.engines.memory_jobs import Behaviour, MemoryJob, spoken_behaviour
from skep.deploy.engines.naming import checked_id
from skep.deploy.engines.protocol import Progress
from skep.deploy.engines.records import (
    Binding,
    Capabilities,
    EngineEvent,
    ExecResult,
    Facts,
    HealthState,
    Image,
    JobSpec,
    Labels,
    LogLine,
    Observed,
    Shipped,
    State,
    VolumeInfo,
    VolumeOrder,
)
from skep.deploy.engines.trees import tree_ref
from skep.deploy.stack.records import Build

T = TypeVar("T")
_FIRST_PORT = 20_000
_LOOK_S = 0.2
"""How often followers of logs and events look."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How a call goes wrong: ``refuse`` fails and does nothing, ``lose`` does it and fails, ``slow`` waits first."""

    kind: Literal["refuse", "lose", "slow"]
    seconds: float = 0.0


class MemoryHost:
    """A machine that exists in memory. Tests set its fields at any time."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        cpu_millis: int = 4000,
        memory_bytes: int = 8 << 30,
        behave: Callable[[JobSpec], Behaviour] = spoken_behaviour,
    ) -> None:
        self.name = name
        self.clock = clock
        self.cpu_millis = cpu_millis
        self.memory_bytes = memory_bytes
        self.behave = behave
        self.is_down = False
        """While it is, every verb raises EngineUnavailable; its jobs go on, as on a host that only its network left."""
        self.disk_is_full = False
        self.latency_s: Callable[[str], float] = lambda verb: 0.0
        """How long a verb takes, by its name."""
        self.fault: Callable[[str, int], Fault | None] = lambda verb, number: None
        """Asked with the verb's name and the number of the call on this host, from 1 on."""
        self.calls: list[str] = []
        """``verb id``, in the order of their beginnings."""
        self.registry: set[str] = set()
        """Images that ``ship`` can fetch without an archive."""
        self.images: set[str] = set()
        self.jobs: dict[str, MemoryJob] = {}
        self.volumes: dict[str, list[str]] = {}
        self.next_port = _FIRST_PORT
        self.foreign_ports: set[int] = set()
        """Ports that programs of others hold."""

    def now_s(self) -> float:
        """Seconds on its own clock."""
        return self.clock.monotonic_s()

    def reboot(self) -> None:
        """Turn it off and on: nothing runs any more, and what wants to run is not started by itself."""
        for job in self.jobs.values():
            job.advance(self.now_s())
            job.lose("the host was restarted")


class MemoryEngine:
    """One program's view of a MemoryHost."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host

    @property
    def host(self) -> str:
        return self._host.name

    async def _call(self, verb: str, id: str, action: Callable[[], Awaitable[T]]) -> T:
        host = self._host
        host.calls.append(f"{verb} {id}".rstrip())
        fault = host.fault(verb, len(host.calls))
        wait_s = host.latency_s(verb) + (fault.seconds if fault is not None else 0.0)
        if wait_s:
            await host.clock.sleep(wait_s)
        if host.is_down or (fault is not None and fault.kind == "refuse"):
            raise EngineUnavailable(f"{host.name} does not answer")
        for job in host.jobs.values():
            job.advance(host.now_s())
        result = await action()
        if fault is not None and fault.kind == "lose":
            raise EngineUnavailable(f"{host.name} did not answer in time")
        return result

    async def facts(self) -> Facts:
        host = self._host

        async def tell() -> Facts:
            return Facts(
                engine="memory",
                version="1",
                hostname=host.name,
                architecture="memory",
                cpu_millis=host.cpu_millis,
                memory_bytes=host.memory_bytes,
                disk_bytes=100 << 30,
                disk_free_bytes=0 if host.disk_is_full else 50 << 30,
                capabilities=Capabilities(heals=False, limits=False, networks=True, images="any"),
            )

        return await self._call("facts", "", tell)

    async def list(self, stack: str = "") -> tuple[Observed, ...]:
        async def look() -> tuple[Observed, ...]:
            jobs = [job for _, job in sorted(self._host.jobs.items()) if stack in ("", job.labels.stack)]
            return tuple(job.observed(self._host.now_s()) for job in jobs)

        return await self._call("list", stack, look)

    async def ship(self, image: Image) -> Shipped:
        async def take() -> Shipped:
            host = self._host
            if image.ref in host.images:
                return Shipped(ref=image.ref, sent_bytes=0)
            if image.archive is None and image.ref not in host.registry:
                raise ImageNotFound(f"{image.ref} has no archive and is in no registry")
            if host.disk_is_full:
                raise StoreFull(f"{host.name} has no room for {image.ref}")
            host.images.add(image.ref)
            return Shipped(ref=image.ref, sent_bytes=1)

        return await self._call("ship", image.ref, take)

    async def ensure(self, spec: JobSpec, labels: Labels) -> Observed:
        checked_id(labels.slice)

        async def see_to_it() -> Observed:
            host = self._host
            job = host.jobs.get(labels.slice)
            if job is not None and job.spec.digest != spec.digest:
                raise JobDiffers(f"{labels.slice} is there on {host.name} with another spec: remove it first")
            if job is None:
                if spec.image not in host.images:
                    raise ImageNotFound(f"{spec.image} is not on {host.name}: ship it first")
                bindings = self._bindings(spec)
                for mount in spec.mounts:
                    host.volumes.setdefault(mount.volume, [])
                job = host.jobs[labels.slice] = MemoryJob(host.clock, spec, labels, bindings, host.volumes, host.behave)
            job.ensure_runs(host.now_s())
            return job.observed(host.now_s())

        return await self._call("ensure", labels.slice, see_to_it)

    def _bindings(self, spec: JobSpec) -> tuple[Binding, ...]:
        host, bindings = self._host, []
        taken = host.foreign_ports | {b.host_port for job in host.jobs.values() for b in job.bindings}
        for port in spec.ports:
            if port.host_port in taken:
                raise PortInUse(f"port {port.host_port} of {host.name} is taken")
            host_port = port.host_port
            if not host_port:
                host_port, host.next_port = host.next_port, host.next_port + 1
            bindings.append(Binding(number=port.number, address="127.0.0.1", host_port=host_port))
        return tuple(bindings)

    async def stop(self, id: str, grace_s: float | None = None) -> None:
        async def end() -> None:
            job = self._host.jobs.get(checked_id(id))
            if job is not None:
                await to_the_end(job.stop(job.spec.stop_grace_s if grace_s is None else grace_s))

        await self._call("stop", id, end)

    async def remove(self, id: str) -> None:
        async def forget() -> None:
            self._host.jobs.pop(checked_id(id), None)

        await self._call("remove", id, forget)

    async def inspect(self, id: str) -> Observed:
        async def look() -> Observed:
            return self._job(id).observed(self._host.now_s(), with_lines=True)

        return await self._call("inspect", id, look)

    def _job(self, id: str) -> MemoryJob:
        job = self._host.jobs.get(checked_id(id))
        if job is None:
            raise JobNotFound(f"there is no job {id} on {self._host.name}")
        return job

    async def logs(self, id: str, *, since_us: int = 0, follow: bool = False) -> AsyncIterator[LogLine]:
        async def find() -> MemoryJob:
            return self._job(id)

        job = await self._call("logs", id, find)
        told = 0
        while True:
            job.advance(self._host.now_s())
            lines = job.lines[told:]
            told += len(lines)
            for line in lines:
                if line.time_us >= since_us:
                    yield line
            if not follow or self._host.jobs.get(id) is not job:
                return
            await self._host.clock.sleep(_LOOK_S)

    async def exec(
        self, id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 60.0, tty: bool = False
    ) -> ExecResult:
        async def run() -> ExecResult:
            job = self._job(id)
            if job.state != "running":
                raise JobNotRunning(f"{id} on {self._host.name} does not run")
            return await job.execute(argv, stdin, timeout_s)

        return await self._call("exec", id, run)

    async def volume(self, order: VolumeOrder) -> tuple[VolumeInfo, ...]:
        async def do() -> tuple[VolumeInfo, ...]:
            volumes, name = self._host.volumes, order.name
            if order.verb == "list":
                return tuple(VolumeInfo(name=n, path=f"memory:{n}") for n in sorted(volumes) if n.startswith(name))
            if order.verb == "create":
                volumes.setdefault(checked_id(name), [])
            else:
                users = [j.labels.slice for j in self._host.jobs.values() if name in {m.volume for m in j.spec.mounts}]
                if users:
                    raise InUse(f"the volume {name} is mounted by {', '.join(sorted(users))}")
                volumes.pop(name, None)
            return (VolumeInfo(name=name, path=f"memory:{name}"),)

        return await self._call("volume", order.name, do)

    async def events(self) -> AsyncIterator[EngineEvent]:
        known = await self._call("events", "", self._states)
        while True:
            await self._host.clock.sleep(_LOOK_S)
            if self._host.is_down:
                raise EngineUnavailable(f"{self._host.name} does not answer")
            now = await self._states()
            for key in sorted(known.keys() | now.keys()):
                if now.get(key) != known.get(key):
                    yield self._event(key, now.get(key), known.get(key))
            known = now

    async def _states(self) -> dict[str, tuple[Labels, State, HealthState]]:
        now_s = self._host.now_s()
        seen = [job.observed(now_s) for job in self._host.jobs.values()]
        return {job.id: (job.labels, job.state, job.health) for job in seen}

    def _event(
        self,
        id: str,
        new: tuple[Labels, State, HealthState] | None,
        old: tuple[Labels, State, HealthState] | None,
    ) -> EngineEvent:
        now_us = self._host.clock.now_us()
        if new is not None:
            return EngineEvent(id=id, labels=new[0], state=new[1], health=new[2], time_us=now_us)
        assert old is not None
        return EngineEvent(id=id, labels=old[0], state="removed", health=old[2], time_us=now_us)

    async def build(self, tree: Path, build: Build, tag: str, progress: Progress) -> Image:
        """An image whose ref comes from what was given; a command ``false`` of ``install`` fails."""

        async def make() -> Image:
            for command in build.install:
                await progress(f"$ {command}")
                if command == "false":
                    raise BuildFailed(f"building {tag} failed: `false` ended with 1", last_lines=("$ false",))
            content = await asyncio.to_thread(tree_ref, tree)
            ref = "memory:" + digest(content.encode(), msgspec.json.encode(build)).hex()[:32]
            return Image(ref=ref, archive=tree)

        return await self._call("build", tag, make)

    async def close(self) -> None:
        """Nothing is held open."""
