"""The engine whose jobs are processes: on this machine, or on any host with a shell and Python 3.9.

    engine = ProcessEngine(LocalRunner(), "/var/lib/skep/engine", python=sys.executable)
    engine = ProcessEngine(SshRunner(target), "/var/lib/skep/engine", address="10.0.0.11")

Everything is done by a helper on the host (``skephost``), which is sent there when it is missing. A job gets a copy of
its image's tree as its directory; it shares the host's network, so it must listen on ``$PORT`` (or ``$PORT_<number>``).
A volume whose path is inside the tree (``uploads``, ``/srv/app/uploads``) lies there; any other only in ``$VOLUME_…``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from skep.base.errors import (
    BadInput,
    CommandFailed,
    EngineUnavailable,
    HostUnavailable,
    ImageNotFound,
    Integrity,
    InUse,
    JobDiffers,
    JobNotFound,
    JobNotRunning,
    LimitReached,
    LocalFailure,
    PortInUse,
    SkepError,
    StoreFull,
    TimedOut,
)
from skep.deploy.engines.naming import checked_id, full_argv, volume_variable
from skep.deploy.engines.process.lasting import BODY_MAX_BYTES, LastingHelper
from skep.deploy.engines.process.parcel import parcel
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
from skep.deploy.engines.trees import TREE_PREFIX, archive_ref
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command, Result

R = TypeVar("R")
VERB_TIMEOUT_S = 60.0
SHIP_TIMEOUT_S = 1800.0
_REFUSED = 3
_NO_JOB = 4
_ERRORS: dict[str, type[SkepError]] = {
    kind.code: kind
    for kind in (
        *(BadInput, EngineUnavailable, ImageNotFound, Integrity, InUse, JobDiffers, JobNotFound, JobNotRunning),
        *(LimitReached, PortInUse, StoreFull, TimedOut),
    )
}


class _Told(msgspec.Struct):
    """A job as the helper tells it."""

    labels: Labels
    spec_digest: str
    image: str
    state: State
    health: HealthState
    bindings: list[tuple[int, str, int]]
    started_us: int
    finished_us: int
    exit_code: int | None
    restarts: int
    reason: str
    last_lines: list[str]

    def observed(self) -> Observed:
        return Observed(
            labels=self.labels,
            spec_digest=self.spec_digest,
            image=self.image,
            state=self.state,
            health=self.health,
            bindings=tuple(Binding(number=n, address=address, host_port=port) for n, address, port in self.bindings),
            started_us=self.started_us,
            finished_us=self.finished_us,
            exit_code=self.exit_code,
            restarts=self.restarts,
            reason=self.reason,
            last_lines=tuple(self.last_lines),
        )


class ProcessEngine:
    """Jobs as processes below ``root`` on the host of a runner."""

    def __init__(
        self,
        runner: Runner,
        root: str,
        *,
        address: str = "127.0.0.1",
        python: str = "python3",
        lasting: bool = False,
    ) -> None:
        """``lasting``: keep a helper open on the host, until ``close``; else each verb starts one."""
        self._runner = runner
        self._root = root.rstrip("/")
        self._address = address
        self._python = python
        self._installing = asyncio.Lock()
        self._shipping: dict[str, asyncio.Lock] = {}
        self._installed = False
        self._lasting = LastingHelper(runner) if lasting else None

    @property
    def host(self) -> str:
        return self._runner.host

    # --- speaking to the helper ---------------------------------------------------------------

    def _command(self, *words: str, stdin: bytes | Path = b"", timeout_s: float = VERB_TIMEOUT_S) -> Command:
        helper = f"{self._root}/{parcel()[0]}"
        return Command(
            argv=(self._python, "-I", "-S", helper, self._root, *words),
            stdin=stdin,
            timeout_s=timeout_s,
            output_max_bytes=16 << 20,
        )

    async def _call(self, verb: str, order: Any, kind: type[R], *, timeout_s: float = VERB_TIMEOUT_S) -> R:
        """Give the helper an order, and read its answer as a value of ``kind``."""
        return await self._run(kind, self._command(verb, stdin=msgspec.json.encode(order), timeout_s=timeout_s))

    async def _run(self, kind: type[R], command: Command) -> R:
        await self._install()
        result = await self._said(command)
        try:
            if result.exit_code == _REFUSED:
                refusal = msgspec.json.decode(result.stdout, type=dict[str, str])
                raise _ERRORS.get(refusal["error"], EngineUnavailable)(f"{self.host}: {refusal['message']}")
            if result.ok:
                return msgspec.json.decode(result.stdout, type=kind)
        except (msgspec.MsgspecError, KeyError) as error:
            raise EngineUnavailable(f"the helper on {self.host} answers what it never should: {error}") from None
        self._installed = False  # it may have been removed: look again
        raise EngineUnavailable(f"the helper on {self.host} failed: {result.complaint()}")

    async def _said(self, command: Command) -> Result:
        """What the helper says: the one that stays, where there is one and it takes so much at once."""
        words, stdin = command.argv[5:], command.stdin
        if self._lasting is not None:
            body = stdin if isinstance(stdin, bytes) else await asyncio.to_thread(_small, stdin)
            if body is not None and len(body) <= BODY_MAX_BYTES:
                try:
                    told = await self._lasting.run(self._command("serve"), words, body, command.timeout_s)
                except HostUnavailable as error:
                    raise EngineUnavailable(error.message) from None
                if told is not None:
                    return told
                self._installed = False  # that none can stay may be because the helper was removed
                await self._install()
        return await self._shell(command)

    async def _shell(self, command: Command) -> Result:
        try:
            return await self._runner.run(command, check=False)
        except HostUnavailable as error:
            raise EngineUnavailable(error.message) from None

    def _lacks_helper(self) -> bool:
        return not self._installed

    async def _install(self) -> None:
        """See to it that the helper is on the host."""
        if not self._lacks_helper():
            return
        async with self._installing:
            if not self._lacks_helper():
                return
            name, content = parcel()
            target = f"{self._root}/{name}"
            there = await self._shell(Command.of("test", "-f", f"{target}/__main__.py"))
            if not there.ok:
                try:
                    await self._runner.put(content, f"{target}.zip")
                except HostUnavailable as error:
                    raise EngineUnavailable(error.message) from None
                except CommandFailed as error:
                    raise EngineUnavailable(f"the helper cannot be put on {self.host}: {error.message}") from None
                archive = (self._python, "-I", "-S", f"{target}.zip", self._root, "unpack", target)
                unpacked = await self._shell(Command(argv=archive))
                if unpacked.exit_code == 127:
                    raise EngineUnavailable(f"{self.host} has no {self._python}: install Python 3.9 or later there")
                if not unpacked.ok:
                    raise EngineUnavailable(f"the helper does not start on {self.host}: {unpacked.complaint()}")
            self._installed = True

    # --- the verbs ---------------------------------------------------------------------------------

    async def facts(self) -> Facts:
        told = await self._call("facts", {}, dict[str, Any])
        limits = bool(told.pop("limits"))
        capabilities = Capabilities(heals=False, limits=limits, networks=False, images="tree")
        return Facts(engine="process", capabilities=capabilities, address=self._address, **told)

    async def list(self, stack: str = "") -> tuple[Observed, ...]:
        told = await self._call("list", {"stack": stack}, list[_Told])
        return tuple(job.observed() for job in told)

    async def ship(self, image: Image) -> Shipped:
        if not image.ref.startswith(TREE_PREFIX):
            raise BadInput(
                f"{image.ref} is no tree of files: the process engine runs programs, say run and not container"
            )
        digest = image.ref.removeprefix(TREE_PREFIX)
        lock = self._shipping.setdefault(digest, asyncio.Lock())  # what two slices need goes there once
        try:
            async with lock:
                return await self._shipped(image, digest)
        finally:
            if not lock.locked():
                self._shipping.pop(digest, None)

    async def _shipped(self, image: Image, digest: str) -> Shipped:
        if await self._run(bool, self._command("has", checked_id(digest))):
            return Shipped(ref=image.ref, sent_bytes=0)
        if image.archive is None:
            raise ImageNotFound(f"{image.ref} is not on {self.host} and has no archive")
        ref, sha256, size_bytes = await asyncio.to_thread(_looked_at, image.archive)
        if ref != image.ref:
            raise Integrity(f"the archive {image.archive} holds {ref} and not {image.ref}: build it again")
        await self._run(bool, self._command("take", digest, sha256, stdin=image.archive, timeout_s=SHIP_TIMEOUT_S))
        return Shipped(ref=image.ref, sent_bytes=size_bytes)

    async def ensure(self, spec: JobSpec, labels: Labels) -> Observed:
        checked_id(labels.slice)
        if not spec.argv:
            raise BadInput(f"{labels.slice} has nothing to run: the process engine needs run")
        order = {
            "labels": msgspec.to_builtins(labels),
            "digest": spec.digest,
            "image": spec.image,
            "argv": full_argv(spec),
            "env": spec.env | {f"SKEP_{f.upper()}": getattr(labels, f) for f in ("stack", "job", "slice", "release")},
            "ports": [(port.number, port.host_port) for port in spec.ports],
            "mounts": [
                {"volume": checked_id(mount.volume), "path": mount.path, "variable": volume_variable(mount)}
                for mount in spec.mounts
            ],
            "memory_limit_bytes": spec.memory_limit_bytes,
            "cpu_weight_millis": spec.cpu_weight_millis,
            "cpu_limit_millis": spec.cpu_limit_millis,
            "restart": msgspec.to_builtins(spec.restart),
            "health": msgspec.to_builtins(spec.health),
            "stop_grace_s": spec.stop_grace_s,
            "address": self._address,
        }
        # an earlier stop may have to come to its end first
        timeout_s = 2 * VERB_TIMEOUT_S + spec.stop_grace_s
        return (await self._call("ensure", order, _Told, timeout_s=timeout_s)).observed()

    async def stop(self, id: str, grace_s: float | None = None) -> None:
        order = {"id": checked_id(id), "grace_s": grace_s}
        await self._call("stop", order, type(None), timeout_s=(3600.0 if grace_s is None else grace_s) + VERB_TIMEOUT_S)

    async def remove(self, id: str) -> None:
        await self._call("remove", {"id": checked_id(id)}, type(None))

    async def inspect(self, id: str) -> Observed:
        raw = await self._call("inspect", {"id": checked_id(id)}, object)
        if raw is None:
            raise JobNotFound(f"there is no job {id} on {self.host}")
        return msgspec.convert(raw, _Told).observed()

    async def logs(self, id: str, *, since_us: int = 0, follow: bool = False) -> AsyncIterator[LogLine]:
        await self._install()
        command = self._command("logs", checked_id(id), str(since_us), "follow" if follow else "all")
        try:
            async with self._runner.lines(command) as lines:
                async for line in lines:
                    time_text, stream, text = (line + b"  ").split(b" ", 2)
                    if time_text.isdigit():
                        yield LogLine(
                            time_us=int(time_text),
                            stream="stdout" if stream == b"o" else "stderr",
                            text=text[:-2].decode(errors="replace"),
                        )
        except HostUnavailable as error:
            raise EngineUnavailable(error.message) from None
        except CommandFailed as error:
            if error.details.get("exit_code") == _NO_JOB:
                raise JobNotFound(f"there is no job {id} on {self.host}") from None
            raise EngineUnavailable(error.message) from None

    async def exec(
        self, id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 60.0, tty: bool = False
    ) -> ExecResult:
        if not argv:
            raise BadInput("there is no command to run")
        order = {"id": checked_id(id), "argv": argv, "stdin": _text(stdin), "timeout_s": timeout_s, "tty": tty}
        told = await self._call("exec", order, dict[str, Any], timeout_s=timeout_s + VERB_TIMEOUT_S)
        return ExecResult(
            exit_code=told["exit_code"],
            stdout=base64.b64decode(told["stdout"]),
            stderr=base64.b64decode(told["stderr"]),
        )

    async def volume(self, order: VolumeOrder) -> tuple[VolumeInfo, ...]:
        if order.name or order.verb != "list":
            checked_id(order.name)
        found = await self._call("volume", msgspec.to_builtins(order), list[tuple[str, str]])
        return tuple(VolumeInfo(name=name, path=path) for name, path in found)

    async def events(self) -> AsyncIterator[EngineEvent]:
        await self._install()
        try:
            async with self._runner.lines(self._command("events")) as lines:
                async for line in lines:
                    if line.startswith(b"{"):
                        told = msgspec.json.decode(line, type=_ToldEvent)
                        yield told.event()
        except (HostUnavailable, CommandFailed) as error:
            raise EngineUnavailable(error.message) from None
        raise EngineUnavailable(f"the helper on {self.host} tells no more events")

    async def close(self) -> None:
        if self._lasting is not None:
            await self._lasting.close()
        await self._runner.close()


class _ToldEvent(msgspec.Struct):
    """An event as the helper tells it."""

    id: str
    labels: Labels
    state: State | Literal["removed"]
    health: HealthState
    time_us: int

    def event(self) -> EngineEvent:
        return EngineEvent(id=self.id, labels=self.labels, state=self.state, health=self.health, time_us=self.time_us)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _small(path: Path) -> bytes | None:
    """A file's content, if it is so small that it may go with an order."""
    try:
        with path.open("rb") as file:
            content = file.read(BODY_MAX_BYTES + 1)
    except OSError:
        return None  # whoever streams it tells why
    return content if len(content) <= BODY_MAX_BYTES else None


def _looked_at(archive: Path) -> tuple[str, str, int]:
    """The ref, the SHA-256 and the size of an archive. Raises LocalFailure, Integrity."""
    try:
        with archive.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return archive_ref(archive), sha256, archive.stat().st_size
    except OSError as error:
        raise LocalFailure(f"{archive} cannot be read: {error.strerror}") from None
