"""Machines on this machine: network namespaces on a bridge, each with an SSH server and processes of its own.

    driver = LocalDriver(Path("/var/lib/skep/machines"), public_key)

For trying a fleet out, and for tests. A machine has its own network, process numbers, host name, `/etc` (an overlay),
home (so that no key of a fleet gets into ours) and folders for jobs and the router's files; all else of the file system
is this machine's, so it keeps nobody apart.
It needs root, iproute2, util-linux and OpenSSH's server; addresses are of one private network that this machine is in,
too.

All that a machine is lies in ``folder/NAME``. Machines outlive HQ. After a restart of this machine they are told as
stopped, and ``create`` starts them again with what they had.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, MachineNotFound, MachineRefused, MachinesUnavailable
from skep.deploy.machines.checking import FOLDER
from skep.deploy.machines.preparing import key_line
from skep.deploy.machines.records import Machine, MachineType, Traits, checked_name
from skep.deploy.stack.records import Size

R = TypeVar("R")
MACHINES_MAX = 200
COMMAND_TIMEOUT_S = 30.0
START_LIMIT_S = 20.0
NEEDS = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "ssh-keygen": "openssh-client"}
TYPES = (
    MachineType(name="local-small", size=Size(memory_bytes=512 << 20, cpu_millis=500)),
    MachineType(name="local-medium", size=Size(memory_bytes=2 << 30, cpu_millis=1000)),
    MachineType(name="local-large", size=Size(memory_bytes=8 << 30, cpu_millis=4000)),
)
_BOOT = """set -e
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mkdir -p "$2" "$2-router"
mount --bind "$1/jobs" "$2"
mount --bind "$1/router" "$2-router"
hostname "$3"
ip link set lo up
mkdir -p /run/sshd
exec "$4" -D -e -f "$1/config"
"""


class _Kept(msgspec.Struct, frozen=True):
    """``machine.json`` in a machine's folder."""

    version: int
    number: int
    type: str
    created_us: int


