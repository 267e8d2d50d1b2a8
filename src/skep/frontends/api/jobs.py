"""Jobs: long work that an administrator starts and watches (scrub, repair, gc, fsck ...).

What always holds: at most one job of a kind runs; the last ``KEPT_MAX`` are remembered; a job that
fails keeps its error's words and never the trace.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import structlog

from skep.base.clock import Clock
from skep.base.errors import BadInput, InUse, NotFound, SkepError
from skep.base.ids import Id, id_text, new_id

KEPT_MAX = 100
CANCELLED = "It was ended before it was done."
log = structlog.get_logger(area="skep.jobs")
State: TypeAlias = Literal["running", "done", "failed", "cancelled"]


@dataclass(slots=True)
class Job:
    """One run. ``done`` of ``total`` units (None: unknown); ``result`` is JSON once it is done."""

    id: Id
    kind: str
    options: Mapping[str, Any]
    started_us: int
    state: State = "running"
    done: int = 0
    total: int | None = None
    message: str = ""
    result: Any = None
    ended_us: int | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def report(self, done: int, total: int | None = None, message: str = "") -> None:
        """How far the work is."""
        self.done, self.total, self.message = done, total, message


Work: TypeAlias = Callable[[Job], Awaitable[Any]]


class Jobs:
    """Starts jobs of known kinds. Lives on one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[str, Work] = {}
        self._jobs: OrderedDict[Id, Job] = OrderedDict()

    def register(self, kind: str, work: Work) -> None:
        """Say how jobs of this kind are done: a coroutine that reports to its job and returns JSON."""
        self._kinds[kind] = work

    @property
    def kinds(self) -> list[str]:
        """What can be started."""
        return sorted(self._kinds)

    def start(self, kind: str, options: Mapping[str, Any]) -> Job:
        """Start a job. Raises BadInput (unknown kind) and InUse (one of the kind runs)."""
        work = self._kinds.get(kind)
        if work is None:
            raise BadInput(f"There are no jobs of the kind {kind[:40]!r}: take one of {', '.join(self.kinds)}.")
        for other in self._jobs.values():
            if other.kind == kind and other.state == "running":
                raise InUse(f"A {kind} is running already: job {id_text(other.id)}.", job_id=id_text(other.id))
        job = Job(new_id(), kind, options, self._clock.now_us())
        self._jobs[job.id] = job
        self._forget_oldest()
        job.task = asyncio.create_task(self._run(job, work), name=f"job {kind}")
        job.task.add_done_callback(lambda _: self._ended(job))
        return job

    def _forget_oldest(self) -> None:
        """Keep to ``KEPT_MAX``. What runs is not forgotten: one of a kind runs, and there are few kinds."""
        ended = [job.id for job in self._jobs.values() if job.state != "running"]
        for job_id in ended[: max(0, len(self._jobs) - KEPT_MAX)]:
            del self._jobs[job_id]

    def _ended(self, job: Job) -> None:
        """A job that was cancelled before its first step has not run a line of ``_run``."""
        if job.state == "running":
            job.state, job.message, job.ended_us = "cancelled", CANCELLED, self._clock.now_us()

    def get(self, job_id: Id) -> Job:
        """A job by id. Raises NotFound."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"There is no job {id_text(job_id)}: it may be too long ago.")
        return job

    def all(self) -> list[Job]:
        """The jobs that are remembered, newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, job_id: Id) -> Job:
        """Ask a job to end. Raises NotFound."""
        job = self.get(job_id)
        if job.task is not None:
            job.task.cancel()
        return job

    async def close(self) -> None:
        """End every job."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, work: Work) -> None:
        try:
            job.result = await work(job)
            job.state = "done"
        except asyncio.CancelledError:
            job.state, job.message = "cancelled", CANCELLED
        except SkepError as error:
            job.state, job.message = "failed", error.message
        except Exception:
            log.exception("job failed", kind=job.kind, job_id=id_text(job.id))
            job.state, job.message = (
                "failed",
                f"Something went wrong inside: the log has it under job {id_text(job.id)}.",
            )
        finally:
            job.ended_us = self._clock.now_us()
