"""What HQ asks of a host: each verb reads and writes files, and starts supervisors where they are needed.

Modules that only some verbs need are imported there: most verbs take less time than those would.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import time
import zlib
from typing import Any, BinaryIO, Optional

from .processes import ENDED, Group, Refused, is_alive, kill_all, locked, read_json, write_json

LAST_LINES = 20
PORTS = range(20000, 30000)
START_LIMIT_S = 20.0
STOP_MARGIN_S = 20.0
APP_DIRECTORY = "/srv/app"


def facts(root: str) -> dict[str, Any]:
    """What the host is."""
    os.makedirs(root, exist_ok=True)
    room = os.statvfs(root)
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "hostname": socket.gethostname(),
        "architecture": os.uname().machine,
        "cpu_millis": 1000 * len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "disk_bytes": room.f_blocks * room.f_frsize,
        "disk_free_bytes": room.f_bavail * room.f_frsize,
        "limits": Group.usable(),
    }


# --- looking ----------------------------------------------------------------------------------------


def job_ids(root: str) -> list[str]:
    """The ids of all jobs, sorted."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(f"{root}/jobs") if not name.startswith(".new-") and name[0] != ".")
    return []


def list_jobs(root: str, stack: str) -> list[dict[str, Any]]:
    """All jobs, or those of a stack."""
    found = (look(root, job_id) for job_id in job_ids(root))
    return [job for job in found if job is not None and stack in ("", job["labels"]["stack"])]


def look(root: str, job_id: str, *, with_lines: bool = False) -> Optional[dict[str, Any]]:
    """A job as it is; None when it is not there. One whose supervisor is gone and that still runs gets a new one."""
    directory = f"{root}/jobs/{job_id}"
    job = read_json(f"{directory}/job.json")
    if job is None:
        return None
    state = settled(root, job_id)
    keys = ("state", "health", "started_us", "finished_us", "exit_code", "restarts", "reason")
    return {
        "labels": job["labels"],
        "spec_digest": job["digest"],
        "image": job["image"],
        "bindings": [[number, job["address"], port] for number, port in job["ports"]],
        **{key: state[key] for key in keys},
        "last_lines": last_lines(directory) if with_lines else [],
    }


def settled(root: str, job_id: str, *, holding: bool = False) -> dict[str, Any]:
    """The state of a job, whose supervisor has been replaced if it was killed. ``holding``: the caller has the lock."""
    directory = f"{root}/jobs/{job_id}"
    for _ in range(3):
        state = read_json(f"{directory}/state.json")
        if state is not None and (state["state"] in ENDED or is_supervised(directory)):
            return state
        if state is None and is_supervised(directory):
            time.sleep(0.05)  # until its first state is written
            continue
        if state is None or not is_alive(state["pid"], state["started"]):
            return lost(root, job_id, state)
        with contextlib.nullcontext() if holding else locked(lock_path(root, job_id)):
            if not is_supervised(directory):
                supervise(root, job_id)
    return state or lost(root, job_id, None)


def lost(root: str, job_id: str, state: Optional[dict[str, Any]]) -> dict[str, Any]:
    """What is known of a job that ended together with its supervisor."""
    nothing: dict[str, Any] = {"pid": 0, "started": "", "started_us": 0, "restarts": 0, "exit_code": None}
    ended = {"state": "exited", "health": "none", "finished_us": 0}
    reason = "it and its supervisor were killed, or the host was restarted"
    return {**nothing, **(state or {}), **ended, "reason": reason}


def is_supervised(directory: str) -> bool:
    """Whether a supervisor holds the job's lock."""
    try:
        with open(f"{directory}/lock", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except FileNotFoundError:
        pass
    return False


def last_lines(directory: str) -> list[str]:
    """The end of a job's output."""
    lines: list[bytes] = []
    for name in ("log", "log.1"):
        with contextlib.suppress(FileNotFoundError), open(f"{directory}/{name}", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (400 << 10)))
            lines = file.read().splitlines()[-LAST_LINES:] + lines
        if len(lines) >= LAST_LINES:
            break
    return [line.split(b" ", 2)[2].decode(errors="replace") for line in lines[-LAST_LINES:] if line.count(b" ") > 1]


# --- starting ---------------------------------------------------------------------------------------


def lock_path(root: str, job_id: str) -> str:
    """One of a few locks, so that they need not be cleared away."""
    return f"{root}/locks/{zlib.crc32(job_id.encode()) % 64}"