class LocalDriver:
    """Machines below ``folder``. ``subnet`` is the first three numbers of their addresses; empty: by the folder."""

    def __init__(
        self,
        folder: Path,
        public_key: str,
        *,
        types: tuple[MachineType, ...] = TYPES,
        subnet: str = "",
        jobs: str = FOLDER,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._key = key_line(public_key)
        self._types = types
        digest = hashlib.blake2b(str(self._folder).encode(), digest_size=4).digest()
        self._tag = digest[:3].hex()
        self._subnet = subnet or f"10.{200 + digest[0] % 50}.{digest[1]}"
        self._jobs = jobs
        self._clock = clock or SystemClock()

    @property
    def traits(self) -> Traits:
        return Traits(kind="local", resizes=True, rents=False)

    async def types(self) -> tuple[MachineType, ...]:
        return tuple(sorted(self._types, key=lambda one: one.price_hourly))

    async def list(self) -> tuple[Machine, ...]:
        return await asyncio.to_thread(lambda: tuple(self._machine(name, kept) for name, kept in self._all().items()))

    async def create(self, name: str, type: str) -> Machine:
        wanted = self._type(type)
        return await self._locked(lambda: self._create(checked_name(name), wanted))

    async def destroy(self, name: str) -> None:
        checked_name(name)
        await self._locked(lambda: self._destroy(name))

    async def resize(self, name: str, type: str) -> Machine:
        wanted = self._type(type)
        return await self._locked(lambda: self._resize(name, wanted))

    async def close(self) -> None:
        """Nothing is held open."""

    def processes(self, name: str) -> frozenset[int]:
        """The numbers (here) of all processes of a machine."""
        first = self._first_process(name)
        with contextlib.suppress(OSError):
            space = os.readlink(f"/proc/{first}/ns/pid_for_children")
            return frozenset(pid for pid in _pids() if _space(pid) == space)
        return frozenset()

    def namespace(self, name: str) -> str:
        """The name of a machine's network namespace."""
        return f"skep-{self._tag}-{self._all()[name].number}"

    # --- in threads, under the folder's lock ----------------------------------------------------

    async def _locked(self, work: Callable[[], R]) -> R:
        def run() -> R:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                return work()

        return await asyncio.to_thread(run)

    def _create(self, name: str, wanted: MachineType) -> Machine:
        self._check_programs()
        all_ = self._all()
        kept = all_.get(name)
        if kept is None:
            numbers = {one.number for one in all_.values()}
            number = next((one for one in range(2, MACHINES_MAX + 2) if one not in numbers), 0)
            if not number:
                raise MachineRefused(f"machine {name} is not made: {MACHINES_MAX} are the most here")
            kept = _Kept(1, number, wanted.name, self._clock.now_us())
            self._lay_out(name, kept)
        if not self._first_process(name):
            self._plug_in(kept.number)
            self._boot(name, kept)
        return self._machine(name, kept)

    def _lay_out(self, name: str, kept: _Kept) -> None:
        """The machine's folder; it counts from when ``machine.json`` is in it."""
        home = self._folder / name
        shutil.rmtree(home, ignore_errors=True)
        for part in ("upper", "work", "jobs", "router", "home"):
            (home / part).mkdir(parents=True)
        home.chmod(0o700)
        self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(home / "host"))
        (home / "authorized").write_text(f"{self._key}\n")
        (home / "config").write_text(
            f"Port 22\nListenAddress {self._address(kept.number)}\nHostKey {home}/host\nStrictModes no\n"
            f"AuthorizedKeysFile {home}/authorized {home}/home/.ssh/authorized_keys\n"
            "PasswordAuthentication no\nUsePAM no\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nPidFile none\nMaxStartups 200\nMaxSessions 100\n"
            f"SetEnv SHLVL=5 HOME={home}/home\n"
        )
        self._write(name, kept)

    def _plug_in(self, number: int) -> None:
        """The bridge, the namespace and the cable between; what is there already is left."""
        bridge, space, cable = f"skb{self._tag}", f"skep-{self._tag}-{number}", f"sk{self._tag}p{number}"
        if not Path(f"/sys/class/net/{bridge}").exists():
            self._run("ip", "link", "add", bridge, "type", "bridge")
        self._run("ip", "addr", "replace", f"{self._subnet}.1/24", "dev", bridge)
        self._run("ip", "link", "set", bridge, "up")
        if not Path(f"/run/netns/{space}").exists():
            self._run("ip", "netns", "add", space)
        if not Path(f"/sys/class/net/{cable}").exists():
            self._run("ip", "-n", space, "link", "del", "eth0", check=False)
            self._run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._run("ip", "link", "set", cable, "master", bridge, "up")
        self._run("ip", "-n", space, "addr", "replace", f"{self._address(number)}/24", "dev", "eth0")
        self._run("ip", "-n", space, "link", "set", "eth0", "up")

    def _boot(self, name: str, kept: _Kept) -> None:
        home = self._folder / name
        command = [
            "nsenter", f"--net=/run/netns/skep-{self._tag}-{kept.number}",
            "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
            "sh", "-c", _BOOT, "sh", str(home), self._jobs, name, shutil.which("sshd") or "/usr/sbin/sshd",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (home / "pid").write_text(f"{process.pid} {_started(process.pid)}")
        end_s = time.monotonic() + START_LIMIT_S
        while b"Server listening" not in (home / "log").read_bytes():
            if process.poll() is not None or time.monotonic() > end_s:
                process.kill()
                process.wait()
                said = (home / "log").read_text(errors="replace")[-300:].strip()
                raise MachinesUnavailable(f"machine {name} does not start: {said or 'it said nothing'}")
            time.sleep(0.02)
        _reap(process)

    def _destroy(self, name: str) -> None:
        home = self._folder / name
        kept = self._all().get(name)
        first = self._first_process(name)
        if first:
            _end(first, self.processes(name))
        if kept is not None:
            self._run("ip", "link", "del", f"sk{self._tag}p{kept.number}", check=False)
            self._run("ip", "netns", "del", f"skep-{self._tag}-{kept.number}", check=False)
            (home / "machine.json").unlink()
        if home.is_dir():
            shutil.rmtree(home)
        if not self._all():
            self._run("ip", "link", "del", f"skb{self._tag}", check=False)

    def _resize(self, name: str, wanted: MachineType) -> Machine:
        kept = self._all().get(name)
        if kept is None:
            raise MachineNotFound(f"there is no machine {name} in {self._folder}")
        kept = msgspec.structs.replace(kept, type=wanted.name)
        self._write(name, kept)
        return self._machine(name, kept)

    # --- small change ---------------------------------------------------------------------------

    def _all(self) -> dict[str, _Kept]:
        found = {}
        for path in sorted(self._folder.glob("*/machine.json")):
            with contextlib.suppress(OSError):
                found[path.parent.name] = msgspec.json.decode(path.read_bytes(), type=_Kept)
        return found

    def _write(self, name: str, kept: _Kept) -> None:
        path = self._folder / name / "machine.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(kept))
        path.with_suffix(".new").replace(path)

    def _machine(self, name: str, kept: _Kept) -> Machine:
        home = self._folder / name
        host_key = " ".join((home / "host.pub").read_text().split()[:2])
        return Machine(
            name=name,
            type=kept.type,
            state="running" if self._first_process(name) else "stopped",
            id=f"{kept.number}.{kept.created_us}",
            address=self._address(kept.number),
            host_key=host_key,
            size=self._type(kept.type).size,
            created_us=kept.created_us,
        )

    def _first_process(self, name: str) -> int:
        """The process that a machine lives with; 0 when it is off."""
        try:
            pid, started = (self._folder / name / "pid").read_text().split()
        except (OSError, ValueError):
            return 0
        return int(pid) if _started(int(pid)) == started else 0

    def _type(self, name: str) -> MachineType:
        found = next((one for one in self._types if one.name == name), None)
        if found is None:
            raise BadInput(f"there is no type {name} here: {', '.join(one.name for one in self._types)}")
        return found

    def _address(self, number: int) -> str:
        return f"{self._subnet}.{number}"

    def _check_programs(self) -> None:
        if os.geteuid():
            raise MachineRefused("machines on this machine are network namespaces, which only root can make")
        for program, package in NEEDS.items():
            if shutil.which(program) is None:
                raise MachineRefused(f"{program} is not installed: apt-get install {package}")
        if shutil.which("sshd") is None and not Path("/usr/sbin/sshd").exists():
            raise MachineRefused("sshd is not installed: apt-get install openssh-server")

    def _run(self, *argv: str, check: bool = True) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if check and done.returncode:
            raise MachinesUnavailable(f"{' '.join(argv[:4])} …: {done.stderr.strip()[-300:]}")


def _end(first: int, all_: frozenset[int]) -> None:
    """Kill a machine: with its first process the kernel ends all others."""
    for pid in (first, *all_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end_s = time.monotonic() + START_LIMIT_S
    while any(_alive(pid) for pid in (first, *all_)) and time.monotonic() < end_s:
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _started(pid: int) -> str:
    """When a process began, as the kernel counts it: a number is used again, with another beginning."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] != "Z":
            return fields[19]
    return ""


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _space(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Its end is nobody's business; but while this program runs, it is its child and must not stay as a zombie."""
    threading.Thread(target=process.wait, name=f"machine-{process.pid}", daemon=True).start()
