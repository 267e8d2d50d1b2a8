"""A directory as an image: one digest whatever its times and owners are, and one archive that is the same each time.

    tree:<digest>        the ref
    a plain tar          sorted names, no times, no owners, of modes only whether a file is executable

Symbolic links stay what they are. What is neither file, directory nor link is refused; ``.git`` is left out.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from blake3 import blake3

from skep.base.errors import BadInput, Integrity

TREE_PREFIX = "tree:"
_PIECE_BYTES = 1 << 20
_ENTRIES_MAX = 1_000_000


def tree_ref(tree: Path) -> str:
    """The ref of a directory's content. Raises BadInput when it holds what no image can."""
    total = blake3()
    for name, path in _entries(tree):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            _count(total, name, b"l", blake3(os.readlink(path).encode()).digest())
        elif stat.S_ISDIR(status.st_mode):
            _count(total, name, b"d", b"")
        else:
            with path.open("rb") as file:
                _count(total, name, b"x" if status.st_mode & 0o100 else b"f", _content_digest(file))
    return TREE_PREFIX + total.hexdigest()[:40]


def archive_ref(archive: Path) -> str:
    """The ref of what an archive holds. Raises Integrity when it is no archive of a tree."""
    total = blake3()
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isreg() else None
                if file is not None:
                    _count(total, entry.name, b"x" if entry.mode & 0o100 else b"f", _content_digest(file))
                elif entry.issym():
                    _count(total, entry.name, b"l", blake3(entry.linkname.encode()).digest())
                else:
                    _count(total, entry.name, b"d", b"")
    except tarfile.TarError as error:
        raise Integrity(f"{archive} is no whole archive: {error}") from None
    return TREE_PREFIX + total.hexdigest()[:40]


def _count(total: blake3, name: str, kind: bytes, content: bytes) -> None:
    encoded = name.encode()
    total.update(len(encoded).to_bytes(4, "little") + encoded + kind + content)


def _content_digest(file: IO[bytes]) -> bytes:
    hasher = blake3()
    while piece := file.read(_PIECE_BYTES):
        hasher.update(piece)
    return hasher.digest()


def pack_tree(tree: Path, archive: Path) -> int:
    """Write the archive of a directory; how many bytes it has. Raises BadInput as ``tree_ref`` does."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in _entries(tree):
            tar_entry = tar.gettarinfo(path, name)
            if tar_entry.islnk():  # a second name of one file is a file of its own
                tar_entry.type, tar_entry.linkname, tar_entry.size = tarfile.REGTYPE, "", path.lstat().st_size
            tar_entry.mtime = tar_entry.uid = tar_entry.gid = 0
            tar_entry.uname = tar_entry.gname = ""
            tar_entry.mode = 0o755 if tar_entry.isdir() or tar_entry.mode & 0o100 else 0o644
            if tar_entry.isreg():
                with path.open("rb") as file:
                    tar.addfile(tar_entry, file)
            else:
                tar.addfile(tar_entry)
    return archive.stat().st_size


def _entries(tree: Path) -> Iterator[tuple[str, Path]]:
    """All below a directory by name, parents first."""
    pending, count = [""], 0
    while pending:
        directory = pending.pop()
        below = []
        for entry in sorted(os.scandir(tree / directory), key=lambda entry: entry.name):
            name = f"{directory}/{entry.name}" if directory else entry.name
            if name == ".git":
                continue
            count += 1
            if count > _ENTRIES_MAX:
                raise BadInput(f"{tree} has more than {_ENTRIES_MAX} entries")
            _check(tree, name, entry)
            yield name, tree / name
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
        pending += reversed(below)


def _check(tree: Path, name: str, entry: os.DirEntry[str]) -> None:
    if not (entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        raise BadInput(f"{name} in {tree} is neither file, directory nor link: an image cannot hold it")
