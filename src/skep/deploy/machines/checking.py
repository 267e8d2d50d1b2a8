"""Whether a host will do: its facts, read by one POSIX shell script, and what is wrong with it.

    report = await check_host(runner)
    report.fits, report.problems, report.warnings

Nothing is left on the host. A problem keeps jobs from running there; a warning is something that its owner should
know. What is a problem depends on the engine: jobs as processes need Python, containers need a daemon.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import CommandFailed
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

EngineKind: TypeAlias = Literal["process", "docker"]
FOLDER = "/var/lib/skep"
PYTHON_LEAST = (3, 9)
CHECK_TIMEOUT_S = 30.0
ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
"""What other systems call an architecture, and what we do."""

_SCRIPT = r"""
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ' | cut -c1-300)"; }
say time_s "$(date +%s.%N 2>/dev/null)"
say system "$(uname -s)"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say hostname "$(uname -n)"
say user "$(id -un 2>/dev/null || id -u)"
say uid "$(id -u)"
say os "$(. /etc/os-release 2>/dev/null && printf %s "$PRETTY_NAME")"
say processors "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc 2>/dev/null)"
say memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo 2>/dev/null)"
folder=$1
while [ ! -d "$folder" ] && [ "$folder" != / ] && [ "$folder" != . ]; do folder=$(dirname "$folder"); done
say disk_kib "$(df -Pk "$folder" 2>/dev/null | awk 'NR == 2 { print $2, $4 }')"
[ -w "$folder" ] && say folder_writable yes
python=$(command -v python3) && say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1)"
[ -n "$python" ] && say python_path "$python"
for program in docker podman; do
    command -v $program >/dev/null 2>&1 || continue
    version=$($program version --format '{{.Server.Version}}' 2>/dev/null) || version=
    say $program "${version:-silent}"
done
for program in nft iptables ip6tables systemctl nginx sudo; do
    command -v $program >/dev/null 2>&1 && say $program yes
done
[ -d /run/systemd/system ] && say systemd yes
sshd=$(command -v sshd) && say sshd "$sshd"
passwords='/^passwordauthentication/ { print $2 }'
[ "$(id -u)" = 0 ] && [ -n "$sshd" ] && say passwords "$("$sshd" -T 2>/dev/null | awk "$passwords")"
mkdir -p /sys/fs/cgroup/skep.check.$$ 2>/dev/null && rmdir /sys/fs/cgroup/skep.check.$$ && say cgroups yes
[ -w /sys/fs/cgroup/memory ] && say cgroups yes
exit 0
"""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a host must have."""

    engine: EngineKind = "process"
    architecture: str = ""
    """What HQ builds for, as ``uname -m`` says it; empty: any."""
    memory_bytes: int = 256 << 20
    disk_free_bytes: int = 1 << 30
    clock_skew_s: float = 5.0
    """More is a warning; a hundred times as much is a problem, as certificates and tokens fail by then."""
    firewall: bool = True
    """Whether the lack of nftables and iptables is told."""


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a host, and what is wrong with it."""

    host: str
    hostname: str = ""
    system: str = ""
    os: str = ""
    kernel: str = ""
    architecture: str = ""
    """As ``uname -m`` says it on Linux: ``x86_64``, ``aarch64``."""
    user: str = ""
    is_root: bool = False
    processors: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    """Of the file system that the folder is on."""
    disk_free_bytes: int = 0
    python: str = ""
    """Its version; empty: none."""
    python_path: str = ""
    docker: str = ""
    """The version of a container daemon that answers; empty: none."""
    firewall: Literal["nft", "iptables", ""] = ""
    sshd: str = ""
    """Where its SSH server lies; it may be another than OpenSSH, which has none here."""
    systemd: bool = False
    cgroups: bool = False
    """Whether limits of memory and processor can be enforced for processes."""
    clock_skew_s: float = 0.0
    """Its clock minus ours; what the way there took is not counted."""
    problems: tuple[str, ...] = ()
    """Why it will not do. Empty: it will."""
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether jobs can run there."""
        return not self.problems

    @property
    def cpu_millis(self) -> int:
        """Processors in thousandths, as the grid counts them."""
        return self.processors * 1000

    def rows(self) -> list[tuple[str, str]]:
        """Its facts as people read them: name and text."""
        python = f"{self.python} ({self.python_path})" if self.python else "none"
        return [
            ("host", f"{self.host} ({self.hostname})"),
            ("system", f"{self.os or self.system}, {self.kernel}, {self.architecture}"),
            ("processors", str(self.processors)),
            ("memory", _gib(self.memory_bytes)),
            ("disk", f"{_gib(self.disk_free_bytes)} free of {_gib(self.disk_bytes)}"),
            ("python", python),
            ("containers", self.docker or "none"),
            ("firewall", self.firewall or "none"),
            ("clock", f"{self.clock_skew_s:+.1f} s"),
        ]


async def check_host(
    runner: Runner, needs: Needs | None = None, *, folder: str = FOLDER, clock: Clock | None = None
) -> HostReport:
    """Read a host's facts and judge them. Raises HostUnavailable, TimedOut, CommandFailed (no POSIX shell)."""
    clock = clock or SystemClock()
    await runner.run(Command.of("true"))  # the connection is there when time is taken
    before_us, started_s = clock.now_us(), clock.monotonic_s()
    result = await runner.run(Command.shell(_SCRIPT, folder, timeout_s=CHECK_TIMEOUT_S))
    took_s = clock.monotonic_s() - started_s
    said = dict(line.partition("=")[::2] for line in result.text.splitlines() if "=" in line)
    if "architecture" not in said:
        raise CommandFailed(f"{runner.host} does not tell what it is: {result.complaint()}", exit_code=result.exit_code)
    facts = facts_of(runner.host, said, before_s=before_us / 1e6, took_s=took_s)
    return judged(facts, needs or Needs(), said)


