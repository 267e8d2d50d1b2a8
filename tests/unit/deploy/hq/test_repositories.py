"""What may come out of a push: real git makes the trees."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from skep.base.errors import BadInput, CommandFailed, LimitReached
from skep.deploy.hq.repositories import NOTHING, PENDING, Quarantine, Repositories, git_env
from skep.deploy.hq.settings import read_settings
from skep.deploy.hq.unpacking import unpack


def git(where: Path, *words: str, stdin: bytes = b"") -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    env = {"PATH": os.environ["PATH"], **git_env(where)}
    done = subprocess.run(
        ["git", *who, "-C", str(where), *words], input=stdin, capture_output=True, env=env, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def commit(work: Path, files: dict[str, str | None]) -> str:
    if not (work / ".git").exists():
        work.mkdir(exist_ok=True)
        git(work, "init", "-q", "-b", "main")
    for name, content in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    git(work, "add", "-A")
    git(work, "commit", "-q", "--allow-empty", "-m", "change")
    return git(work, "rev-parse", "HEAD")


@pytest.fixture
async def repositories(tmp_path: Path) -> Repositories:
    limits = {"tree_max": "100KB", "tree_entries_max": 50, "pack_max": "1MB"}
    opened = Repositories(tmp_path / "repositories", read_settings(None, git=limits).git)
    await opened.open()
    return opened


async def pushed(repositories: Repositories, work: Path, what: str = "main") -> None:
    target = await repositories.make("shop")
    git(work, "push", "-q", "-f", str(target), f"{what}:refs/heads/main")


async def checked_out(repositories: Repositories, tmp_path: Path, revision: str) -> Path:
    into = tmp_path / "out"
    await repositories.checkout("shop", revision, into, Quarantine())
    return into


async def test_a_tree_comes_out_as_it_was_pushed(repositories: Repositories, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    revision = commit(
        work, {"a/b.txt": "hello", "link": "-> a/b.txt", "a/up": "-> ../run.sh", "dangling": "-> nothing"}
    )
    await pushed(repositories, work)
    out = await checked_out(repositories, tmp_path, revision)
    assert (out / "link").read_text() == "hello"
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (out / "a/b.txt").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in out.iterdir()) == ["a", "dangling", "link", "run.sh"]


@pytest.mark.parametrize(
    "files",
    [
        {"etc": "-> /etc"},
        {"up": "-> ../.."},
        {"a/up": "-> ../../x"},
        {"deep/a/root": "-> ../..", "deep/a/out": "-> root/../x"},  # each looks harmless
    ],
)
async def test_a_link_that_leads_out_is_refused(
    repositories: Repositories, tmp_path: Path, files: dict[str, str | None]
) -> None:
    revision = commit(tmp_path / "work", files)
    await pushed(repositories, tmp_path / "work")
    with pytest.raises(BadInput, match="leads out"):
        await checked_out(repositories, tmp_path, revision)


async def test_a_submodule_is_refused_by_name(repositories: Repositories, tmp_path: Path) -> None:
    revision = commit(tmp_path / "work", {"a": "1"})
    git(tmp_path / "work", "update-index", "--add", "--cacheinfo", f"160000,{revision},vendor/lib")
    git(tmp_path / "work", "commit", "-q", "-m", "submodule")
    await pushed(repositories, tmp_path / "work")
    with pytest.raises(BadInput, match="vendor/lib is a submodule"):
        await checked_out(repositories, tmp_path, "refs/heads/main")


async def test_a_bomb_is_refused_before_it_is_unpacked(repositories: Repositories, tmp_path: Path) -> None:
    """Ten trees of ten times the same below each other: 10^10 files in eleven small objects."""
    work = tmp_path / "work"
    commit(work, {"a": "x"})
    blob = git(work, "hash-object", "-w", "--stdin", stdin=b"boom")
    entry = f"100644 blob {blob}"
    for _ in range(10):
        lines = "".join(f"{entry}\td{number}\n" for number in range(10))
        entry = f"040000 tree {git(work, 'mktree', stdin=lines.encode())}"
    revision = git(work, "commit-tree", entry.split()[2], "-m", "bomb")
    await pushed(repositories, work, revision)
    with pytest.raises(LimitReached, match="50 files"):
        await checked_out(repositories, tmp_path, revision)
    assert not (tmp_path / "out").exists()


async def test_a_large_file_that_packs_small_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    revision = commit(tmp_path / "work", {"zeros": "0" * 200_000})
    await pushed(repositories, tmp_path / "work")
    with pytest.raises(LimitReached, match="unpack to more than"):
        await checked_out(repositories, tmp_path, revision)


async def test_what_is_no_commit_is_told(repositories: Repositories, tmp_path: Path) -> None:
    commit(tmp_path / "work", {"a": "1"})
    await pushed(repositories, tmp_path / "work")
    with pytest.raises(BadInput):
        await checked_out(repositories, tmp_path, "1" * 40)


async def test_a_kept_commit_outlives_its_quarantine(repositories: Repositories, tmp_path: Path) -> None:
    work = tmp_path / "work"
    revision = commit(work, {"a": "1"})
    target = await repositories.make("shop")
    objects = tmp_path / "quarantine"
    git(work, "init", "-q", "--bare", str(objects))
    git(work, "push", "-q", str(objects), "main")
    await repositories.keep("shop", revision, Quarantine(f"{objects}/objects", f"{target}/objects"))
    subprocess.run(["rm", "-rf", str(objects)], check=True)
    assert await repositories.branch("shop", f"{PENDING}/{revision}") == revision
    await repositories.move("shop", "refs/heads/main", revision, NOTHING)
    await repositories.drop_kept("shop", revision)
    assert (await checked_out(repositories, tmp_path, revision) / "a").read_text() == "1"
    assert git(target, "fsck", "--strict") == ""
    with pytest.raises(CommandFailed):
        await repositories.move("shop", "refs/heads/main", revision, NOTHING)


async def test_a_branch_is_fetched_from_elsewhere(repositories: Repositories, tmp_path: Path) -> None:
    revision = commit(tmp_path / "work", {"a": "1"})
    assert await repositories.fetch("shop", str(tmp_path / "work"), "main") == revision
    with pytest.raises(BadInput, match="cannot be fetched"):
        await repositories.fetch("shop", str(tmp_path / "work"), "missing")
    with pytest.raises(BadInput, match="cannot be fetched"):
        await repositories.fetch("shop", f"file://{tmp_path}/work", "main")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../out", tarfile.REGTYPE), ("/etc/x", tarfile.REGTYPE), ("a/../../x", tarfile.REGTYPE),
     ("device", tarfile.CHRTYPE), ("hard", tarfile.LNKTYPE), ("fifo", tarfile.FIFOTYPE)],
)  # fmt: skip
async def test_a_stream_that_is_no_tree_writes_nothing_outside(tmp_path: Path, name: str, kind: bytes) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    reader = asyncio.StreamReader()
    reader.feed_data(held.getvalue())
    reader.feed_eof()
    with pytest.raises(BadInput):
        await unpack(reader, tmp_path / "in" / "tree", size_max_bytes=1000, entries_max=10)
    assert not list(tmp_path.glob("out*"))


async def test_nothing_is_written_behind_a_link(tmp_path: Path) -> None:
    held = io.BytesIO()
    (tmp_path / "outside").mkdir()
    with tarfile.open(fileobj=held, mode="w") as tar:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("door/file"))
    reader = asyncio.StreamReader()
    reader.feed_data(held.getvalue())
    reader.feed_eof()
    with pytest.raises(BadInput, match="behind a link"):
        await unpack(reader, tmp_path / "tree", size_max_bytes=1000, entries_max=10)
    assert list((tmp_path / "outside").iterdir()) == []