def ensure(root: str, order: dict[str, Any]) -> dict[str, Any]:
    """See to it that a job is there and runs."""
    job_id = order["labels"]["slice"]
    directory = f"{root}/jobs/{job_id}"
    with locked(lock_path(root, job_id)):
        job = read_json(f"{directory}/job.json")
        if job is not None and job["digest"] != order["digest"]:
            raise Refused("job-differs", f"{job_id} is there with another spec: remove it first")
        if job is None:
            make(root, order, directory)
        wait_for_end_of_stop(directory)
        if not is_supervised(directory) or (read_json(f"{directory}/state.json") or {}).get("state") in ENDED:
            wait_until_unsupervised(directory)
            write_json(f"{directory}/wanted.json", {"run": True, "grace_s": order["stop_grace_s"]})
            supervise(root, job_id)
    found = look(root, job_id)
    assert found is not None
    return found


def wait_for_end_of_stop(directory: str) -> None:
    """A stop that was ordered and whose caller has gone comes first to its end."""
    wanted = read_json(f"{directory}/wanted.json")
    if wanted is not None and not wanted["run"] and is_supervised(directory):
        wait_until_unsupervised(directory, wanted["grace_s"] + STOP_MARGIN_S)


def wait_until_unsupervised(directory: str, limit_s: float = START_LIMIT_S) -> None:
    """Wait for a supervisor that is about to end."""
    end_s = time.monotonic() + limit_s
    while is_supervised(directory):
        if time.monotonic() > end_s:
            raise Refused("timed-out", f"{os.path.basename(directory)} does not end")
        time.sleep(0.01)


