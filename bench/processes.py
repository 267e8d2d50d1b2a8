"""Programs as they are measured: wall time, processor time, page faults and memory, from the kernel's own books."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took. ``faults``: minor page faults."""

    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    faults: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))  # type: ignore[arg-type]

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(self._all(), other._all(), strict=True)))  # type: ignore[arg-type]

    def _all(self) -> tuple[float, ...]:
        return (self.wall_s, self.user_s, self.system_s, self.faults)

    @property
    def processor_s(self) -> float:
        """User and system time."""
        return self.user_s + self.system_s

    def per_gb(self, size_bytes: int) -> str:
        """Processor time and faults for each 10^9 bytes, in words."""
        gb = size_bytes / 1e9
        return (
            f"{self.user_s / gb:.2f} user + {self.system_s / gb:.2f} sys s/GB, {self.faults / gb / 1000:.0f}k faults/GB"
        )

    def per_call(self, calls: int) -> str:
        """Processor time of each call, in words."""
        return f"{self.user_s / calls * 1e6:.0f} user + {self.system_s / calls * 1e6:.0f} sys us each"


def cost_of(pid: int) -> Cost:
    """What a process has used since it started; ``wall_s`` is a clock, to be subtracted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_s, system_s = (int(fields[position]) / TICKS_PER_S for position in (11, 12))
    return Cost(time.perf_counter(), user_s, system_s, int(fields[7]))


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """The memory of a process now, or the most it has had (since ``forget_peak``)."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no {name}")


def forget_peak(pid: int) -> None:
    """Begin a new peak of memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class ProgramFailed(RuntimeError):
    """A program ended with an error; the message has its last words."""


def run(
    command: Sequence[str | Path],
    *,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 1800,
) -> tuple[Cost, bytes]:
    """Run a program to its end; ``output`` takes what it prints. Returns its cost, and what it printed.

    Raises ProgramFailed, TimeoutExpired.
    """
    began_s, before = time.perf_counter(), os.times()
    words = [str(word) for word in command]
    with open(output or os.devnull, "wb") as file:
        ran = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file if output else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            timeout=timeout_s,
            check=False,
        )
    wall_s, after = time.perf_counter() - began_s, os.times()
    if ran.returncode:
        raise ProgramFailed(f"{words[0]} ended with {ran.returncode}: {ran.stderr.decode(errors='replace')[-500:]}")
    user_s = after.children_user - before.children_user
    return Cost(wall_s, user_s, after.children_system - before.children_system), ran.stdout or b""


def drop_caches() -> bool:
    """Write out and forget what the kernel holds of files; False where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True
