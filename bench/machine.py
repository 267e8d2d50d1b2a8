"""What a result must say of where it comes from."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from bench import peers
from skep.base.clock import SystemClock

ROOT = Path(__file__).resolve().parents[1]


def facts(directory: Path) -> list[str]:
    """The machine, the disk below ``directory``, the programs, the load."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{os.cpu_count()} processors ({_processor()}), {memory / 1e9:.0f} GB memory, {_filesystem(directory)}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {', '.join(_peers())}",
        f"load before: {load}",
    ]


def commit() -> str:
    """The commit that is measured, with a mark if files differ from it."""
    try:
        named = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return named.stdout.decode().strip() + (" with changes" if changed.strip() else "")


def today() -> str:
    """The date, UTC."""
    import datetime

    moment = datetime.datetime.fromtimestamp(SystemClock().now_us() / 1e6, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(directory: Path) -> str:
    """The kind of the filesystem that a directory is on."""
    best, kind = "", "unknown filesystem"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name = line.split()[:3]
        if directory.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return f"{kind}, {shutil.disk_usage(directory).free / 1e9:.0f} GB free"


def _peers() -> list[str]:
    found = []
    for name in ("restic", "rclone"):
        if peers.found(name):
            said = subprocess.run([name, "version"], capture_output=True, check=False).stdout.decode()
            found.append(" ".join(said.split()[:2]))
        else:
            found.append(f"no {name}")
    return found
