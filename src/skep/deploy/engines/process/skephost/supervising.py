"""The supervisor: what stays beside a job, restarts it, probes it, keeps its output and ends it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import time
from typing import Any, BinaryIO, NoReturn, Optional

from .output import Log
from .probes import Probe
from .processes import (
    ENDED,
    Group,
    environment,
    is_alive,
    kill_all,
    members,
    now_us,
    read_json,
    send,
    stat_of,
    write_json,
)


def wait_before_start_s(restart: dict[str, Any], code: Optional[int], failures: int) -> Optional[float]:
    """As ``skep.deploy.engines.backoff`` says it; an exit that nobody saw (None) counts as a failure."""
    if restart["policy"] == "never" or (restart["policy"] == "on-failure" and code == 0):
        return None
    if restart["attempts_max"] and failures >= restart["attempts_max"]:
        return None
    wait_s: float = min(restart["backoff_first_s"] * (1 << min(failures - 1, 20)), restart["backoff_max_s"])
    return wait_s


EARLY_S = 0.05
"""Between two looks at a job that has just been started, so that it serves as soon as it can."""
EARLY_FOR_S = 10.0

FRESH: dict[str, Any] = {
    "state": "starting",
    "health": "none",
    "pid": 0,
    "started": "",
    "started_us": 0,
    "finished_us": 0,
    "exit_code": None,
    "restarts": 0,
    "reason": "",
}
"""What is known of a job that was never started."""


class Supervisor:
    """One job's life, from its start or from wherever an earlier supervisor left it."""

    def __init__(self, root: str, job_id: str, lock: BinaryIO) -> None:
        self.directory = f"{root}/jobs/{job_id}"
        self.lock = lock
        job = read_json(f"{self.directory}/job.json")
        assert job is not None
        self.job = job
        group = Group(root, job_id)
        self.group: Optional[Group] = group if Group.usable() and group.make(job) else None
        self.log = Log(f"{self.directory}/log")
        self.pipes = {stream: self._pipe(name) for stream, name in (("o", "out"), ("e", "err"))}
        self.state = {**FRESH, **(read_json(f"{self.directory}/state.json") or {})}
        self.adopted = False
        self.failures = 0
        self.next_start_s = 0.0
        self.started_s = time.monotonic()
        self.probe: Optional[Probe] = None
        self.next_probe_s = 0.0
        self.probe_failures = 0
        self.probe_counts = True
        self.last_counted_s = float("-inf")
        self.kills_before = 0

    def _pipe(self, name: str) -> int:
        path = f"{self.directory}/{name}"
        if not os.path.exists(path):
            os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def save(self, **changes: Any) -> None:
        """Change what is known, and write it down."""
        self.state.update(changes, supervisor=os.getpid())
        with contextlib.suppress(OSError):  # a full disk must not end the job
            write_json(f"{self.directory}/state.json", self.state)

    def wanted(self) -> dict[str, Any]:
        """What was ordered last."""
        return read_json(f"{self.directory}/wanted.json") or {"run": False, "grace_s": 0.0}

    def run(self, ready: int) -> None:
        """Supervise until the job has ended for good. ``ready`` is told when it has been started, and closed."""
        wake, wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_in)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # not ignored, since what it starts would inherit that
        if self.state["state"] not in ENDED and is_alive(self.state["pid"], self.state["started"]):
            self.adopted = True
            self.save(state="running")
        elif self.wanted()["run"]:
            kill_all(0, self.job["token"], self.group)
            self.start()
        os.write(ready, b"1")
        os.close(ready)
        while self.step(wake):
            pass
        self.log.flush()
        if self.group is not None:
            self.group.remove()

    def step(self, wake: int) -> bool:
        """Wait for something to happen and see to it; whether there is more to come."""
        select.select([*self.pipes.values(), wake], [], [], self._wait_s())
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        self.pump()
        if not self.wanted()["run"]:
            self.stop()
            return False
        if self.state["state"] == "running":
            ended, code = self.ended()
            if ended:
                return self.after_end(code)
            self.see_to_health()
        elif self.state["state"] == "restarting" and time.monotonic() >= self.next_start_s:
            self.start(again=True)
        return self.state["state"] not in ENDED

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        if self.state["state"] == "restarting":
            return max(0.0, min(1.0, self.next_start_s - now_s))
        if self.probe is not None:
            return 0.02
        if self.adopted:
            return 0.1
        return max(0.0, min(1.0, self.next_probe_s - now_s)) if self.job["health"] else 1.0

    def pump(self) -> None:
        """Move what the job has written into its log, as much as is there, within a limit."""
        for stream, descriptor in self.pipes.items():
            for _ in range(64):
                try:
                    piece = os.read(descriptor, 65536)
                except BlockingIOError:
                    break
                self.log.take(stream, piece)

    def start(self, *, again: bool = False) -> None:
        """Start the job's process in a session of its own."""
        self.kills_before = self.group.memory_kills() if self.group is not None else 0
        failed, tell = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._become(tell)
        os.close(tell)
        with open(failed, "rb") as file:
            error = file.read()
        found = stat_of(pid)
        self.adopted, self.probe, self.probe_failures = False, None, 0
        self.started_s = time.monotonic()
        self.next_probe_s = self.started_s
        restarts = self.state["restarts"] + 1 if again else 0
        health = "starting" if self.job["health"] else "none"
        self.save(
            state="running",
            health=health,
            pid=pid,
            started=found[2] if found else "",
            started_us=now_us(),
            finished_us=0,
            exit_code=None,
            restarts=restarts,
            reason=error.decode(errors="replace"),
        )

    def _become(self, tell: int) -> NoReturn:
        """In the new process: become the job."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in range(1, signal.NSIG):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
            if self.group is not None:
                self.group.join()
            null = os.open("/dev/null", os.O_RDONLY)
            out, err = (os.open(f"{self.directory}/{name}", os.O_RDWR) for name in ("out", "err"))
            for target, descriptor in enumerate((null, out, err)):
                os.dup2(descriptor, target)
            os.closerange(3, tell)
            os.chdir(f"{self.directory}/work")
            os.execvpe(self.job["argv"][0], self.job["argv"], environment(self.directory, self.job))
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            what = "there is no such program, or not what it is interpreted by" if missing else error.strerror
            os.write(tell, f"{self.job['argv'][0]} cannot be started: {what}".encode())
            os._exit(127 if missing else 126)
        finally:
            os._exit(126)

    def beside(self, argv: list[str]) -> Optional[subprocess.Popen[bytes]]:
        """A command beside the job, in its directory and with its environment; None when it is not there."""
        null = subprocess.DEVNULL
        try:
            return subprocess.Popen(
                argv,
                stdin=null,
                stdout=null,
                stderr=null,
                start_new_session=True,
                cwd=f"{self.directory}/work",
                env=environment(self.directory, self.job),
                preexec_fn=self.group.join if self.group is not None else None,
            )
        except OSError:
            return None

    def ended(self) -> tuple[bool, Optional[int]]:
        """Whether the job's process has ended, and with what, if that could be seen."""
        if self.adopted:
            return not is_alive(self.state["pid"], self.state["started"]), None
        pid, status = os.waitpid(self.state["pid"], os.WNOHANG)
        if not pid:
            return False, None
        code = os.waitstatus_to_exitcode(status)
        return True, 128 - code if code < 0 else code

    def after_end(self, code: Optional[int]) -> bool:
        """Clear up after the process has ended by itself; whether it will be started again."""
        kill_all(self.state["pid"], self.job["token"], self.group)
        self.pump()
        self.log.flush()
        if self.probe is not None:
            self.probe.end(False)
            self.probe = None
        steady = time.monotonic() - self.started_s >= self.job["restart"]["steady_s"]
        self.failures = 1 if steady else self.failures + 1
        wait_s = wait_before_start_s(self.job["restart"], code, self.failures)
        self.next_start_s = time.monotonic() + (wait_s or 0.0)
        reason = self.state["reason"] or self._reason(code)
        state = "exited" if wait_s is None else "restarting"
        health = "starting" if self.job["health"] else "none"
        self.save(state=state, health=health, exit_code=code, finished_us=now_us(), reason=reason)
        return wait_s is not None

    def _reason(self, code: Optional[int]) -> str:
        if self.group is not None and self.group.memory_kills() > self.kills_before:
            return f"it was killed because it took more than its {self.job['memory_limit_bytes'] >> 20} MB of memory"
        if code is None:
            return "it ended while nobody watched"
        if code > 128:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(code - 128).name}"
        return f"it ended with {code}"

    def stop(self) -> None:
        """End the job and all that it started, by order."""
        if self.probe is not None:
            self.probe.end(False)
        session, token = self.state["pid"], self.job["token"]
        code: Optional[int] = self.state["exit_code"]
        if self.state["state"] == "running":
            self.save(state="stopping")
            send(members(session, token, self.group), signal.SIGTERM)
            end_s = time.monotonic() + self.wanted()["grace_s"]
            gone = False
            while time.monotonic() < end_s and not (gone and not members(session, token, self.group)):
                select.select(list(self.pipes.values()), [], [], 0.02)
                self.pump()
                if not gone:
                    gone, code = self.ended()
                end_s = min(end_s, time.monotonic() + self.wanted()["grace_s"])  # a second order may be more urgent
            kill_all(session, token, self.group)
            if not gone:
                code = 137
                if not self.adopted:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(session, 0)
            self.pump()
        self.save(state="stopped", exit_code=code, finished_us=now_us(), reason="it was stopped by order")

    def plan_next_probe(self, interval_s: float, *, early: bool) -> None:
        """When the one after this is. With ``early`` a job that begins is looked at more often; what that finds between
        two intervals does not count as a failure.
        """
        now_s = time.monotonic()
        begins = early and self.state["health"] == "starting" and now_s - self.started_s < EARLY_FOR_S
        self.probe_counts = not begins or now_s - self.last_counted_s >= interval_s
        if self.probe_counts:
            self.last_counted_s = now_s
        self.next_probe_s = now_s + (min(EARLY_S, interval_s) if begins else interval_s)

    def see_to_health(self) -> None:
        """Begin a probe when it is time, and go on with the one that runs."""
        health = self.job["health"]
        if not health:
            return
        if self.probe is None:
            if time.monotonic() < self.next_probe_s:
                return
            self.plan_next_probe(health["interval_s"], early=health["kind"] != "command")
            port = dict(map(tuple, self.job["ports"])).get(health["port"], 0)
            self.probe = Probe(health, self.job["address"], port, self.beside)
        self.probe.look()
        if self.probe.well is None:
            return
        well, self.probe = self.probe.well, None
        self.probe_failures = 0 if well else self.probe_failures + (1 if self.probe_counts else 0)
        ran_s = time.monotonic() - self.started_s
        known = self.state["health"]
        if well:
            known = "healthy"
        elif ran_s > health["grace_s"] and self.probe_failures >= health["retries"]:
            known = "unhealthy"
        if known != self.state["health"]:
            self.save(health=known)