def make(root: str, order: dict[str, Any], directory: str) -> None:
    """Make the directory of a job, whole or not at all."""
    import shutil

    tree = f"{root}/images/{order['image'].partition(':')[2]}"
    if not os.path.isdir(tree):
        raise Refused("image-not-found", f"{order['image']} is not on this host: ship it first")
    os.makedirs(f"{root}/jobs", exist_ok=True)
    new = f"{root}/jobs/.new-{os.urandom(6).hex()}"
    try:
        shutil.copytree(tree, f"{new}/work", symlinks=True)
        for mount in order["mounts"]:
            mount["host_path"] = os.path.abspath(f"{root}/volumes/{mount['volume']}")
            os.makedirs(mount["host_path"], exist_ok=True)
            put_in_place(f"{new}/work", mount)
        with locked(f"{root}/locks/ports"):
            ports = assigned(root, order)
            write_json(f"{new}/job.json", {**order, "ports": ports, "token": os.urandom(16).hex()})
            os.rename(new, directory)
    except OSError as error:
        raise Refused("store-full" if error.errno == 28 else "engine-unavailable", f"{new}: {error}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def put_in_place(work: str, mount: dict[str, Any]) -> None:
    """Where a volume's path lies in the tree, put a link to it there; what the tree has there is its first content."""
    import shutil

    path = mount["path"]
    if path.startswith(APP_DIRECTORY + "/"):
        path = path[len(APP_DIRECTORY) + 1 :]
    if path.startswith("/"):
        return
    place = f"{work}/{path}"
    if os.path.isdir(place) and not os.path.islink(place):
        if not os.listdir(mount["host_path"]):
            shutil.copytree(place, mount["host_path"], symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.symlink(mount["host_path"], place)


def assigned(root: str, order: dict[str, Any]) -> list[list[int]]:
    """The host's ports of a job: fixed ones if they are free, else any that no job and no program has."""
    taken = {port for job in every_job(root) for _, port in job["ports"]}
    ports: list[list[int]] = []
    start = int.from_bytes(os.urandom(2), "big") % len(PORTS)
    free = (PORTS[(start + step) % len(PORTS)] for step in range(len(PORTS)))
    for number, fixed in order["ports"]:
        if fixed:
            if fixed in taken or not is_free(order["address"], fixed):
                raise Refused("port-in-use", f"port {fixed} of this host is taken")
            ports.append([number, fixed])
            continue
        for port in free:
            if port not in taken and is_free(order["address"], port):
                ports.append([number, port])
                break
        else:
            raise Refused("limit-reached", f"no port from {PORTS[0]} to {PORTS[-1]} is free")
    return ports


def every_job(root: str) -> list[dict[str, Any]]:
    """What every job is."""
    found = (read_json(f"{root}/jobs/{job_id}/job.json") for job_id in job_ids(root))
    return [job for job in found if job is not None]


def is_free(address: str, port: int) -> bool:
    """Whether a program could listen there, whatever address it takes."""
    for host in {address, "0.0.0.0"}:  # noqa: S104 - a look, on all interfaces because jobs may listen there
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != 99:  # the address is not this host's, in a test or behind a translation
                    return False
    return True


def supervise(root: str, job_id: str) -> None:
    """Start a supervisor for a job, in a session of its own, and return when it has started the job."""
    directory = f"{root}/jobs/{job_id}"
    ready, tell = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                os.close(ready)
                stay(root, job_id, tell)
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(pid, 0)
    readable, _, _ = select.select([ready], [], [], START_LIMIT_S)
    answer = os.read(ready, 1) if readable else b""
    os.close(ready)
    if not answer and not is_supervised(directory):
        with contextlib.suppress(OSError), open(f"{directory}/supervisor.log", encoding="utf-8") as file:
            raise Refused("engine-unavailable", f"the supervisor of {job_id} does not start: {file.read()[-500:]}")
        raise Refused("engine-unavailable", f"the supervisor of {job_id} does not start")


def stay(root: str, job_id: str, tell: int) -> None:
    """In the new process: be the supervisor of a job."""
    from .supervising import Supervisor

    directory = f"{root}/jobs/{job_id}"
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):  # among them locks that whoever forked this process holds
        if int(name) > 2 and int(name) != tell:
            with contextlib.suppress(OSError):
                os.close(int(name))
    null, log = os.open("/dev/null", os.O_RDWR), os.open(f"{directory}/supervisor.log", os.O_WRONLY | os.O_CREAT, 0o600)
    for target, descriptor in enumerate((null, null, log)):
        os.dup2(descriptor, target)
    lock = open(f"{directory}/lock", "wb")
    if not taken(lock):
        os.write(tell, b"1")  # another was faster: the job has one
        return
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-500")
    try:
        Supervisor(root, job_id, lock).run(tell)
    except Exception:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()


def taken(lock: BinaryIO) -> bool:
    """Whether the lock could be had; somebody who only looks holds it for a moment."""
    for _ in range(100):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


# --- ending -----------------------------------------------------------------------------------------


def stop(root: str, job_id: str, grace_s: Optional[float]) -> None:
    """End a job by order."""
    directory = f"{root}/jobs/{job_id}"
    wanted = read_json(f"{directory}/wanted.json")
    if grace_s is not None and wanted is not None and not wanted["run"] and grace_s < wanted["grace_s"]:
        write_json(f"{directory}/wanted.json", {"run": False, "grace_s": grace_s})  # a stop goes on: make it quicker
    with locked(lock_path(root, job_id)):
        job = read_json(f"{directory}/job.json")
        if job is None:
            return
        grace_s = job["stop_grace_s"] if grace_s is None else grace_s
        write_json(f"{directory}/wanted.json", {"run": False, "grace_s": grace_s})
        settled(root, job_id, holding=True)
        state = read_json(f"{directory}/state.json")
        if is_supervised(directory):
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill((state or {})["supervisor"], signal.SIGUSR1)
            wait_until_unsupervised(directory, grace_s + STOP_MARGIN_S)
            state = read_json(f"{directory}/state.json")
        if state is None or state["state"] not in ENDED:
            ended = lost(root, job_id, state)
            kill_all(ended["pid"], job["token"], Group(root, job_id) if Group.usable() else None)
            write_json(f"{directory}/state.json", {**ended, "state": "stopped"})


def remove(root: str, job_id: str) -> None:
    """End a job at once and forget it."""
    import shutil

    directory = f"{root}/jobs/{job_id}"
    stop(root, job_id, 0.0)
    with locked(lock_path(root, job_id)):
        gone = f"{root}/jobs/.gone-{os.urandom(6).hex()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(directory, gone)
    shutil.rmtree(gone, ignore_errors=True)
    if Group.usable():
        Group(root, job_id).remove()


def volume(root: str, verb: str, name: str) -> list[list[str]]:
    """List, make or remove volumes: their names and paths."""
    top = os.path.abspath(f"{root}/volumes")
    os.makedirs(top, exist_ok=True)
    if verb == "list":
        return [[found, f"{top}/{found}"] for found in sorted(os.listdir(top)) if found.startswith(name)]
    if verb == "create":
        os.makedirs(f"{top}/{name}", exist_ok=True)
    else:
        users = [job["labels"]["slice"] for job in every_job(root) if name in [m["volume"] for m in job["mounts"]]]
        if users:
            raise Refused("in-use", f"the volume {name} is mounted by {', '.join(users)}")
        import shutil

        shutil.rmtree(f"{top}/{name}", ignore_errors=True)
    return [[name, f"{top}/{name}"]]


def log_files(directory: str) -> list[str]:
    """A job's files of output, oldest first."""
    names = [f"{directory}/log.{number}" for number in range(9, 0, -1)] + [f"{directory}/log"]
    return [name for name in names if os.path.exists(name)]


def is_running(state: dict[str, Any]) -> bool:
    """Whether a state says so and its process is there."""
    return state["state"] == "running" and is_alive(state["pid"], state["started"])
