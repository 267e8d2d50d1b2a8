"""Cron jobs: at their minute a slice is started, and when it has ended it is cleared away.

A minute that passed while HQ was away is not made up for, and a job that still runs when its next minute comes is not
started a second time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skep.base.errors import JobNotFound, NotFound, SkepError
from skep.base.logs import get_logger
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.planning import Situation, links_of
from skep.deploy.launch.records import CronRun, Release, SliceRecord
from skep.deploy.launch.slices import Slices
from skep.deploy.launch.specs import identity, job_spec, slice_id
from skep.deploy.stack.records import Job
from skep.deploy.stack.schedule import parse_schedule

_log = get_logger("skep.launch")


class Crons:
    """The cron jobs of all stacks. How their runs ended is in the journal."""

    def __init__(
        self, ground: Ground, limits: Limits, slices: Slices, situation: Callable[[Release], Awaitable[Situation]]
    ) -> None:
        self._ground, self._limits, self._slices, self._situation = ground, limits, slices, situation
        self._looked_us = ground.clock.now_us()

    async def tick(self) -> None:
        """Clear away what has ended, start what is due since the last tick."""
        since_us, self._looked_us = self._looked_us, self._ground.clock.now_us()
        for record in await self._running():
            await self._try(self._look(record), record.id)
        for stack in await self._ground.journal.stacks():
            release = await self._ground.journal.current(stack)
            for job in release.stack.of_kind("cron") if release is not None else ():
                due_us = parse_schedule(job.schedule).next_us(since_us)
                if release is not None and due_us is not None and due_us <= self._looked_us:
                    await self._try(self.run(release, job), f"{stack}.{job.name}")

    async def _running(self) -> list[SliceRecord]:
        return [one for one in await self._ground.journal.slices() if one.kind == "cron" and one.state == "live"]

    async def run(self, release: Release, job: Job) -> str:
        """Start the job now; the slice's id. Empty when it still runs."""
        stack = release.stack.name
        if any(one.stack == stack and one.job == job.name for one in await self._running()):
            _log.warning("cron-still-runs", stack=stack, job=job.name)
            return ""
        now = await self._situation(release)
        links = links_of(release.stack, now).variables
        spec = job_spec(release, job, links, now.global_env, now.stack_env)
        number = await self._ground.journal.next_number(stack)
        record = SliceRecord(
            id=slice_id(stack, job.name, number, 0),
            stack=stack,
            job=job.name,
            kind="cron",
            number=0,
            release=release.number,
            plan=f"{stack}.{number}",
            identity=identity(release, job, spec),
            spec=spec,
            size=job.size,
            tags=job.tags,
            state="live",
        )
        home = await self._ground.journal.home(stack, job.name)
        blocks = {block.facts.id for block in self._ground.grid.blocks}
        try:
            block = await self._slices.start(record, pinned=home if home in blocks else "")
        except BaseException:
            await self._slices.end(record.id)
            raise
        if spec.mounts and home != block:
            await self._ground.journal.put_home(stack, job.name, block)
        return record.id

    async def _look(self, record: SliceRecord) -> None:
        try:
            entry = self._ground.grid.slice(record.id)
            seen = await self._ground.engine(entry.block).inspect(record.id)
        except (JobNotFound, NotFound):
            await self._slices.end(record.id)
            return
        now_us = self._ground.clock.now_us()
        overdue = now_us - seen.started_us > self._limits.cron_s * 1e6
        if seen.state not in ("exited", "stopped") and not overdue:
            return
        reason = f"it ran for more than {self._limits.cron_s:g} s and was ended" if overdue else seen.reason
        await self._ground.journal.put_run(
            CronRun(
                stack=record.stack,
                job=record.job,
                slice=record.id,
                started_us=seen.started_us,
                ended_us=seen.finished_us or now_us,
                exit_code=seen.exit_code,
                reason=reason,
                last_lines=seen.last_lines,
            )
        )
        _log.info("cron-ended", slice=record.id, exit_code=seen.exit_code)
        await self._slices.end(record.id)

    async def _try(self, doing: Awaitable[object], what: str) -> None:
        try:
            await doing
        except SkepError as error:
            _log.warning("cron-failed", what=what, error=error.message)
