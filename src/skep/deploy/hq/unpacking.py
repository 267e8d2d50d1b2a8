"""A tree out of a tar stream from somebody else: nothing is written outside, and no link leads there.

Files, directories and symbolic links only. A link is judged where it really leads, once everything is there: a chain of
links that each look harmless can climb out.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from pathlib import Path
from typing import IO, cast

from skep.base.errors import BadInput, LimitReached, LocalFailure
from skep.base.sizes import format_size
from skep.deploy.shell.protocol import ByteReader

_PIECE_BYTES = 1 << 18


async def unpack(source: ByteReader, into: Path, *, size_max_bytes: int, entries_max: int) -> None:
    """Write what a stream holds into a new directory.

    Raises BadInput for what no tree of ours may hold, LimitReached, LocalFailure. Whatever was written stays: the
    caller removes the directory.
    """
    loop = asyncio.get_running_loop()
    piped = _Piped(source, loop)
    await asyncio.to_thread(_unpack, cast(IO[bytes], piped), into, size_max_bytes, entries_max)


class _Piped:
    """A stream of the loop as a file for a thread."""

    def __init__(self, source: ByteReader, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def read(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        pieces, missing = [], size
        while missing:
            piece = asyncio.run_coroutine_threadsafe(self._source.read(missing), self._loop).result()
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def _unpack(source: IO[bytes], into: Path, size_max_bytes: int, entries_max: int) -> None:
    links: set[str] = set()
    total_bytes, entries = 0, 0
    try:
        into.mkdir(parents=True, mode=0o700)
        with tarfile.open(fileobj=source, mode="r|", bufsize=_PIECE_BYTES) as tar:
            for entry in tar:
                entries += 1
                total_bytes += entry.size
                if entries > entries_max or total_bytes > size_max_bytes:
                    raise LimitReached(f"the tree has more than {entries_max} entries or {format_size(size_max_bytes)}")
                name = _checked_name(entry.name, links)
                if entry.issym():
                    os.symlink(entry.linkname, into / name)
                    links.add(name)
                elif entry.isdir():
                    (into / name).mkdir(exist_ok=True)
                elif entry.isreg():
                    _write(tar, entry, into / name)
                else:
                    raise BadInput(f"{name} is neither file, directory nor link")
    except tarfile.TarError as error:
        raise BadInput(f"the tree cannot be unpacked: {error}") from None
    except OSError as error:
        raise LocalFailure(f"the tree cannot be written to {into}: {error.strerror}") from None
    _check_links(into, links)


def _checked_name(name: str, links: set[str]) -> str:
    parts = name.split("/")
    if name.startswith("/") or any(part in ("", "..", ".") for part in parts) or "\0" in name:
        raise BadInput(f"{name[:200]!r} is no path inside a tree")
    if links and any("/".join(parts[:depth]) in links for depth in range(1, len(parts))):
        raise BadInput(f"{name[:200]!r} lies behind a link")
    return name


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(entry)
    assert source is not None
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if entry.mode & 0o100 else 0o644
    )
    with open(descriptor, "wb") as file:
        while piece := source.read(_PIECE_BYTES):
            file.write(piece)


def _check_links(into: Path, links: set[str]) -> None:
    root = os.path.realpath(into)
    for name in sorted(links):
        leads = os.path.realpath(into / name)
        if leads != root and not leads.startswith(root + os.sep):
            raise BadInput(f"{name} is a link to {os.readlink(into / name)[:200]!r}, which leads out of the tree")
