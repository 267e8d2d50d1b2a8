"""Files, locks, processes and control groups of the host: what the rest of the helper stands on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
import zlib
from typing import Any, Iterator, Optional

KILL_LIMIT_S = 10.0
TOKEN = "SKEP_JOB_TOKEN"  # noqa: S105 - the name of a variable
ENDED = ("stopped", "exited")


class Refused(Exception):
    """An error of the tree, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def now_us() -> int:
    """Microseconds since 1970."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


def write_json(path: str, value: Any) -> None:
    """Replace a file atomically; only its owner may read it."""
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(temporary, path)


def read_json(path: str) -> Optional[dict[str, Any]]:
    """A file's value; None when it is not there or was cut short by a loss of power."""
    try:
        with open(path, encoding="utf-8") as file:
            value: dict[str, Any] = json.load(file)
            return value
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the flock on a file, made when it is not there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stat_of(pid: int) -> Optional[tuple[str, int, str]]:
    """A process's state, session and time of start; None when it is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[3]), fields[19].decode()


def is_alive(pid: int, started: str) -> bool:
    """Whether just this process still runs."""
    found = stat_of(pid)
    return found is not None and found[0] not in "ZX" and found[2] == started


def members(session: int, token: str, group: Optional[Group]) -> set[int]:
    """All processes of a job, wherever they went."""
    found = group.members() if group is not None else set()
    wanted = f"{TOKEN}={token}".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in found:
            continue
        status = stat_of(int(name))
        if status is None or status[0] in "ZX":
            continue
        if session and status[1] == session:
            found.add(int(name))
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                found.add(int(name))
    found.discard(os.getpid())
    return {pid for pid in found if (stat_of(pid) or ("X", 0, ""))[0] not in "ZX"}


def send(pids: set[int], number: int) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_all(session: int, token: str, group: Optional[Group]) -> None:
    """Kill everything of a job, also what it starts meanwhile."""
    end_s = time.monotonic() + KILL_LIMIT_S
    while time.monotonic() < end_s:
        left = members(session, token, group)
        if not left:
            return
        send(left, signal.SIGKILL)
        time.sleep(0.005)


class Group:
    """A job's control group, version 2 or 1, as far as this user may have one."""

    def __init__(self, root: str, job: str) -> None:
        name = f"skep-{zlib.crc32(os.path.abspath(root).encode()):08x}-{job}"
        top = "/sys/fs/cgroup"
        self.unified = os.path.exists(f"{top}/cgroup.controllers")
        self.paths = [f"{top}/{name}"] if self.unified else [f"{top}/{kind}/{name}" for kind in ("memory", "cpu")]

    @staticmethod
    def usable() -> bool:
        """Whether groups can be made here."""
        top = "/sys/fs/cgroup"
        if os.path.exists(f"{top}/cgroup.controllers"):
            return os.access(top, os.W_OK) and os.access(f"{top}/cgroup.subtree_control", os.W_OK)
        return all(os.access(f"{top}/{kind}/cgroup.procs", os.W_OK) for kind in ("memory", "cpu"))

    def make(self, job: dict[str, Any]) -> bool:
        """Make it with the job's limits; whether that went well."""
        memory, cpu, weight = job["memory_limit_bytes"], job["cpu_limit_millis"], max(1, job["cpu_weight_millis"])
        try:
            if self.unified:
                self._put("/sys/fs/cgroup", "cgroup.subtree_control", "+memory +cpu")
            for path in self.paths:
                os.makedirs(path, exist_ok=True)
            if self.unified:
                self._put(self.paths[0], "memory.max", str(memory or "max"))
                self._put(self.paths[0], "cpu.weight", str(min(10000, max(1, weight // 10))))
                self._put(self.paths[0], "cpu.max", f"{cpu * 100} 100000" if cpu else "max 100000")
            else:
                self._put(self.paths[0], "memory.limit_in_bytes", str(memory or -1))
                self._put(self.paths[1], "cpu.shares", str(max(2, weight * 1024 // 1000)))
                self._put(self.paths[1], "cpu.cfs_quota_us", str(cpu * 100) if cpu else "-1")
        except OSError:
            self.remove()
            return False
        return True

    @staticmethod
    def _put(path: str, name: str, value: str) -> None:
        with open(f"{path}/{name}", "w", encoding="ascii") as file:
            file.write(value)

    def join(self) -> None:
        """Put the calling process in."""
        for path in self.paths:
            self._put(path, "cgroup.procs", str(os.getpid()))

    def members(self) -> set[int]:
        """The processes that are in."""
        try:
            with open(f"{self.paths[0]}/cgroup.procs", encoding="ascii") as file:
                return {int(line) for line in file}
        except OSError:
            return set()

    def memory_kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        name = "memory.events" if self.unified else "memory.oom_control"
        try:
            with open(f"{self.paths[0]}/{name}", encoding="ascii") as file:
                return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
        except (OSError, IndexError):
            return 0

    def remove(self) -> None:
        """Remove it, once it is empty."""
        for path in self.paths:
            for _ in range(50):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)  # the kernel still counts what was killed
                    continue
                break


def environment(directory: str, job: dict[str, Any]) -> dict[str, str]:
    """All variables of a job."""
    env = {
        "PATH": os.environ.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": f"{directory}/work",
        "LANG": "C.UTF-8",
        **job["env"],
        TOKEN: job["token"],
    }
    for number, port in reversed(job["ports"]):
        env[f"PORT_{number}"] = env["PORT"] = str(port)
    for mount in job["mounts"]:
        env[mount["variable"]] = mount["host_path"]
    return env
