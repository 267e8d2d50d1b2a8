"""What the checks of engines stand on: a bench with a host and a program, and jobs that are removed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from skep.base.clock import Clock
from skep.base.conformance import Failed
from skep.base.errors import SkepError
from skep.deploy.engines.protocol import Engine
from skep.deploy.engines.records import Image, JobSpec, Labels, LogLine, Mount, Observed, Restart, VolumeOrder

LIMIT_S = 30.0
_LOOK_S = 0.05
KEEP = "/srv/app/keep"


class Bench(Protocol):
    """A host to check, and how the checks' program is run on it."""

    clock: Clock
    image: Image
    """It has the program, and was not shipped to the host."""
    program: tuple[str, ...]
    """The words in front of what it shall do."""

    async def open(self) -> Engine:
        """Another engine on the same host, as a restarted HQ would open it; whoever opens it closes it."""
        ...

    def free_port(self) -> int:
        """A port of the host that nobody holds."""
        ...


class Place:
    """One check's engine, names and clean-up."""

    def __init__(self, bench: Bench, engine: Engine, name: str) -> None:
        self.bench = bench
        self.engine = engine
        self.name = name
        self._volumes: set[str] = set()

    def labels(self, slice: str = "a", *, release: str = "1") -> Labels:
        """Labels of a job of this check."""
        return Labels(stack=self.name, job="job", slice=f"{self.name}.{slice}", release=release, plan="p1")

    async def spec(self, *words: str, **fields: Any) -> JobSpec:
        """A spec that runs the program with these words, its image shipped."""
        shipped = await self.engine.ship(self.bench.image)
        fields.setdefault("restart", Restart(policy="never"))
        fields.setdefault("stop_grace_s", 2.0)
        return JobSpec(image=shipped.ref, argv=(*self.bench.program, *words), **fields)

    def keep(self, suffix: str = "keep") -> tuple[Mount, ...]:
        """A volume of this check, mounted where the program looks."""
        name = f"{self.name}.{suffix}"
        self._volumes.add(name)
        return (Mount(volume=name, path=KEEP),)

    async def start(self, *words: str, slice: str = "a", **fields: Any) -> Observed:
        """Run the program with these words."""
        return await self.engine.ensure(await self.spec(*words, **fields), self.labels(slice))

    async def until(self, what: str, holds: Callable[[Observed], bool], slice: str = "a") -> Observed:
        """Look at a job until something holds of it."""
        end_s = self.bench.clock.monotonic_s() + LIMIT_S
        while True:
            seen = await self.engine.inspect(f"{self.name}.{slice}")
            if holds(seen):
                return seen
            if self.bench.clock.monotonic_s() > end_s:
                raise Failed(f"after {LIMIT_S:g} s it is still not {what}: {seen}")
            await self.bench.clock.sleep(_LOOK_S)

    async def says(self, text: str, slice: str = "a") -> Observed:
        """Wait until the job has said a line."""
        return await self.until(f"saying {text!r}", lambda seen: text in seen.last_lines, slice)

    async def lines(self, slice: str = "a", *, since_us: int = 0) -> list[LogLine]:
        """Its log as it is."""
        return [line async for line in self.engine.logs(f"{self.name}.{slice}", since_us=since_us)]

    async def logged(self, text: str) -> list[LogLine]:
        """Its log, once a line is in it: the two streams of a job may overtake each other."""
        end_s = self.bench.clock.monotonic_s() + LIMIT_S
        while self.bench.clock.monotonic_s() < end_s:
            lines = await self.lines()
            if any(line.text == text for line in lines):
                return lines
            await self.bench.clock.sleep(_LOOK_S)
        raise Failed(f"after {LIMIT_S:g} s its log has no line {text!r}")

    async def clean_up(self) -> None:
        """Remove what the check made."""
        try:
            for job in await self.engine.list(self.name):
                await self.engine.remove(job.id)
            for volume in sorted(self._volumes):
                await self.engine.volume(VolumeOrder(verb="remove", name=volume))
        finally:
            await self.engine.close()


def must(holds: object, otherwise: str) -> None:
    """Raise Failed with ``otherwise`` unless it holds."""
    if not holds:
        raise Failed(otherwise)


async def must_raise(error: type[SkepError], doing: Awaitable[object]) -> None:
    """Raise Failed unless ``doing`` raises just such an error."""
    try:
        result = await doing
    except error:
        return
    except SkepError as other:
        raise Failed(f"raised {other.code} and not {error.code}: {other.message}") from None
    raise Failed(f"gave {result!r} and should have raised {error.code}")


async def within(clock: Clock, iterator: AsyncIterator[Any], holds: Callable[[Any], bool], what: str) -> Any:
    """The first item of which something holds. Raises Failed when the iterator ends, or too much comes before it."""
    seen = []
    end_s = clock.monotonic_s() + LIMIT_S
    async for item in iterator:
        if holds(item):
            return item
        seen.append(item)
        if len(seen) > 10_000 or clock.monotonic_s() > end_s:
            break
    raise Failed(f"never told {what}; told {seen[-5:]}")
