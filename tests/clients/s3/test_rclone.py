"""rclone through S3: copy, sync, check --download of a real tree."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

TREE = Path(sysconfig.get_path("stdlib")) / "email"


@pytest.fixture
def rclone(s3, run, program):
    path = program("rclone", "make parts")
    remote = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_HIVE_TYPE": "s3",
        "RCLONE_CONFIG_HIVE_PROVIDER": "Other",
        "RCLONE_CONFIG_HIVE_ENDPOINT": s3.endpoint,
        "RCLONE_CONFIG_HIVE_ACCESS_KEY_ID": s3.access_key,
        "RCLONE_CONFIG_HIVE_SECRET_ACCESS_KEY": s3.secret,
        "RCLONE_CONFIG_HIVE_LIST_VERSION": "2",
        "RCLONE_CONFIG_HIVE_USE_MULTIPART_ETAG": "true",
        "RCLONE_CONFIG_HIVE_USE_ALREADY_EXISTS": "true",
        "RCLONE_CONFIG_HIVE_LIST_URL_ENCODE": "true",
    }
    return lambda *words: run(path, "--retries", "1", *words, **remote)


def test_a_tree_is_copied_checked_and_synced(rclone, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "ünder wasser").mkdir()
    (tree / "ünder wasser" / "a+b %20&c.txt").write_text("odd names")
    (tree / "empty").touch()
    rclone("copy", tree, "hive:rclone-tree/in")
    assert "0 differences found" in rclone("check", "--download", tree, "hive:rclone-tree/in")
    assert "0 differences found" in rclone("check", tree, "hive:rclone-tree/in")
    (tree / "empty").write_text("not any more")
    (tree / "charset.py").unlink()
    rclone("sync", tree, "hive:rclone-tree/in")
    assert "0 differences found" in rclone("check", "--download", tree, "hive:rclone-tree/in")
    back = tmp_path / "back"
    rclone("copy", "hive:rclone-tree/in", back)
    one = "ünder wasser/a+b %20&c.txt"
    assert (back / one).read_text() == "odd names"
    assert abs((back / one).stat().st_mtime - (tree / one).stat().st_mtime) < 0.001
    rclone("purge", "hive:rclone-tree/in")
    assert rclone("lsf", "-R", "hive:rclone-tree").strip() == ""