def facts_of(host: str, said: dict[str, str], *, before_s: float, took_s: float) -> HostReport:
    """The facts in what the script said. Its clock was read within ``took_s`` of ``before_s``."""
    disk = [_number(word) << 10 for word in said.get("disk_kib", "").split()]
    machine = said.get("architecture", "")
    docker = next((v for name in ("docker", "podman") if (v := said.get(name, "")) not in ("", "silent")), "")
    return HostReport(
        host=host,
        hostname=said.get("hostname", ""),
        system=said.get("system", ""),
        os=said.get("os", ""),
        kernel=said.get("kernel", ""),
        architecture=ARCHITECTURES.get(machine, machine),
        user=said.get("user", ""),
        is_root=said.get("uid") == "0",
        processors=_number(said.get("processors", "")),
        memory_bytes=_number(said.get("memory_kib", "")) << 10,
        disk_bytes=disk[0] if len(disk) == 2 else 0,
        disk_free_bytes=disk[1] if len(disk) == 2 else 0,
        python=said.get("python", ""),
        python_path=said.get("python_path", ""),
        docker=docker,
        firewall="nft" if "nft" in said else "iptables" if {"iptables", "ip6tables"} <= set(said) else "",
        sshd=said.get("sshd", ""),
        systemd="systemd" in said,
        cgroups="cgroups" in said,
        clock_skew_s=_skew_s(said.get("time_s", ""), before_s, took_s),
    )


def judged(facts: HostReport, needs: Needs, said: dict[str, str]) -> HostReport:
    """The report with what is wrong."""
    problems = [*_place_problems(facts, needs, said), *_engine_problems(facts, needs, said)]
    warnings = _warnings(facts, needs, said)
    skew = f"its clock is {abs(facts.clock_skew_s):.0f} s {'ahead' if facts.clock_skew_s > 0 else 'behind'}"
    if abs(facts.clock_skew_s) > 100 * needs.clock_skew_s:
        problems.append(f"{skew}: set it and let NTP keep it")
    elif abs(facts.clock_skew_s) > needs.clock_skew_s:
        warnings.append(f"{skew}: let NTP keep it")
    return msgspec.structs.replace(facts, problems=tuple(problems), warnings=tuple(warnings))


def _place_problems(facts: HostReport, needs: Needs, said: dict[str, str]) -> list[str]:
    found = []
    if facts.system != "Linux":
        found.append(f"it runs {facts.system or 'an unknown system'}, not Linux")
    wanted = ARCHITECTURES.get(needs.architecture, needs.architecture)
    if wanted and facts.architecture != wanted:
        found.append(f"its architecture is {facts.architecture}, and images are built for {wanted}")
    if facts.memory_bytes < needs.memory_bytes:
        found.append(f"it has {_gib(facts.memory_bytes)} of memory; {_gib(needs.memory_bytes)} are the least")
    if facts.disk_free_bytes < needs.disk_free_bytes:
        found.append(f"its disk has {_gib(facts.disk_free_bytes)} free; {_gib(needs.disk_free_bytes)} are the least")
    if "folder_writable" not in said and needs.engine == "process":
        found.append(f"{facts.user} may not write where jobs are kept: log in as root, or prepare the host as root")
    return found


def _engine_problems(facts: HostReport, needs: Needs, said: dict[str, str]) -> list[str]:
    if needs.engine == "docker":
        if facts.docker:
            return []
        if "docker" in said or "podman" in said:
            return [f"its container daemon does not answer {facts.user}: start it, or add {facts.user} to its group"]
        return ["it has no container engine: apt-get install docker.io"]
    version = _version(facts.python)
    if not facts.python:
        return ["it has no python3: apt-get install python3"]
    if version < PYTHON_LEAST:
        return [f"its python3 is {facts.python}; {'.'.join(map(str, PYTHON_LEAST))} is the least"]
    return []


def _warnings(facts: HostReport, needs: Needs, said: dict[str, str]) -> list[str]:
    found = []
    if needs.firewall and not facts.firewall:
        found.append("it has neither nftables nor iptables with ip6tables, so it cannot be fenced")
    elif needs.firewall and not facts.is_root:
        found.append(f"{facts.user} is not root, so it cannot be fenced")
    if said.get("passwords") == "yes":
        found.append("its sshd takes passwords: set PasswordAuthentication no")
    if needs.engine == "process" and not facts.cgroups:
        found.append("no control groups can be made there, so limits of memory and processor are not enforced")
    return found


def _skew_s(said: str, before_s: float, took_s: float) -> float:
    """How far a clock is off that was read at some time in the interval: 0 where it may be right."""
    try:
        there_s = float(said.removesuffix(".%N").removesuffix(".N"))
    except ValueError:
        return 0.0
    slack_s = 0.0 if "." in said and said.rpartition(".")[2].isdigit() else 1.0
    if there_s < before_s - slack_s:
        return there_s - before_s
    return max(0.0, there_s - (before_s + took_s))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"
