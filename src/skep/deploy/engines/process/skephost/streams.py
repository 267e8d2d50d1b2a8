"""What flows: images that come in, output and events that go out, commands beside jobs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, BinaryIO, Optional

from .processes import Group, Refused, environment, now_us, read_json
from .verbs import job_ids, log_files, look, settled

EXEC_OUTPUT_MAX_BYTES = 1 << 20
_LOOK_S = 0.1
_HEARTBEAT_S = 5.0


def unpack_helper(target: str) -> bool:
    """Lay this program, which runs from its archive, out as a directory, so that Python keeps it compiled."""
    import zipfile

    new = f"{target}.{secrets.token_hex(6)}"
    with zipfile.ZipFile(sys.argv[0]) as archive:
        archive.extractall(new)
    try:
        os.rename(new, target)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)  # another was faster
    return True


class _Hashing:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.stream.read(size)
        self.hasher.update(piece)
        return piece


def take_image(root: str, digest: str, sha256: str) -> bool:
    """Unpack a tree that comes as a tar on standard input; it is there whole or not at all."""
    import tarfile

    target = f"{root}/images/{digest}"
    new = f"{root}/images/.new-{secrets.token_hex(6)}"
    os.makedirs(new)
    source = _Hashing(sys.stdin.buffer)
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:  # type: ignore[call-overload]
            for entry in tar:
                parts = entry.name.split("/")
                if entry.name.startswith("/") or ".." in parts or not (entry.isreg() or entry.isdir() or entry.issym()):
                    raise Refused("bad-input", f"{entry.name} cannot be in an image")
                tar.extract(entry, new, set_attrs=True, numeric_owner=False)
        while source.read(1 << 20):
            pass
        if source.hasher.hexdigest() != sha256:
            raise Refused("integrity", "the image did not arrive whole: ship it again")
        os.rename(new, target)
    except tarfile.TarError as error:
        raise Refused("integrity", f"the image did not arrive whole: {error}") from None
    except OSError as error:
        if error.errno == 28:
            raise Refused("store-full", f"there is no room for the image in {root}") from None
        if not os.path.isdir(target):
            raise Refused("engine-unavailable", f"the image cannot be unpacked in {root}: {error}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return True


def _out(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")


def logs(root: str, job_id: str, since_us: int, follow: bool) -> int:
    """Write a job's output to standard output as it is kept, and go on with what comes until it is removed."""
    directory = f"{root}/jobs/{job_id}"
    if read_json(f"{directory}/job.json") is None:
        return 4
    known = [(name, os.stat(name).st_ino) for name in log_files(directory)]
    current: Optional[BinaryIO] = None
    for name, _ in known:
        with contextlib.suppress(FileNotFoundError):
            if current is not None:
                current.close()
            current = open(name, "rb")
            _tell(current, since_us)
    beat_s = time.monotonic()
    while follow and os.path.exists(f"{directory}/job.json"):
        if time.monotonic() - beat_s > _HEARTBEAT_S:  # if HQ has gone, this is where it is noticed
            beat_s = time.monotonic()
            _out(b"")
        sys.stdout.buffer.flush()
        time.sleep(_LOOK_S)
        current = _following(f"{directory}/log", current, since_us)
    sys.stdout.buffer.flush()
    return 0


def _following(path: str, current: Optional[BinaryIO], since_us: int) -> Optional[BinaryIO]:
    """Tell what is new, and change to the new file when the log was turned over."""
    if current is not None:
        _tell(current, since_us)
    with contextlib.suppress(FileNotFoundError):
        if current is None or os.stat(path).st_ino != os.fstat(current.fileno()).st_ino:
            if current is not None:
                _tell(current, since_us)
                current.close()
            current = open(path, "rb")
            _tell(current, since_us)
    return current


def _tell(file: BinaryIO, since_us: int) -> None:
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(at)
            return
        time_text = line.partition(b" ")[0]
        if time_text.isdigit() and int(time_text) >= since_us:
            _out(line[:-1])


def events(root: str) -> int:
    """Write a line for each change of a job, until HQ has gone. The first line says that it has begun."""
    known = _states(root)
    _out(b"ready")
    sys.stdout.buffer.flush()
    beat_s = time.monotonic()
    while True:
        time.sleep(2 * _LOOK_S)
        now = _states(root)
        for job_id in sorted(known.keys() | now.keys()):
            if now.get(job_id) != known.get(job_id):
                state = now.get(job_id) or {**known[job_id], "state": "removed"}
                _out(json.dumps({"id": job_id, "time_us": now_us(), **state}).encode())
        known = now
        if time.monotonic() - beat_s > _HEARTBEAT_S:
            beat_s = time.monotonic()
            _out(b"")
        sys.stdout.buffer.flush()


def _states(root: str) -> dict[str, dict[str, Any]]:
    found = {}
    for job_id in job_ids(root):
        job = look(root, job_id)
        if job is not None:
            found[job_id] = {"labels": job["labels"], "state": job["state"], "health": job["health"]}
    return found


def execute(root: str, order: dict[str, Any]) -> dict[str, Any]:
    """Run a command beside a running job."""
    job_id = order["id"]
    directory = f"{root}/jobs/{job_id}"
    job = read_json(f"{directory}/job.json")
    if job is None:
        raise Refused("job-not-found", f"there is no job {job_id} on this host")
    if settled(root, job_id)["state"] != "running":
        raise Refused("job-not-running", f"{job_id} does not run")
    group = Group(root, job_id)
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    master = -1
    if order["tty"]:
        master, slave = os.openpty()
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    try:
        process = subprocess.Popen(
            order["argv"],
            cwd=f"{directory}/work",
            env=environment(directory, job),
            start_new_session=True,
            preexec_fn=group.join if group.members() else None,
            **streams,
        )
    except OSError as error:
        return {"exit_code": 127, "stdout": "", "stderr": base64.b64encode(str(error).encode()).decode()}
    finally:
        if order["tty"]:
            os.close(slave)
    kept = _exchange(process, base64.b64decode(order["stdin"]), order["timeout_s"], master)
    code = process.wait()
    if kept is None:
        raise Refused("timed-out", f"a command beside {job_id} took over {order['timeout_s']:g} s and was killed")
    out, err = (base64.b64encode(text).decode() for text in kept)
    return {"exit_code": 128 - code if code < 0 else code, "stdout": out, "stderr": err}


def _exchange(
    process: subprocess.Popen[bytes], given: bytes, timeout_s: float, master: int
) -> Optional[tuple[bytes, bytes]]:
    """Feed a command and keep the beginning of what it says; None when it took too long and was killed."""
    if master >= 0:
        readers, writer = {master: bytearray()}, master
    else:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        readers = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        writer = process.stdin.fileno()
        os.set_blocking(writer, False)
    buffers = list(readers.values())
    end_s = time.monotonic() + timeout_s
    while readers and time.monotonic() < end_s:
        readable, writable, _ = select.select(list(readers), [writer] if given else [], [], 0.2)
        for descriptor in readable:
            piece = b""
            with contextlib.suppress(OSError):  # a terminal whose last user has gone
                piece = os.read(descriptor, 65536)
            readers[descriptor] += piece[: EXEC_OUTPUT_MAX_BYTES - len(readers[descriptor])]
            if not piece:
                del readers[descriptor]
        if writable:
            try:
                given = given[os.write(writer, given[:65536]) :]
            except OSError:
                given = b""
        if not given and master < 0 and process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
    if readers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return None
    return bytes(buffers[0]), bytes(buffers[1]) if len(buffers) > 1 else b""
