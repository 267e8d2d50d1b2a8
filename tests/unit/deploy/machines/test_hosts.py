"""Whether a host will do, and making it ready: through a real sshd and on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from skep.base.errors import BadInput, CommandFailed
from skep.deploy.machines.checking import HostReport, Needs, check_host, facts_of, judged
from skep.deploy.machines.preparing import key_line, prepare_host
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.recording import RecordingRunner
from skep.deploy.shell.records import Command, Result
from skep.deploy.shell.ssh import SshRunner
from skep.testing.clock import FakeClock

HOME = Path(os.sep, "home")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZEfWvJtlBvVVkwIkS3Bx hq@skep"


async def test_this_machine_is_read_over_ssh(ssh_runner: SshRunner, tmp_path: Path) -> None:
    report = await check_host(
        ssh_runner, Needs(memory_bytes=1, disk_free_bytes=1), folder=str(tmp_path / "not" / "yet")
    )
    assert report.problems == ()
    assert report.fits
    assert (report.system, report.architecture, report.hostname) == (
        os.uname().sysname,
        os.uname().machine,
        os.uname().nodename,
    )
    assert report.processors == os.sysconf("SC_NPROCESSORS_ONLN")
    assert report.cpu_millis == 1000 * report.processors
    assert abs(report.memory_bytes - os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) < 64 << 20
    assert report.disk_bytes == pytest.approx(_disk(tmp_path), rel=0.1)
    assert report.disk_bytes >= report.disk_free_bytes > 0
    assert report.python.startswith("3.")
    assert report.sshd.endswith("sshd")
    assert abs(report.clock_skew_s) < 1
    assert ("processors", str(report.processors)) in report.rows()
    assert not (tmp_path / "not").exists(), "looking changes nothing"


def _disk(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


async def test_a_clock_that_is_off_is_told_by_as_much(tmp_path: Path) -> None:
    behind = FakeClock()  # ours stands in the past, so theirs is far ahead
    report = await check_host(
        LocalRunner(), Needs(memory_bytes=1, disk_free_bytes=1), folder=str(tmp_path), clock=behind
    )
    assert report.clock_skew_s > 3600
    assert any("ahead: set it" in problem for problem in report.problems)


SAID = {
    "time_s": "1000.5", "system": "Linux", "kernel": "6.1", "architecture": "arm64", "hostname": "two", "user": "root",
    "uid": "0", "os": "Debian", "processors": "4", "memory_kib": str(2 << 20), "disk_kib": f"{9 << 20} {8 << 20}",
    "folder_writable": "yes", "python": "3.11.2", "python_path": "/usr/bin/python3", "nft": "yes", "cgroups": "yes",
}  # fmt: skip


def judge(needs: Needs | None = None, before_s: float = 1000.0, took_s: float = 1.0, **changes: str) -> HostReport:
    said = {name: value for name, value in {**SAID, **changes}.items() if value}
    return judged(facts_of("two", said, before_s=before_s, took_s=took_s), needs or Needs(), said)


def test_what_is_right_has_neither_problems_nor_warnings() -> None:
    report = judge()
    assert (report.problems, report.warnings) == ((), ())
    assert (report.architecture, report.memory_bytes, report.disk_free_bytes) == ("aarch64", 2 << 30, 8 << 30)


@pytest.mark.parametrize(
    ("changes", "needs", "problem"),
    [
        ({"system": "Darwin"}, Needs(), "runs Darwin, not Linux"),
        ({}, Needs(architecture="x86_64"), "its architecture is aarch64, and images are built for x86_64"),
        ({"memory_kib": "1000"}, Needs(), "0.0 GiB of memory; 0.2 GiB are the least"),
        ({"disk_kib": "9000000 100"}, Needs(), "its disk has 0.0 GiB free; 1.0 GiB are the least"),
        ({"disk_kib": ""}, Needs(), "its disk has 0.0 GiB free"),
        ({"folder_writable": "", "uid": "7", "user": "ada"}, Needs(), "ada may not write"),
        ({"python": "", "python_path": ""}, Needs(), "no python3: apt-get install python3"),
        ({"python": "3.8.10"}, Needs(), "its python3 is 3.8.10; 3.9 is the least"),
        ({}, Needs(engine="docker"), "no container engine: apt-get install docker.io"),
        ({"docker": "silent"}, Needs(engine="docker"), "daemon does not answer root"),
    ],
)  # fmt: skip
def test_each_problem_says_what_to_do(changes: dict[str, str], needs: Needs, problem: str) -> None:
    report = judge(needs, **changes)
    assert not report.fits
    assert len(report.problems) == 1
    assert problem in report.problems[0]


def test_containers_need_no_python_and_processes_no_daemon() -> None:
    assert judge(Needs(engine="docker"), docker="20.10.24", python="").fits
    assert judge(Needs(engine="docker"), docker="silent", podman="4.3").docker == "4.3"
    assert judge(docker="silent").fits


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"nft": ""}, "neither nftables nor iptables"),
        ({"nft": "", "iptables": "yes"}, "with ip6tables"),
        ({"uid": "7", "user": "ada"}, "ada is not root"),
        ({"passwords": "yes"}, "PasswordAuthentication no"),
        ({"cgroups": ""}, "limits of memory and processor are not enforced"),
        ({"time_s": "1010"}, "its clock is 9 s ahead"),
        ({"time_s": "990.25"}, "its clock is 10 s behind"),
    ],
)  # fmt: skip
def test_each_warning(changes: dict[str, str], warning: str) -> None:
    report = judge(**changes)
    assert report.fits
    assert [one for one in report.warnings if warning in one], report.warnings


def test_the_way_there_and_whole_seconds_are_no_skew() -> None:
    assert judge(time_s="1000.0", took_s=3.0).clock_skew_s == 0
    assert judge(time_s="1003.0", took_s=3.0).clock_skew_s == 0
    assert judge(time_s="999", took_s=0.1).clock_skew_s == 0, "a date without fractions"
    assert judge(time_s="rubbish").clock_skew_s == 0


async def test_a_host_without_a_shell_is_told() -> None:
    mute = RecordingRunner("switch", answer=lambda command: Result(exit_code=0, stdout=b"% unknown command"))
    with pytest.raises(CommandFailed, match="switch does not tell what it is: % unknown command"):
        await check_host(mute)


def at_home(home: Path) -> LocalRunner:
    return LocalRunner("host", ("env", f"HOME={home}"))


async def test_a_key_is_added_once_and_others_stay(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "srv" / "skep"
    (home / ".ssh").mkdir(parents=True)
    theirs = home / ".ssh" / "authorized_keys"
    theirs.write_text("# of ada\nssh-rsa AAAAB3 ada@desk")  # and no end of the line
    first = await prepare_host(at_home(home), KEY + "\n", folder=str(folder))
    assert msgspec.structs.astuple(first) == (False, True, True)
    assert theirs.read_text() == f"# of ada\nssh-rsa AAAAB3 ada@desk\n{KEY}\n"
    assert [oct(path.stat().st_mode)[-3:] for path in (theirs, theirs.parent, folder)] == ["600", "700", "700"]
    again = await prepare_host(at_home(home), KEY.rpartition(" ")[0] + " another comment", folder=str(folder))
    assert msgspec.structs.astuple(again) == (False, False, False)
    assert theirs.read_text().count("AAAAC3") == 1
    assert [path.name for path in theirs.parent.iterdir()] == ["authorized_keys"]


async def test_the_key_lets_one_in(ssh_runner: SshRunner, tmp_path: Path) -> None:
    """What is written is read by OpenSSH's own parser as this key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    await prepare_host(at_home(tmp_path), (tmp_path / "key.pub").read_text(), folder=str(tmp_path / "jobs"))
    written = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / ".ssh" / "authorized_keys")], capture_output=True, check=True
    )
    wanted = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, check=True)
    assert written.stdout == wanted.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="making users needs root")
