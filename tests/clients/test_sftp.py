"""SFTP with the clients that people have: OpenSSH's sftp, sshfs, rclone; and asyncssh for what those cannot do."""

from __future__ import annotations

import asyncio
import filecmp
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from skep.testing.process import RunningHive, made_hive

Program = Callable[[str, str], Path]


class SftpHive:
    """A running hive with SFTP, and a key that may in."""

    def __init__(self, hive: RunningHive, port: int, place: Path) -> None:
        self.hive = hive
        self.port = port
        self.key = place / "id"
        self.known = place / "known_hosts"

    @property
    def options(self) -> list[str]:
        """For OpenSSH's programs."""
        known = f"UserKnownHostsFile={self.known}"
        return ["-oStrictHostKeyChecking=accept-new", "-o" + known, "-oBatchMode=yes", "-oIdentitiesOnly=yes"]

    def sftp(self, program: Path, *lines: str) -> str:
        """Run a batch of OpenSSH's sftp; its output. A line that fails fails the batch."""
        done = subprocess.run(
            [program, "-P", str(self.port), "-i", self.key, *self.options, "-b", "-", "admin@127.0.0.1"],
            input="\n".join(lines), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def connect(self, **options: object) -> asyncssh.connection._ACMWrapper:  # type: ignore[name-defined]
        """An asyncssh connection with the key, or what ``options`` say."""
        given = {"username": "admin", "client_keys": [str(self.key)], **options}
        return asyncssh.connect("127.0.0.1", self.port, known_hosts=None, config=None, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sftp_hive(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[SftpHive]:
    place = tmp_path_factory.mktemp("sftp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hive = made_hive(place / "hive")
    hive.settings["server__sftp_port"] = str(port)
    hive.start()
    found = SftpHive(hive, port, place)
    keygen = program("ssh-keygen", "apt-get install openssh-client")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "ada's laptop", "-f", found.key], check=True)
    with hive.client() as client:
        added = client.post("/api/auth/ssh-keys", json={"public_key": found.key.with_suffix(".pub").read_text()})
        assert added.status_code == 201, added.text
        assert added.json()["name"] == "ada's laptop"
    yield found
    hive.stop()


def a_tree(place: Path) -> Path:
    """A small tree of odd names and sizes."""
    chance = random.Random(11)
    for name, size in {"a.txt": 12, "empty": 0, "sub/ä ö.bin": 300_000, "sub/deep/big": 5 << 20, "-dash": 7}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return place


def same(one: Path, other: Path) -> bool:
    """Whether two trees hold the same."""
    found = filecmp.dircmp(one, other)
    whole = not (found.left_only or found.right_only or found.funny_files)
    equal = filecmp.cmpfiles(one, other, found.common_files, shallow=False)[0] == found.common_files
    return whole and equal and all(same(one / sub, other / sub) for sub in found.common_dirs)


def test_openssh_sftp(sftp_hive: SftpHive, program: Program, tmp_path: Path) -> None:
    sftp = program("sftp", "apt-get install openssh-client")
    tree, back = a_tree(tmp_path / "tree"), tmp_path / "back"
    listing = sftp_hive.sftp(
        sftp, f"put -rp {tree} /openssh", f"get -rp /openssh {back}", "ls -l /openssh/sub", "df /openssh",
        "rename /openssh/a.txt /openssh/b.txt", "mkdir /openssh/new", "rmdir /openssh/new", "rm /openssh/empty",
        "-rmdir /openssh/sub", "-rename -l /openssh/b.txt /openssh/-dash", "ls -1 /openssh",
    )  # fmt: skip
    assert same(tree, back)
    assert (back / "sub/deep/big").stat().st_mtime == 1_600_000_000
    assert "300000 Sep 13  2020" in listing
    assert listing.splitlines()[-3:] == ["/openssh/-dash", "/openssh/b.txt", "/openssh/sub"]
    with sftp_hive.hive.client() as client:  # the same file, behind another door
        assert (
            client.get("/api/filesystem/data", params={"path": "/openssh/sub/ä ö.bin"}).content
            == (tree / "sub/ä ö.bin").read_bytes()
        )


def test_openssh_appends_with_reput(sftp_hive: SftpHive, program: Program, tmp_path: Path) -> None:
    sftp = program("sftp", "apt-get install openssh-client")
    whole = random.Random(5).randbytes(1_000_000)
    local = tmp_path / "local"
    local.write_bytes(whole[:400_000])
    sftp_hive.sftp(sftp, f"put {local} /reput")
    local.write_bytes(whole)
    sftp_hive.sftp(sftp, f"reput {local} /reput", f"get /reput {tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == whole


@pytest.mark.parametrize("source", ["make parts", "apt-get install rclone"])
def test_rclone(sftp_hive: SftpHive, program: Program, tmp_path: Path, source: str) -> None:
    """The newest, and Debian's 1.60, whose packets have bytes behind their end."""
    rclone = program("rclone" if source == "make parts" else "/usr/bin/rclone", source)
    tree = a_tree(tmp_path / "tree")
    remote = f":sftp,host=127.0.0.1,port={sftp_hive.port},user=admin,key_file={sftp_hive.key},shell_type=none:"

    def run(*arguments: str) -> None:
        done = subprocess.run([rclone, "--config", "/dev/null", *arguments], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr

    run("sync", str(tree), f"{remote}/rclone")
    run("check", "--download", str(tree), f"{remote}/rclone")
    (tree / "a.txt").unlink()
    run("sync", str(tree), f"{remote}/rclone")
    run("copy", f"{remote}/rclone", str(tmp_path / "back"), "--multi-thread-cutoff", "1M")
    assert same(tree, tmp_path / "back")


def test_sshfs(sftp_hive: SftpHive, program: Program, tmp_path: Path) -> None:
    sshfs = program("sshfs", "apt-get install sshfs")
    unmount = program("fusermount3", "apt-get install fuse3")
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no /dev/fuse here: load the kernel's fuse module")
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(
        [sshfs, "admin@127.0.0.1:/", mount, "-p", str(sftp_hive.port), f"-oIdentityFile={sftp_hive.key}",
         *sftp_hive.options], check=True, timeout=30,
    )  # fmt: skip
    try:
        tree = a_tree(tmp_path / "tree")
        subprocess.run(["cp", "-r", tree, mount / "sshfs"], check=True, timeout=60)
        assert same(tree, mount / "sshfs")
        note = mount / "sshfs/note"
        note.write_text("one\n")
        with note.open("a") as file:
            file.write("two\n")
        with note.open("r+b") as file:
            file.seek(1)
            file.write(b"X")
        assert note.read_text() == "oXe\ntwo\n"
        os.truncate(note, 4)
        note.rename(mount / "sshfs/moved")
        assert (mount / "sshfs/moved").read_text() == "oXe\n"
        (mount / "sshfs/moved").unlink()
        assert not (mount / "sshfs/moved").exists()
    finally:
        subprocess.run([unmount, "-u", mount], check=True, timeout=30)


@pytest.mark.parametrize("end", ["reset", "disconnect", "channel"])
async def test_an_upload_that_breaks_off_leaves_the_old_version(sftp_hive: SftpHive, end: str) -> None:
    async with sftp_hive.connect() as ssh, ssh.start_sftp_client() as sftp:
        async with sftp.open("/torn", "wb") as file:
            await file.write(b"old and whole")
        file = await sftp.open("/torn", "wb")
        await file.write(b"new, and never closed", 0)
        if end == "channel":
            sftp.exit()
            await sftp.wait_closed()
        elif end == "disconnect":
            ssh.close()
        else:
            ssh.abort()
    async with sftp_hive.connect() as ssh, ssh.start_sftp_client() as sftp:
        async with sftp.open("/torn", "rb") as file:
            assert await file.read() == b"old and whole"
        await sftp.remove("/torn")


async def test_holes_patches_and_reads_of_what_is_being_written(sftp_hive: SftpHive) -> None:
    async with sftp_hive.connect() as ssh, ssh.start_sftp_client() as sftp:
        async with sftp.open("/patched", "w+b") as file:
            await file.write(b"end", 1000)
            await file.write(b"begin", 0)
            assert (await file.stat()).size == 1003
            assert (await sftp.stat("/patched")).size == 1003
            assert await file.read(2000, 0) == b"begin".ljust(1000, b"\0") + b"end"
            await file.write(b"!", 2)
        async with sftp.open("/patched", "rb") as file:
            assert await file.read() == b"be!in".ljust(1000, b"\0") + b"end"
        await sftp.remove("/patched")


async def test_what_is_refused(sftp_hive: SftpHive) -> None:
    async with sftp_hive.connect() as ssh:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ProcessError)):
            await ssh.run("id", check=True)
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.open_connection("127.0.0.1", 22)
        async with ssh.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat("/none")
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.open("/none/below", "wb")
            with pytest.raises(asyncssh.SFTPOpUnsupported):
                await sftp.symlink("/a", "/b")
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.mkdir("/.spaces/new")
            await sftp.mkdir("/twice")
            with pytest.raises(asyncssh.SFTPFailure):
                await sftp.mkdir("/twice")
            await sftp.rmdir("/twice")


async def test_who_may_in(sftp_hive: SftpHive, tmp_path: Path) -> None:
    with sftp_hive.hive.client() as client:
        made = client.post("/api/auth/app-passwords", json={"name": "reader", "scopes": ["files:read"]}).json()
    other = asyncssh.generate_private_key("ssh-ed25519")
    for wrong in ({"client_keys": [other]}, {"client_keys": [], "password": "wrong"}, {"username": "nobody"}):
        with pytest.raises(asyncssh.PermissionDenied):
            async with sftp_hive.connect(**wrong):
                pass
    async with (
        sftp_hive.connect(client_keys=[], password=made["secret"]) as ssh,
        ssh.start_sftp_client() as sftp,
    ):
        assert ".." in await sftp.listdir("/")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await sftp.mkdir("/readers may not")
        with sftp_hive.hive.client() as client:
            client.delete(f"/api/auth/app-passwords/{made['id']}")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await sftp.listdir("/")


async def test_a_client_that_asks_and_does_not_read_is_waited_for(sftp_hive: SftpHive) -> None:
    """Answers wait for the channel's window: the hive's memory does not grow with what was asked."""
    async with sftp_hive.connect() as ssh, ssh.start_sftp_client() as sftp, sftp.open("/big", "wb") as file:
        await file.write(random.Random(1).randbytes(8 << 20))
    before = _resident_bytes(sftp_hive)
    async with sftp_hive.connect() as ssh:
        chan, _ = await ssh.create_session(asyncssh.SSHClientSession, subsystem="sftp", encoding=None, window=1 << 16)
        chan.pause_reading()

        def packet(kind: int, *rest: bytes) -> None:
            body = bytes([kind]) + b"".join(rest)
            chan.write(len(body).to_bytes(4, "big") + body)

        packet(1, (3).to_bytes(4, "big"))
        packet(3, (1).to_bytes(4, "big"), _text(b"/big"), (1).to_bytes(4, "big"), bytes(4))
        for number in range(2, 200):
            packet(5, number.to_bytes(4, "big"), _text(bytes(4)), bytes(8), (4 << 20).to_bytes(4, "big"))
        time.sleep(1.0)  # nothing tells that nothing happens: time to read 800 MB, but for the window
        assert _resident_bytes(sftp_hive) - before < 150 << 20
        chan.abort()


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _resident_bytes(sftp_hive: SftpHive) -> int:
    assert sftp_hive.hive.process is not None
    pages = int(Path(f"/proc/{sftp_hive.hive.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_sessions_of_one_connection_have_a_limit_and_many_open_files_read_right(sftp_hive: SftpHive) -> None:
    async with sftp_hive.connect() as connection:
        sessions = [await connection.start_sftp_client() for _ in range(8)]
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.start_sftp_client()
        sessions.pop().exit()
        await asyncio.sleep(0.2)  # its channel closes behind the call
        sessions.append(await connection.start_sftp_client())
        contents = {f"/many-{number}": bytes([number]) * 300_000 for number in range(12)}
        for path, content in contents.items():
            async with sessions[0].open(path, "wb") as file:
                await file.write(content)
        opened = {path: await sessions[0].open(path, "rb") for path in contents}
        for offset in (0, 100_000, 299_990, 5):
            for path, file in opened.items():
                assert await file.read(10, offset) == contents[path][offset : offset + 10]
