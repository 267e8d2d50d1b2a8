"""Asks the ports of containers whether they are well, from their host, and remembers how often they were not."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.deploy.engines.records import Binding, HealthState
from skep.deploy.shell.protocol import Runner
from skep.deploy.stack.records import Health

_REFUSAL_S = 0.1
"""The daemon's proxy takes every connection, and closes it at once when nobody listens behind it."""
_KNOWN_MAX = 10_000


class _Standing(msgspec.Struct):
    started_us: int
    probed_s: float = -1e9
    failures: int = 0
    known: HealthState = "starting"


class Prober:
    """What is known of the health of jobs, by id."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._standings: dict[str, _Standing] = {}

    def known(self, job_id: str, health: Health | None, started_us: int) -> HealthState:
        """What the last probe said."""
        if health is None:
            return "none"
        standing = self._standings.get(job_id)
        return standing.known if standing is not None and standing.started_us == started_us else "starting"

    async def probe(self, job_id: str, health: Health, started_us: int, bindings: tuple[Binding, ...]) -> HealthState:
        """The health of a running job, asked now unless it was asked within its interval."""
        standing = self._standings.get(job_id)
        if standing is None or standing.started_us != started_us:
            if len(self._standings) >= _KNOWN_MAX:
                self._standings.clear()
            standing = self._standings[job_id] = _Standing(started_us)
        if self._clock.monotonic_s() - standing.probed_s < health.interval_s:
            return standing.known
        standing.probed_s = self._clock.monotonic_s()
        binding = next((binding for binding in bindings if binding.number == health.port), None)
        if binding is not None and await self._is_well(health, binding):
            standing.failures, standing.known = 0, "healthy"
            return "healthy"
        standing.failures += 1
        ran_s = (self._clock.now_us() - started_us) / 1e6
        if ran_s > health.grace_s and standing.failures >= health.retries:
            standing.known = "unhealthy"
        return standing.known

    async def _is_well(self, health: Health, binding: Binding) -> bool:
        try:
            async with asyncio.timeout(health.timeout_s):
                reader, writer = await self._runner.connect(binding.address, binding.host_port)
                try:
                    if health.kind == "tcp":
                        return not await self._closes(reader.read(1))
                    request = f"GET {health.path} HTTP/1.1\r\nHost: {binding.address}\r\nConnection: close\r\n\r\n"
                    writer.write(request.encode())
                    await writer.drain()
                    words = (await self._first_line(reader.read)).split(None, 2)
                    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1][:1] in (b"2", b"3")
                finally:
                    with contextlib.suppress(OSError):
                        writer.close()
        except (OSError, TimeoutError, SkepError):
            return False

    async def _closes(self, reading: object) -> bool:
        """Whether the other end closes the connection at once."""
        first = asyncio.ensure_future(reading)  # type: ignore[call-overload]
        done, _ = await asyncio.wait([first], timeout=_REFUSAL_S)
        if not done:
            first.cancel()
            return False
        return first.exception() is not None or not first.result()

    async def _first_line(self, read: object) -> bytes:
        received = b""
        while b"\n" not in received and len(received) < 4096:
            piece = await read(4096)  # type: ignore[operator]
            if not piece:
                break
            received += piece
        return received
