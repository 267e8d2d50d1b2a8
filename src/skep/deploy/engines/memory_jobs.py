"""A job of the memory engine: what it would have done until now, computed from its behaviour and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from skep.base.clock import Clock
from skep.base.errors import TimedOut
from skep.deploy.engines.backoff import wait_before_start_s
from skep.deploy.engines.records import (
    LAST_LINES_MAX,
    Binding,
    ExecResult,
    HealthState,
    JobSpec,
    Labels,
    LogLine,
    Observed,
    State,
)

_STEPS_MAX = 10_000
"""How many starts and ends one look catches up on."""
_LINES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a job does each time that it is started. Times are seconds after the start."""

    exits_after_s: float | None = None
    """None: it stays until it is told to end."""
    exit_code: int = 0
    says: tuple[str, ...] = ()
    """Lines at its start."""
    complains: tuple[str, ...] = ()
    """Lines on standard error at its start."""
    healthy_after_s: float | None = 0.0
    """When its probes begin to succeed; None: never."""
    ignores_term: bool = False
    counts_starts: bool = False
    """Whether it notes each start in its first volume and says the number."""
    good_from_start: int = 1
    """With ``counts_starts``: from which start on it does not exit."""


def spoken_behaviour(spec: JobSpec) -> Behaviour:
    """What the words of a spec say, as the conformance suite's program understands them; others stay and are well."""
    match (spec.argv + spec.args)[1:]:
        case ("exit", code, *words):
            return Behaviour(exits_after_s=0.0, exit_code=int(code), says=tuple(words))
        case ("stay",):
            return Behaviour(says=("staying",))
        case ("stubborn",):
            return Behaviour(says=("stubborn",), ignores_term=True)
        case ("serve",):
            return Behaviour(says=("serving",))
        case ("serve", "late", delay_s):
            return Behaviour(says=("serving",), healthy_after_s=float(delay_s))
        case ("serve", "failing"):
            return Behaviour(says=("serving",), healthy_after_s=None)
        case ("lines", count):
            lines = tuple(f"line {number}" for number in range(1, int(count) + 1))
            return Behaviour(says=lines, complains=("complaint",))
        case ("remember",):
            return Behaviour(counts_starts=True)
        case ("flaky", bad_starts):
            return Behaviour(
                exits_after_s=0.0, exit_code=1, counts_starts=True, good_from_start=int(bad_starts) + 1, says=("flaky",)
            )
        case ("show", name):
            return Behaviour(says=(spec.env.get(name, ""),))
    return Behaviour()


