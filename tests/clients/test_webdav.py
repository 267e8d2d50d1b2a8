"""WebDAV by the programs that people have: rclone, davfs2, cadaver, curl; and what a restart must not lose."""

from __future__ import annotations

import filecmp
import os
import re
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from skep.testing.process import RunningHive, made_hive

TREE = Path(sysconfig.get_paths()["stdlib"]) / "email"
Find = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    running = made_hive(tmp_path_factory.mktemp("hive"))
    running.start()
    yield running
    assert running.stop() == 0


def run(*words: object, typed: str = "", home: Path | None = None, check: bool = True) -> str:
    """Run a program; what it said."""
    done = subprocess.run(
        [str(word) for word in words],
        input=typed,
        env={**os.environ, **({"HOME": str(home)} if home else {})},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert not check or done.returncode == 0, said
    return said


def same(one: Path, other: Path) -> None:
    """Both trees have the same names and bytes, but for what Python keeps beside its modules."""
    compared = filecmp.dircmp(one, other, ignore=["__pycache__"])
    assert (compared.left_only, compared.right_only, compared.funny_files) == ([], [], [])
    assert filecmp.cmpfiles(one, other, compared.common_files, shallow=False)[1:] == ([], [])
    for name in compared.common_dirs:
        same(one / name, other / name)


@pytest.fixture
def rclone(hive: RunningHive, program: Find, tmp_path: Path) -> Callable[..., str]:
    """rclone with a remote of each dialect, named after it."""
    binary = program("rclone", "make parts, or apt-get install rclone")
    config = tmp_path / "rclone.conf"
    secret = run(binary, "obscure", hive.password).strip()
    config.write_text(
        "".join(
            f"[{vendor}]\ntype = webdav\nurl = {hive.url}/dav/\nvendor = {vendor}\nuser = admin\npass = {secret}\n"
            for vendor in ("other", "owncloud", "rclone")
        )
    )
    return lambda *words, check=True: run(binary, "--config", config, *words, check=check)


@pytest.mark.parametrize("vendor", ["other", "owncloud", "rclone"])
def test_rclone_copies_checks_and_syncs_a_real_tree(rclone: Callable[..., str], tmp_path: Path, vendor: str) -> None:
    remote, tree = f"{vendor}:rclone-{vendor}", tmp_path / "tree"
    run("cp", "-rp", TREE, tree)
    rclone("copy", tree, remote, "--transfers", 8)
    assert "0 differences found" in rclone("check", tree, remote)
    assert "0 differences found" in rclone("check", "--download", tree, remote)
    (tree / "parser.py").write_text("other")
    (tree / "new & näme #1.txt").write_text("new")
    (tree / "charset.py").unlink()
    rclone("sync", tree, remote)
    assert "0 differences found" in rclone("check", "--download", tree, remote)
    again = rclone("sync", "-v", tree, remote)
    assert re.search(r"Transferred:\s+0 B", again), again
    rclone("moveto", f"{remote}/parser.py", f"{remote}/moved.py")
    rclone("copyto", f"{remote}/moved.py", f"{remote}/copied.py")
    assert rclone("cat", f"{remote}/copied.py") == "other"
    rclone("purge", remote)


def test_rclone_keeps_times_and_hashes_in_ownclouds_dialect(rclone: Callable[..., str], tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("hello")
    os.utime(source, (1_234_567_890, 1_234_567_890))
    rclone("copy", source, "owncloud:times")
    assert "2009-02-13" in rclone("lsl", "owncloud:times", "--use-server-modtime=false")
    assert "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" in rclone("sha1sum", "owncloud:times")
    rclone("touch", "-C", "-t", "2001-02-03T04:05:06", "owncloud:times/a.txt")
    assert "2001-02-03" in rclone("lsl", "owncloud:times")


def needs_fuse() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("FUSE is not there: modprobe fuse, and a container needs --device /dev/fuse")


@contextmanager
def mounted(place: Path, *command: object) -> Iterator[Path]:
    """What a command mounts in the foreground or background on ``place / mnt``, and unmounts after."""
    point = place / "mnt"
    point.mkdir()
    process = subprocess.Popen(
        [str(word) for word in (*command, point)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 30
    try:
        while not os.path.ismount(point):
            assert time.monotonic() < deadline, "not mounted"
            assert process.poll() in (None, 0), process.stdout.read() if process.stdout else ""
            time.sleep(0.05)  # another process mounts, and does not say when it has
        yield point
    finally:
        subprocess.run(["umount", point], check=False, capture_output=True, timeout=60)
        process.wait(timeout=60)


def test_rclone_mount(rclone: Callable[..., str], program: Find, tmp_path: Path) -> None:
    needs_fuse()
    program("fusermount3", "apt-get install fuse3")
    binary = program("rclone", "make parts, or apt-get install rclone")
    config = tmp_path / "rclone.conf"
    rclone("mkdir", "owncloud:mounted")
    flags = ("--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "--cache-dir", tmp_path / "cache")
    with mounted(tmp_path, binary, "--config", config, "mount", "owncloud:mounted", *flags) as point:
        run("cp", "-r", TREE, point / "tree")
        same(TREE, point / "tree")
        (point / "tree" / "parser.py").rename(point / "moved.py")
        assert (point / "moved.py").read_bytes() == (TREE / "parser.py").read_bytes()
        deadline = time.monotonic() + 30
        while "moved.py" not in rclone("lsf", "owncloud:mounted"):
            assert time.monotonic() < deadline, "not written back"
            time.sleep(0.2)  # another process writes back when it likes


def test_davfs2(hive: RunningHive, program: Find, tmp_path: Path) -> None:
    needs_fuse()
    binary = program("mount.davfs", "apt-get install davfs2")
    if os.geteuid() != 0:
        pytest.skip("only root may mount with davfs2: run this as root")
    secrets, config = tmp_path / "secrets", tmp_path / "davfs2.conf"
    secrets.write_text(f'{hive.url}/dav/ admin "{hive.password}"\n')
    secrets.chmod(0o600)
    # buf_size: its own default deadlocks against new kernels. Locks: it takes one before each write.
    config.write_text(f"secrets {secrets}\nbuf_size 64\nask_auth 0\ndelay_upload 0\nuse_locks 1\n")
    command = (binary, "-o", f"conf={config}", f"{hive.url}/dav/")
    with mounted(tmp_path, *command) as point:
        (point / "davfs").mkdir()
        run("cp", "-r", TREE, point / "davfs" / "tree")
        note = point / "davfs" / "note.txt"
        note.write_text("one\n")
        with note.open("a") as file:
            file.write("two\n")
        note.chmod(0o755)
        note.rename(point / "davfs" / "renamed.txt")
        (point / "davfs" / "tree" / "parser.py").unlink()
    with hive.client() as client:
        assert client.get("/dav/davfs/renamed.txt").text == "one\ntwo\n"
        assert client.get("/dav/davfs/tree/parser.py").status_code == 404
        parsed = client.get("/dav/davfs/tree/message.py").content
        assert parsed == (TREE / "message.py").read_bytes()
    (tmp_path / "mnt").rmdir()
    with mounted(tmp_path, *command) as point:
        assert os.access(point / "davfs" / "renamed.txt", os.X_OK)  # a dead property of davfs2


def test_cadaver(hive: RunningHive, program: Find, tmp_path: Path) -> None:
    binary = program("cadaver", "apt-get install cadaver")
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {urlsplit(hive.url).hostname}\nlogin admin\npassword {hive.password}\n")
    netrc.chmod(0o600)
    (tmp_path / "local.txt").write_text("hello")
    script = """mkcol cad
cd cad
put local.txt a.txt
copy a.txt b.txt
move b.txt c.txt
lock c.txt
discover c.txt
propset c.txt colour blue
propget c.txt colour
put local.txt c.txt
unlock c.txt
ls
get c.txt back.txt
delete a.txt
cd ..
rmcol cad
quit
"""
    said = run(binary, f"{hive.url}/dav/", typed=script, home=tmp_path)
    assert said.count("succeeded.") == 12, said
    assert "failed" not in said, said
    assert re.search(r"Lock token <urn:uuid:[0-9a-f-]{36}>", said)
    assert "Value of colour is: blue" in said
    assert (tmp_path / "back.txt").read_text() == "hello"


def test_curl_asks_for_ranges_and_waits_for_100(hive: RunningHive, program: Find, tmp_path: Path) -> None:
    curl = program("curl", "apt-get install curl")
    login = ("-sS", "-u", f"admin:{hive.password}")
    whole = os.urandom(3 << 20)
    (tmp_path / "big").write_bytes(whole)
    said = run(curl, *login, "-v", "-H", "Expect: 100-continue", "-T", tmp_path / "big", f"{hive.url}/dav/big")
    assert "100 Continue" in said
    run(curl, *login, "-H", "Transfer-Encoding: chunked", "-T", tmp_path / "big", f"{hive.url}/dav/chunked")
    for name in ("big", "chunked"):
        run(curl, *login, "-r", "1000000-2000000", "-o", tmp_path / "part", f"{hive.url}/dav/{name}")
        assert (tmp_path / "part").read_bytes() == whole[1_000_000:2_000_001]
    run(curl, *login, "-r", "0-9,-10", "-o", tmp_path / "parts", f"{hive.url}/dav/big")
    several = (tmp_path / "parts").read_bytes()
    assert whole[:10] in several
    assert whole[-10:] in several
    (tmp_path / "rest").write_bytes(whole[: 1 << 20])
    run(curl, *login, "-C", "-", "-o", tmp_path / "rest", f"{hive.url}/dav/big")
    assert (tmp_path / "rest").read_bytes() == whole
    status = run(curl, *login, "-r", "9000000-", "-o", os.devnull, "-w", "%{http_code}", f"{hive.url}/dav/big")
    assert status == "416"


def test_a_lost_connection_keeps_the_old_version(hive: RunningHive) -> None:
    with hive.client() as client:
        client.put("/dav/kept", content=b"old")
        for head, body in (
            ("PUT /dav/kept HTTP/1.1\r\nContent-Length: 1000000", b"x" * 1000),
            ("PUT /dav/kept HTTP/1.1\r\nTransfer-Encoding: chunked", b"5\r\nxxxxx\r\n"),
        ):
            connection = hive.connect(head, b"\r\n" + body)
            connection.close()
        assert client.get("/dav/kept").content == b"old"


def test_smuggled_requests_are_not_answered(hive: RunningHive) -> None:
    hidden = b"DELETE /dav/kept HTTP/1.1\r\nHost: hive\r\n\r\n"
    with hive.client() as client:
        client.put("/dav/kept", content=b"old")
        head = f"PUT /dav/other HTTP/1.1\r\nContent-Length: {5 + len(hidden)}\r\nTransfer-Encoding: chunked"
        connection: socket.socket = hive.connect(head, b"\r\n0\r\n\r\n" + hidden)
        answer = connection.recv(65536)
        connection.settimeout(10)
        while part := connection.recv(65536):
            answer += part
        assert answer.count(b"HTTP/1.1 ") == 1
        assert client.get("/dav/kept").content == b"old"


def test_locks_outlive_a_restart(tmp_path: Path) -> None:
    hive = made_hive(tmp_path)
    hive.start()
    wanted = "<lockscope><exclusive/></lockscope><locktype><write/></locktype>"
    body = f'<lockinfo xmlns="DAV:">{wanted}<owner>me</owner></lockinfo>'
    with hive.client() as client:
        token = client.request("LOCK", "/dav/a", content=body).headers["lock-token"]
    hive.stop(9)
    hive.start()
    with hive.client() as client:
        assert client.put("/dav/a", content=b"x").status_code == 423
        assert client.put("/api/filesystem/data?path=/a", content=b"x").status_code == 423
        assert client.put("/dav/a", content=b"x", headers={"if": f"({token})"}).status_code == 204
    assert hive.stop() == 0


def test_a_client_of_each_kind_is_told_how_to_log_in(hive: RunningHive) -> None:
    answer = httpx.request("PROPFIND", f"{hive.url}/dav/", headers={"depth": "0"})
    assert answer.status_code == 401
    assert answer.headers.get_list("www-authenticate") == ['Basic realm="skep", charset="UTF-8"', 'Bearer realm="skep"']
