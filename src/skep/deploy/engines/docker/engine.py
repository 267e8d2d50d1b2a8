"""The engine whose jobs are containers.

    engine = DockerEngine("h1", runner=SshRunner(target), url="ssh://root@10.0.0.11", archives=Path("images"))

Containers are found by their labels, and one id is one container because its name is. Ports are chosen here and fixed
in the container, so that they stay the same over restarts. They are published on ``address`` alone.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from skep.base.clock import Clock, SystemClock
from skep.base.errors import (
    BadInput,
    CommandFailed,
    Conflict,
    EngineUnavailable,
    HostUnavailable,
    ImageNotFound,
    InUse,
    JobDiffers,
    JobNotFound,
    JobNotRunning,
    PortInUse,
    TimedOut,
)
from skep.deploy.engines.docker import containers, images
from skep.deploy.engines.docker.probing import Prober
from skep.deploy.engines.docker.wire import Wire
from skep.deploy.engines.naming import checked_id
from skep.deploy.engines.protocol import Progress
from skep.deploy.engines.records import (
    LAST_LINES_MAX,
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
    VolumeInfo,
    VolumeOrder,
)
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command
from skep.deploy.stack.records import Build

PORTS = range(20_000, 30_000)
PORT_ATTEMPTS_MAX = 20
APPEARS_LOOKS_MAX = 50
EXEC_OUTPUT_MAX_BYTES = 1 << 20
_LOOK_S = 0.4
_FRAME_HEAD = 8
_CANNOT_START = ("executable file not found", "no such file or directory", "permission denied", "exec format error")
_NO_TIMEOUT = (b'"timeout": executable file not found', b"exec: timeout")


class DockerEngine:
    """Jobs as containers of one daemon."""

    def __init__(
        self,
        host: str,
        *,
        archives: Path,
        url: str = "unix:///var/run/docker.sock",
        runner: Runner | None = None,
        address: str = "127.0.0.1",
        clock: Clock | None = None,
    ) -> None:
        self._wire = Wire(host, url)
        self._archives = archives
        self._runner = runner or LocalRunner(host)
        self._address = address
        self._clock = clock or SystemClock()
        self._prober = Prober(self._runner, self._clock)
        self._init: bool | None = None

    @property
    def host(self) -> str:
        return self._wire.host

    async def facts(self) -> Facts:
        info = await self._wire.json("GET", "info")
        total, free = await self._disk(info.get("DockerRootDir") or "/")
        return Facts(
            engine="docker",
            version=info["ServerVersion"],
            hostname=info["Name"],
            architecture=info["Architecture"],
            cpu_millis=1000 * int(info["NCPU"]),
            memory_bytes=int(info["MemTotal"]),
            disk_bytes=total,
            disk_free_bytes=free,
            capabilities=Capabilities(heals=True, limits=bool(info.get("MemoryLimit")), networks=True, images="docker"),
            address=self._address,
        )

    async def _disk(self, directory: str) -> tuple[int, int]:
        try:
            result = await self._runner.run(Command.of("df", "-Pk", directory))
            _, total, _, free, *_ = result.text.splitlines()[-1].split()
            return int(total) * 1024, int(free) * 1024
        except (HostUnavailable, CommandFailed, ValueError) as error:
            raise EngineUnavailable(f"the disk of {self.host} cannot be looked at: {error}") from None

    # --- looking ------------------------------------------------------------------------------------

    async def list(self, stack: str = "") -> tuple[Observed, ...]:
        label = f"skep.stack={stack}" if stack else "skep.slice"
        found = []
        for listed in await self._listed(label):
            shown = await self._shown(listed["Id"])
            if shown is not None:
                found.append(containers.observed(shown, self._known_health(shown)))
        return tuple(sorted(found, key=lambda job: job.id))

    async def _listed(self, label: str) -> Sequence[dict[str, Any]]:
        params = {"all": 1, "filters": f'{{"label": ["{label}"]}}'}
        listed: Sequence[dict[str, Any]] = await self._wire.json("GET", "containers/json", params=params)
        return listed

    async def _shown(self, container: str) -> dict[str, Any] | None:
        try:
            shown: dict[str, Any] = await self._wire.json("GET", f"containers/{container}/json")
        except JobNotFound:
            return None
        return shown

    async def _find(self, id: str) -> dict[str, Any] | None:
        """The container of a job; None when there is none."""
        for listed in await self._listed(f"skep.slice={checked_id(id)}"):
            shown = await self._shown(listed["Id"])
            if shown is not None:
                return shown
        return None

    async def _must_find(self, id: str) -> dict[str, Any]:
        shown = await self._find(id)
        if shown is None:
            raise JobNotFound(f"there is no job {id} on {self.host}")
        return shown

    def _known_health(self, shown: dict[str, Any]) -> HealthState:
        labels = shown["Config"]["Labels"]
        started_us = containers.time_us(shown["State"].get("StartedAt", ""))
        return self._prober.known(labels["skep.slice"], containers.health_of(labels), started_us)

    async def _health(self, shown: dict[str, Any]) -> HealthState:
        labels = shown["Config"]["Labels"]
        health = containers.health_of(labels)
        if health is None or health.kind == "command" or containers.state_of(shown) != "running":
            return "none" if health is None else "starting"
        started_us = containers.time_us(shown["State"].get("StartedAt", ""))
        return await self._prober.probe(labels["skep.slice"], health, started_us, containers.bindings_of(shown))

    async def inspect(self, id: str) -> Observed:
        shown = await self._must_find(id)
        lines = [line.text async for line in self._lines(shown["Id"], tail=LAST_LINES_MAX)]
        return containers.observed(shown, await self._health(shown), tuple(lines[-LAST_LINES_MAX:]))

    # --- starting and ending --------------------------------------------------------------------------

    async def ensure(self, spec: JobSpec, labels: Labels) -> Observed:
        checked_id(labels.slice)
        shown = await self._find(labels.slice)
        if shown is None:
            shown, is_new = await self._made(spec, labels)
            if is_new:  # it may have ended already, and is not started twice
                return containers.observed(shown, self._known_health(shown))
        if shown["Config"]["Labels"].get("skep.spec") != spec.digest:
            raise JobDiffers(f"{labels.slice} is there on {self.host} with another spec: remove it first")
        if containers.state_of(shown) not in ("running", "restarting"):
            await self._start(shown, spec)
            shown = await self._must_find(labels.slice)
        return containers.observed(shown, self._known_health(shown))

    async def _made(self, spec: JobSpec, labels: Labels) -> tuple[dict[str, Any], bool]:
        """Create and start the container, with ports that nobody has; False when somebody else has just made it."""
        if not await images.image_id(self._wire, spec.image):
            raise ImageNotFound(f"{spec.image} is not on {self.host}: ship it first")
        for mount in spec.mounts:
            await self.volume(VolumeOrder(verb="create", name=mount.volume))
        for _ in range(PORT_ATTEMPTS_MAX):
            ports = await self._chosen(spec)
            config = containers.container_config(spec, labels, ports, self._address, init=await self._has_init())
            try:
                name = {"name": containers.PREFIX + labels.slice}
                await self._wire.json("POST", "containers/create", params=name, body=config)
            except Conflict:
                return await self._appeared(labels.slice), False  # somebody was faster
            shown = await self._must_find(labels.slice)
            try:
                await self._start(shown, spec)
            except PortInUse:
                await self._delete(shown["Id"])
                if any(port.host_port for port in spec.ports):
                    raise
                continue
            return await self._must_find(labels.slice), True
        raise PortInUse(f"{self.host} has no free port from {PORTS[0]} to {PORTS[-1]}, as far as was tried")

    async def _appeared(self, id: str) -> dict[str, Any]:
        """The container of a job whose name is taken: the daemon lists it a moment later."""
        for _ in range(APPEARS_LOOKS_MAX):
            shown = await self._find(id)
            if shown is not None:
                return shown
            await self._clock.sleep(0.1)
        return await self._must_find(id)

    async def _chosen(self, spec: JobSpec) -> dict[int, int]:
        if not spec.ports:
            return {}
        taken = set()
        for listed in await self._listed("skep.slice"):
            shown = await self._shown(listed["Id"])
            taken |= {binding.host_port for binding in containers.bindings_of(shown)} if shown is not None else set()
        start = int.from_bytes(os.urandom(2), "big") % len(PORTS)
        free = (number for step in range(len(PORTS)) if (number := PORTS[(start + step) % len(PORTS)]) not in taken)
        for port in spec.ports:
            if port.host_port in taken:
                raise PortInUse(f"port {port.host_port} of {self.host} is taken")
        return {port.number: port.host_port or next(free) for port in spec.ports}

    async def _has_init(self) -> bool:
        """Whether the daemon has a first process to give containers, which passes signals on and buries the dead."""
        if self._init is None:
            info = await self._wire.json("GET", "info")
            self._init = (info.get("InitCommit") or {}).get("ID") not in (None, "", "N/A")
        return self._init

    async def _start(self, shown: dict[str, Any], spec: JobSpec) -> None:
        try:
            await self._wire.json("POST", f"containers/{shown['Id']}/start")
        except (BadInput, EngineUnavailable, JobNotFound) as error:
            if not any(words in error.message.lower() for words in _CANNOT_START):
                raise  # else the container itself tells that and why it could not be started
        name = containers.PREFIX + shown["Config"]["Labels"]["skep.slice"]
        if shown["Name"] != f"/{name}":
            await self._wire.json("POST", f"containers/{shown['Id']}/rename", params={"name": name})

    async def stop(self, id: str, grace_s: float | None = None) -> None:
        shown = await self._find(id)
        if shown is None or containers.state_of(shown) in ("stopped", "exited"):
            return
        grace = float(shown["Config"]["Labels"].get("skep.grace", "10")) if grace_s is None else grace_s
        name = containers.PREFIX + id + containers.STOPPED
        if shown["Name"] != f"/{name}":
            await self._wire.json("POST", f"containers/{shown['Id']}/rename", params={"name": name})
        params = {"t": math.ceil(grace)}
        await self._wire.json("POST", f"containers/{shown['Id']}/stop", params=params, timeout_s=grace + 60.0)

    async def remove(self, id: str) -> None:
        shown = await self._find(id)
        if shown is not None:
            await self._delete(shown["Id"])

    async def _delete(self, container: str) -> None:
        for _ in range(50):
            try:
                await self._wire.json("DELETE", f"containers/{container}", params={"force": 1, "v": 0})
            except JobNotFound:
                return
            except (Conflict, InUse):
                await self._clock.sleep(0.1)  # another is removing it
                continue
            return
        raise TimedOut(f"{container} on {self.host} is not removed")

    # --- what flows ------------------------------------------------------------------------------------

    async def ship(self, image: Image) -> Shipped:
        return await images.ship(self._wire, image)

    async def build(self, tree: Path, build: Build, tag: str, progress: Progress) -> Image:
        """As ``Builder`` says, by the daemon."""
        return await images.build(self._wire, self._archives, tree, build, tag, progress)

    async def logs(self, id: str, *, since_us: int = 0, follow: bool = False) -> AsyncIterator[LogLine]:
        container = (await self._must_find(id))["Id"]
        told_us = since_us - 1
        while True:
            try:
                async for line in self._lines(container, since_us=told_us + 1, follow=follow):
                    told_us = max(told_us, line.time_us)
                    yield line
            except JobNotFound:
                return
            if not follow or await self._shown(container) is None:
                return
            await self._clock.sleep(_LOOK_S)  # it has ended: it may be started again

    async def _lines(
        self, container: str, *, since_us: int = 0, follow: bool = False, tail: int = 0
    ) -> AsyncIterator[LogLine]:
        params: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow)}
        params |= {"tail": tail} if tail else {}
        params |= {"since": f"{since_us // 1_000_000}.{since_us % 1_000_000:06d}"} if since_us > 0 else {}
        timeout_s = None if follow else 60.0
        path = f"containers/{container}/logs"
        async with self._wire.response("GET", path, params=params, timeout_s=timeout_s) as response:
            reader = response.content
            while True:
                try:
                    head = await reader.readexactly(_FRAME_HEAD)
                    payload = await reader.readexactly(int.from_bytes(head[4:8], "big"))
                except asyncio.IncompleteReadError:
                    return
                time_text, _, text = payload.partition(b" ")
                time_us = containers.time_us(time_text.decode(errors="replace"))
                if time_us >= since_us:
                    yield LogLine(
                        time_us=time_us,
                        stream="stderr" if head[0] == 2 else "stdout",
                        text=text.removesuffix(b"\n").decode(errors="replace"),
                    )

    async def exec(
        self, id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 60.0, tty: bool = False
    ) -> ExecResult:
        if not argv:
            raise BadInput("there is no command to run")
        shown = await self._must_find(id)
        if containers.state_of(shown) != "running":
            raise JobNotRunning(f"{id} on {self.host} does not run")
        # the daemon cannot end what it runs beside a container: its own timeout does
        limited = ("timeout", "-s", "KILL", str(math.ceil(timeout_s) + 1), *argv)
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._execute(shown["Id"], limited, stdin, tty)
                if result.exit_code in (126, 127) and any(words in result.stdout for words in _NO_TIMEOUT):
                    result = await self._execute(shown["Id"], argv, stdin, tty)
        except TimeoutError:
            raise TimedOut(f"a command beside {id} on {self.host} took over {timeout_s:g} s and is killed") from None
        return result

    async def _execute(self, container: str, argv: tuple[str, ...], stdin: bytes, tty: bool) -> ExecResult:
        order = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": tty, "Cmd": list(argv)}
        made = await self._wire.json("POST", f"containers/{container}/exec", body=order)
        kept = {1: bytearray(), 2: bytearray()}
        stream = self._wire.docker.containers.exec(made["Id"]).start()
        async with stream:
            for at in range(0, len(stdin), 65536):
                await stream.write_in(stdin[at : at + 65536])
            connection = stream._resp.connection if stream._resp is not None else None
            if connection is not None and connection.transport is not None and connection.transport.can_write_eof():
                connection.transport.write_eof()
            while (message := await stream.read_out()) is not None:
                into = kept[2 if message.stream == 2 else 1]
                into += message.data[: EXEC_OUTPUT_MAX_BYTES - len(into)]
        ended = await self._wire.json("GET", f"exec/{made['Id']}/json")
        return ExecResult(exit_code=int(ended["ExitCode"] or 0), stdout=bytes(kept[1]), stderr=bytes(kept[2]))

    async def events(self) -> AsyncIterator[EngineEvent]:
        known = await self._states()
        while True:
            await self._clock.sleep(_LOOK_S)
            now = await self._states()
            for key in sorted(known.keys() | now.keys()):
                new, old = now.get(key), known.get(key)
                if new is not None and (old is None or (new.state, new.health) != (old.state, old.health)):
                    yield self._event(new)
                elif new is None and old is not None:
                    yield self._event(old, removed=True)
            known = now

    async def _states(self) -> dict[str, Observed]:
        found = {}
        for listed in await self._listed("skep.slice"):
            shown = await self._shown(listed["Id"])
            if shown is not None:
                job = containers.observed(shown, await self._health(shown))
                found[job.id] = job
        return found

    def _event(self, job: Observed, *, removed: bool = False) -> EngineEvent:
        state = "removed" if removed else job.state
        return EngineEvent(id=job.id, labels=job.labels, state=state, health=job.health, time_us=self._clock.now_us())

    # --- volumes --------------------------------------------------------------------------------------

    async def volume(self, order: VolumeOrder) -> tuple[VolumeInfo, ...]:
        if order.verb == "list":
            listed = await self._wire.json("GET", "volumes", params={"filters": '{"label": ["skep.volume"]}'})
            found = [
                VolumeInfo(name=volume["Name"], path=volume["Mountpoint"])
                for volume in listed["Volumes"] or []
                if volume["Name"].startswith(order.name)
            ]
            return tuple(sorted(found, key=lambda volume: volume.name))
        if order.verb == "create":
            body = {"Name": checked_id(order.name), "Labels": {"skep.volume": "1"}}
            made = await self._wire.json("POST", "volumes/create", body=body)
            return (VolumeInfo(name=made["Name"], path=made["Mountpoint"]),)
        try:
            await self._wire.json("DELETE", f"volumes/{checked_id(order.name)}")
        except JobNotFound:
            pass
        except Conflict as error:
            raise InUse(f"the volume {order.name} is mounted by a job: {error.message}") from None
        return (VolumeInfo(name=order.name, path=""),)

    async def close(self) -> None:
        await self._wire.close()
        await self._runner.close()
