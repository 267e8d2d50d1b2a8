"""The Engine protocol: what runs jobs on one host. The docstrings are the contract.

An engine is bound to one host. A job's id is its ``Labels.slice``, 1 to 128 characters of ``a-z 0-9 . _ -`` that begin
with a letter or digit. Engines of one host share nothing but the host: what one made, another finds by ``list``.

Idempotent: every verb may be called again after it failed, was cancelled or its answer was lost, and after ``kill -9``
of HQ at any line; what is done stays done once. Jobs outlive the program that started them.

Who retries: nobody here. Every verb may raise EngineUnavailable (the host or its engine does not answer: nothing is
known of what was done) and TimedOut. A cancelled verb leaves what it had done; calling it again completes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from skep.deploy.engines.records import (
    EngineEvent,
    ExecResult,
    Facts,
    Image,
    JobSpec,
    Labels,
    LogLine,
    Observed,
    Shipped,
    VolumeInfo,
    VolumeOrder,
)
from skep.deploy.stack.records import Build

Progress: TypeAlias = Callable[[str], Awaitable[None]]
"""Told one line of a build at a time."""


class Engine(Protocol):
    """What runs jobs on one host. Safe for concurrent calls from one event loop."""

    @property
    def host(self) -> str:
        """The name of its host, as HQ calls it."""
        ...

    async def facts(self) -> Facts:
        """What the host is and what the engine can do there."""
        ...

    async def list(self, stack: str = "") -> tuple[Observed, ...]:
        """All jobs of ours on the host, running or not, or those of one stack, in the order of their ids.

        ``last_lines`` are empty and ``health`` may be as old as the last probe.
        """
        ...

    async def ship(self, image: Image) -> Shipped:
        """Bring an image to the host, sending only what is not there yet. All or nothing.

        Raises ImageNotFound when it has no archive and its registry does not have it, Integrity when the archive is not
        what its ref says, BadInput when this engine does not take such images, StoreFull when the disk is full.
        """
        ...

    async def ensure(self, spec: JobSpec, labels: Labels) -> Observed:
        """See to it that the job ``labels.slice`` is there and runs as ``spec`` says; returns when it has been started.

        Running with this spec: nothing is touched. Stopped or exited: started again, with the same ports. Not there:
        made and started. It need not be healthy when this returns, and may even have ended already: ``inspect`` tells.
        Calls for one id at the same time, also from two programs, make one job.

        Raises JobDiffers when it is there with another spec, ImageNotFound when the image was not shipped, PortInUse
        when a fixed port of the host is taken, BadInput when the spec asks for what this engine cannot do.
        """
        ...

    async def stop(self, id: str, grace_s: float | None = None) -> None:
        """End the job and everything that it started: SIGTERM, ``grace_s`` (None: its spec's), SIGKILL.

        It stays there, stopped, and nothing but ``ensure`` starts it again. Returns when nothing of it runs any more.
        What is not there, or has ended, is no error.
        """
        ...

    async def remove(self, id: str) -> None:
        """End the job at once if it runs, and forget it, its ports and its output. Volumes stay. Not there: fine."""
        ...

    async def inspect(self, id: str) -> Observed:
        """The job as it is now, with its last lines and a health no older than its interval. Raises JobNotFound."""
        ...

    def logs(self, id: str, *, since_us: int = 0, follow: bool = False) -> AsyncIterator[LogLine]:
        """Lines of output from ``since_us`` on, oldest first, as far as they are kept; over restarts.

        With ``follow`` it goes on with what comes until the job is removed or the caller stops iterating.
        Raises JobNotFound when iteration begins.
        """
        ...

    async def exec(
        self, id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 60.0, tty: bool = False
    ) -> ExecResult:
        """Run a command beside a running job: in its directory, with its environment.

        At most 1 MiB of each stream is kept, the rest is cut off. What still runs after ``timeout_s`` is killed.
        Raises JobNotFound, JobNotRunning, TimedOut. A program that is not there is exit code 127.
        """
        ...

    async def volume(self, order: VolumeOrder) -> tuple[VolumeInfo, ...]:
        """List volumes whose name starts with ``order.name``, or make or remove that one; returns what it is about.

        Making what is there and removing what is not is no error. Raises InUse when a job that is there mounts it.
        """
        ...

    def events(self) -> AsyncIterator[EngineEvent]:
        """What happens to jobs of ours, from the first ``anext`` on: a change of state or health is told in a second.

        Several changes in quick succession may be told as the last of them. It ends only with an error.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Jobs go on; the engine is not used afterwards."""
        ...


@runtime_checkable
class Builder(Protocol):
    """An engine that can also make images: looked for with ``isinstance``."""

    async def build(self, tree: Path, build: Build, tag: str, progress: Progress) -> Image:
        """Make an image of the directory ``tree`` as ``build`` says, and an archive of it that ``ship`` takes.

        ``tag`` names it for people (``shop/web``) and for ``FROM`` in later builds. The same tree and build make the
        same ref, as far as its commands are deterministic; nothing is left of a build that failed.

        Raises BuildFailed with the last lines of its output, BadInput when this engine cannot build such a thing.
        """
        ...