async def test_a_user_is_made_once(tmp_path: Path) -> None:
    """In a mount namespace of its own, whose /etc and /home are copies."""
    enter = tmp_path / "enter"
    enter.write_text(
        'mkdir -p "$T/up" "$T/work" "$T/home" && mount -t overlay overlay -o '
        '"lowerdir=/etc,upperdir=$T/up,workdir=$T/work" /etc && mount --bind "$T/home" /home && exec "$@"\n'
    )
    runner = LocalRunner("host", ("env", f"T={tmp_path}", "unshare", "--mount", "sh", str(enter)))
    if not (await runner.run(Command.of("true"), check=False)).ok:
        pytest.skip("no overlay can be mounted here")
    first = await prepare_host(runner, KEY, user="skepper", folder=str(tmp_path / "jobs"))
    assert (first.user_made, first.key_added, first.folder_made) == (True, True, True)
    again = await prepare_host(runner, KEY, user="skepper", folder=str(tmp_path / "jobs"))
    assert (again.user_made, again.key_added, again.folder_made) == (False, False, False)
    owner = await runner.run(
        Command.of("stat", "-c", "%U", f"{HOME}/skepper/.ssh/authorized_keys", str(tmp_path / "jobs"))
    )
    assert owner.text.split() == ["skepper", "skepper"]
    assert KEY in (tmp_path / "home" / "skepper" / ".ssh" / "authorized_keys").read_text()
    subprocess.run([sys.executable, "-c", "import pwd; pwd.getpwnam('root')"], check=True)
    assert subprocess.run(["id", "skepper"], capture_output=True).returncode != 0, "not on the machine itself"


def test_what_is_no_public_key_is_refused() -> None:
    assert key_line(f" {KEY}\n") == KEY
    with pytest.raises(BadInput, match="must stay where it is"):
        key_line("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n")
    for wrong in (
        "",
        "hello",
        f"{KEY}\n{KEY}",
        'command="rm -rf /" ' + KEY,
        "ssh-ed25519 AAAA\x07",
        "ssh-rsa " + "A" * 9000,
    ):
        with pytest.raises(BadInput, match="no public key"):
            key_line(wrong)


async def test_odd_users_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no name of a user"):
        await prepare_host(at_home(tmp_path), KEY, user="a; rm")
    for folder in ("/", "relative", "/a\nb"):
        with pytest.raises(BadInput, match="no folder for jobs"):
            await prepare_host(at_home(tmp_path), KEY, folder=folder)