@dataclass(slots=True)
class MemoryJob:
    """One job. Fields are true as of the last ``advance``."""

    clock: Clock
    spec: JobSpec
    labels: Labels
    bindings: tuple[Binding, ...]
    volumes: dict[str, list[str]]
    behave: Callable[[JobSpec], Behaviour]
    state: State = "stopped"
    started_s: float = 0.0
    finished_s: float | None = None
    next_start_s: float = 0.0
    exit_code: int | None = None
    restarts: int = 0
    failures: int = 0
    """Starts in a row that did not get steady."""
    reason: str = ""
    lines: list[LogLine] = field(default_factory=list)
    current: Behaviour = field(default_factory=Behaviour)

    def ensure_runs(self, now_s: float) -> None:
        """Start it unless it runs or will by its policy."""
        if self.state in ("stopped", "exited"):
            self.failures = 0
            self._start(now_s)
            self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Catch up with all starts and ends until now."""
        for _ in range(_STEPS_MAX):
            if self.state == "running" and self.current.exits_after_s is not None:
                end_s = self.started_s + self.current.exits_after_s
                if end_s > now_s:
                    return
                self._ended(end_s, self.current.exit_code)
            elif self.state == "restarting" and self.next_start_s <= now_s:
                self.restarts += 1
                self._start(self.next_start_s)
            else:
                return

    def _start(self, at_s: float) -> None:
        behaviour = self.behave(self.spec)
        if behaviour.counts_starts and self.spec.mounts:
            starts = self.volumes.setdefault(self.spec.mounts[0].volume, [])
            starts.append(self.labels.slice)
            self._say(f"start {len(starts)}", "stdout", at_s)
            if behaviour.good_from_start > 1 and len(starts) >= behaviour.good_from_start:
                behaviour = Behaviour(says=behaviour.says)
        for text in behaviour.says:
            self._say(text, "stdout", at_s)
        for text in behaviour.complains:
            self._say(text, "stderr", at_s)
        self.current, self.state, self.started_s = behaviour, "running", at_s
        self.finished_s, self.exit_code, self.reason = None, None, ""

    def _say(self, text: str, stream: Literal["stdout", "stderr"], at_s: float) -> None:
        time_us = self.clock.now_us() - round((self.clock.monotonic_s() - at_s) * 1e6)
        if len(self.lines) < _LINES_MAX:
            self.lines.append(LogLine(time_us=time_us, stream=stream, text=text))

    def _ended(self, at_s: float, code: int) -> None:
        self.finished_s, self.exit_code, self.reason = at_s, code, f"it ended with {code}"
        self.failures = 1 if at_s - self.started_s >= self.spec.restart.steady_s else self.failures + 1
        wait_s = wait_before_start_s(self.spec.restart, code, self.failures)
        if wait_s is None:
            self.state = "exited"
        else:
            self.state, self.next_start_s = "restarting", at_s + wait_s

    def lose(self, reason: str) -> None:
        """What a restart of the host does to it."""
        if self.state in ("running", "restarting", "starting", "stopping"):
            self.state, self.exit_code, self.finished_s, self.reason = "exited", None, self.clock.monotonic_s(), reason

    async def stop(self, grace_s: float) -> None:
        """End it by order, after ``grace_s`` if it does not listen."""
        if self.state == "running":
            if self.current.ignores_term:
                self.state = "stopping"
                await self.clock.sleep(grace_s)
            self.exit_code = 137 if self.current.ignores_term else 143
            self.finished_s = self.clock.monotonic_s()
        self.state, self.reason = "stopped", "it was stopped by order"

    def health(self, now_s: float) -> HealthState:
        """What its last probe would have said."""
        health = self.spec.health
        if health is None:
            return "none"
        if self.state != "running":
            return "starting"
        ran_s = now_s - self.started_s
        if self.current.healthy_after_s is not None and ran_s >= self.current.healthy_after_s:
            return "healthy"
        return "unhealthy" if ran_s > health.grace_s + health.retries * health.interval_s else "starting"

    def observed(self, now_s: float, *, with_lines: bool = False) -> Observed:
        """As others see it."""
        self.advance(now_s)
        return Observed(
            labels=self.labels,
            spec_digest=self.spec.digest,
            image=self.spec.image,
            state=self.state,
            health=self.health(now_s),
            bindings=self.bindings,
            started_us=self._at_us(self.started_s),
            finished_us=0 if self.finished_s is None else self._at_us(self.finished_s),
            exit_code=self.exit_code,
            restarts=self.restarts,
            reason=self.reason,
            last_lines=tuple(line.text for line in self.lines[-LAST_LINES_MAX:]) if with_lines else (),
        )

    def _at_us(self, at_s: float) -> int:
        return self.clock.now_us() - round((self.clock.monotonic_s() - at_s) * 1e6)

    async def execute(self, argv: tuple[str, ...], stdin: bytes, timeout_s: float) -> ExecResult:
        """A few commands that every system has."""
        match argv:
            case ("echo", *words):
                return ExecResult(exit_code=0, stdout=" ".join(words).encode() + b"\n", stderr=b"")
            case ("cat",):
                return ExecResult(exit_code=0, stdout=stdin, stderr=b"")
            case ("true",):
                return ExecResult(exit_code=0, stdout=b"", stderr=b"")
            case ("false",):
                return ExecResult(exit_code=1, stdout=b"", stderr=b"")
            case ("env",):
                text = "".join(f"{name}={value}\n" for name, value in sorted(self.spec.env.items()))
                return ExecResult(exit_code=0, stdout=text.encode(), stderr=b"")
            case ("sleep", seconds):
                await self.clock.sleep(min(float(seconds), timeout_s))
                if float(seconds) > timeout_s:
                    raise TimedOut(f"sleep beside {self.labels.slice} took longer than {timeout_s:g} s and was killed")
                return ExecResult(exit_code=0, stdout=b"", stderr=b"")
        return ExecResult(exit_code=127, stdout=b"", stderr=f"{argv[0]}: not found\n".encode())
