"""Programs of others through the S3 door: aws, s3cmd, restic, s3fs."""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

TREE = Path(sysconfig.get_path("stdlib")) / "json"
MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    shutil.copytree(TREE, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "sub dir").mkdir()
    (place / "sub dir" / "ä+b&c.bin").write_bytes(random.Random(1).randbytes(17 * MIB))
    (place / "empty").touch()
    return place


def _same(one: Path, other: Path) -> None:
    compared = filecmp.dircmp(one, other)
    waiting = [compared]
    while waiting:
        now = waiting.pop()
        assert (now.left_only, now.right_only, now.diff_files, now.funny_files) == ([], [], [], [])
        assert filecmp.cmpfiles(now.left, now.right, now.common_files, shallow=False)[1:] == ([], [])
        waiting.extend(now.subdirs.values())


def test_aws(s3, run, program, tree, tmp_path):
    path = program("aws", "make parts")

    def aws(*words: object) -> str:
        return run(path, "--endpoint-url", s3.endpoint, *words)

    aws("s3", "mb", "s3://aws-cli")
    aws("s3", "cp", "--recursive", tree, "s3://aws-cli/tree")
    aws("s3", "sync", tree, "s3://aws-cli/tree")
    assert "decoder.py" in aws("s3", "ls", "s3://aws-cli/tree/")
    assert "PRE sub dir/" in aws("s3", "ls", "s3://aws-cli/tree/")
    aws("s3", "mv", "s3://aws-cli/tree/empty", "s3://aws-cli/tree/moved")
    aws("s3", "mv", "s3://aws-cli/tree/moved", "s3://aws-cli/tree/empty")
    back = tmp_path / "back"
    aws("s3", "sync", "s3://aws-cli/tree", back)
    _same(tree, back)
    (tree / "decoder.py").unlink()
    assert "delete: s3://aws-cli/tree/decoder.py" in aws("s3", "sync", "--delete", tree, "s3://aws-cli/tree")
    for algorithm in ("SHA256",):
        aws("s3", "cp", "--checksum-algorithm", algorithm, tree / "scanner.py", f"s3://aws-cli/{algorithm}")
        aws("s3", "cp", f"s3://aws-cli/{algorithm}", tmp_path / algorithm)
        assert (tmp_path / algorithm).read_bytes() == (tree / "scanner.py").read_bytes()
    aws("s3", "rb", "--force", "s3://aws-cli")


def test_aws_by_one_connection_sends_parts_after_an_empty_file(s3, run, program, tmp_path):
    path, config, tree = program("aws", "make parts"), tmp_path / "config", tmp_path / "tree"
    config.write_text("[default]\ns3 =\n    max_concurrent_requests = 1\n")
    tree.mkdir()
    for name in ("a", "c", "e"):
        (tree / name).touch()
    for name in ("b", "d"):
        (tree / name).write_bytes(random.Random(name).randbytes(9 * MIB))
    s3.client().create_bucket(Bucket="one-connection")
    run(
        path,
        "--endpoint-url",
        s3.endpoint,
        "s3",
        "cp",
        "--recursive",
        tree,
        "s3://one-connection",
        AWS_CONFIG_FILE=config,
    )
    run(path, "--endpoint-url", s3.endpoint, "s3", "sync", "s3://one-connection", tmp_path / "back")
    _same(tree, tmp_path / "back")


def test_s3cmd(s3, run, program, tree, tmp_path):
    path = program("s3cmd", "make parts")
    host = s3.endpoint.removeprefix("http://")

    def s3cmd(*words: object) -> str:
        return run(
            path, "--config", os.devnull, f"--access_key={s3.access_key}", f"--secret_key={s3.secret}", "--no-ssl",
            f"--host={host}", f"--host-bucket={host}", *words,
        )  # fmt: skip

    s3cmd("mb", "s3://s3cmd-bucket")
    s3cmd("sync", "--multipart-chunk-size-mb=6", f"{tree}/", "s3://s3cmd-bucket/in/")
    assert "decoder.py" in s3cmd("ls", "s3://s3cmd-bucket/in/")
    assert "MD5 sum:" in s3cmd("info", "s3://s3cmd-bucket/in/decoder.py")
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", "s3://s3cmd-bucket/in/", f"{back}/")
    _same(tree, back)
    s3cmd("setcors", _cors(tmp_path), "s3://s3cmd-bucket")
    assert "example.org" in s3cmd("info", "s3://s3cmd-bucket")
    s3cmd("cp", "s3://s3cmd-bucket/in/decoder.py", "s3://s3cmd-bucket/copy.py")
    s3cmd("modify", "--add-header=x-amz-meta-more: words", "s3://s3cmd-bucket/copy.py")
    assert "words" in s3cmd("info", "s3://s3cmd-bucket/copy.py")
    s3cmd("del", "--recursive", "--force", "s3://s3cmd-bucket/")
    s3cmd("rb", "s3://s3cmd-bucket")


def _cors(place: Path) -> Path:
    rules = place / "cors.xml"
    rules.write_text(
        '<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><CORSRule>'
        "<AllowedOrigin>https://example.org</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
        "</CORSRule></CORSConfiguration>"
    )
    return rules


def test_restic(s3, run, program, tree, tmp_path):
    path = program("restic", "apt install restic")
    place = {"RESTIC_REPOSITORY": f"s3:{s3.endpoint}/restic-repo/deep/er", "RESTIC_PASSWORD": "secret"}

    def restic(*words: object) -> str:
        return run(path, "--no-cache", *words, **place)

    restic("init")
    restic("backup", tree)
    (tree / "sub dir" / "ä+b&c.bin").write_bytes(random.Random(2).randbytes(9 * MIB))
    (tree / "new").write_text("new")
    restic("backup", tree)
    assert "no errors were found" in restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "back")
    _same(tree, tmp_path / "back" / tree.relative_to("/"))
    restic("forget", "--keep-last", "1", "--prune")
    assert "no errors were found" in restic("check", "--read-data")
    assert "1 snapshots" in restic("snapshots")


def test_s3fs(s3, run, program, tmp_path):
    path = program("s3fs", "apt install s3fs")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no FUSE here: run on a machine with /dev/fuse")
    s3.client().create_bucket(Bucket="mounted")
    secret, mount = tmp_path / "passwd", tmp_path / "mount"
    secret.write_text(f"{s3.access_key}:{s3.secret}")
    secret.chmod(0o600)
    mount.mkdir()
    done = subprocess.run(
        [path, "mounted", mount, "-o", f"passwd_file={secret},url={s3.endpoint},use_path_request_style"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"FUSE cannot mount here: {done.stderr.strip()[-200:]}")
    try:
        if not os.path.ismount(mount):
            pytest.skip("FUSE cannot mount here")
        (mount / "dir").mkdir()
        (mount / "dir" / "file").write_bytes(b"through a mount" * 1000)
        assert (mount / "dir" / "file").read_bytes() == b"through a mount" * 1000
        os.rename(mount / "dir" / "file", mount / "dir" / "renamed")
        assert os.listdir(mount / "dir") == ["renamed"]
        got = s3.client().get_object(Bucket="mounted", Key="dir/renamed")
        assert got["Body"].read() == b"through a mount" * 1000
        (mount / "dir" / "renamed").unlink()
        (mount / "dir").rmdir()
        assert os.listdir(mount) == []
    finally:
        subprocess.run(["fusermount", "-u", mount], timeout=60, check=False)
