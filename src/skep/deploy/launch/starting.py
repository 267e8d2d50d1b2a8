"""Starting one slice on one host: the image goes there, the job is started, and it is waited for until it is well."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from skep.base.clock import Clock
from skep.base.errors import JobDiffers, JobFailed
from skep.deploy.build.images import Images
from skep.deploy.engines.protocol import Engine
from skep.deploy.engines.records import Binding, Labels, Observed
from skep.deploy.launch.limits import WHILE_AWAY, Limits, patient
from skep.deploy.launch.records import Place, SliceRecord
from skep.deploy.launch.specs import with_ports


class Starter:
    """Starts slices of one fleet."""

    def __init__(self, fleet: str, images: Images, limits: Limits, clock: Clock) -> None:
        self._fleet, self._images, self._limits, self._clock = fleet, images, limits, clock

    def is_ours(self, labels: Labels) -> bool:
        """Whether a job was started by this HQ."""
        return labels.plan.startswith(f"{self._fleet}/")

    async def start(self, engine: Engine, record: SliceRecord, block: str) -> Place:
        """See to it that the slice is started there, on the ports that it had there before; it need not be well yet.

        Raises what the engine raises.
        """
        labels = Labels(
            stack=record.stack,
            job=record.job,
            slice=record.id,
            release=str(record.release),
            plan=f"{self._fleet}/{record.plan}",
        )
        image = self._images.image(record.spec.image)
        shipped = await patient(lambda: engine.ship(image), self._limits, self._clock)
        spec = msgspec.structs.replace(record.spec, image=shipped.ref)
        if block in record.places:
            spec = with_ports(spec, record.places[block].bindings)
        try:
            seen = await patient(lambda: engine.ensure(spec, labels), self._limits, self._clock)
        except JobDiffers:  # of an earlier try, when the image's name stood for another one
            await patient(lambda: engine.remove(record.id), self._limits, self._clock)
            seen = await patient(lambda: engine.ensure(spec, labels), self._limits, self._clock)
        return Place(bindings=seen.bindings, spec=spec)

    async def wait_until_ready(self, engine: Engine, record: SliceRecord) -> Observed:
        """Return when the slice is well: by its health, or by having run for a while where it has none.

        Raises JobFailed with its last lines when it ends too often, is unhealthy after its grace, or takes too long.
        """
        clock, limits, health = self._clock, self._limits, record.spec.health
        patience_s = limits.start_s
        if health is not None:
            patience_s = health.grace_s + (health.retries + 1) * (health.interval_s + health.timeout_s)
        deadline_s = clock.monotonic_s() + patience_s
        seen, steady_from_s, restarts = None, clock.monotonic_s(), -1
        while True:
            try:
                seen = await engine.inspect(record.id)
            except WHILE_AWAY:
                if clock.monotonic_s() >= deadline_s:
                    raise
                await clock.sleep(limits.first_wait_s)
                continue
            now_s = clock.monotonic_s()
            if not seen.is_ready or seen.restarts != restarts:
                steady_from_s, restarts = now_s, seen.restarts
            if seen.is_ready and (health is not None or now_s - steady_from_s >= limits.steady_s):
                return seen
            reason = _hopeless(seen, limits)
            if reason or now_s >= deadline_s:
                raise job_failed(record, seen, reason or f"was not well within {patience_s:g} s")
            await clock.sleep(limits.look_s)


def _hopeless(seen: Observed, limits: Limits) -> str:
    """Why it is not worth waiting any longer."""
    if seen.state == "exited":
        return "ended"
    if seen.restarts >= limits.starts_max - 1 and seen.state == "restarting":
        return f"ended {seen.restarts + 1} times"
    return "does not answer its health probe" if seen.health == "unhealthy" else ""


def job_failed(record: SliceRecord, seen: Observed, what: str) -> JobFailed:
    """What is told of a slice that is not well."""
    why = f": {seen.reason}" if seen.reason else ""
    return JobFailed(
        f"{record.job} {what}{why}",
        job=record.job,
        slice=record.id,
        last_lines=seen.last_lines,
        exit_code=seen.exit_code,
    )


def hook_environment(record: SliceRecord, binding: Binding) -> Mapping[str, str]:
    """What a hook sees of a slice, once for each port."""
    return {
        "host": binding.address,
        "port": str(binding.host_port),
        "expose": str(binding.number),
        "slice": record.id,
        "STACK": record.stack,
        "WORKER": record.job,
    }
