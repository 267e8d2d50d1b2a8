"""What lies in a local directory, in a fixed order, without following links unless asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from skep.base.errors import BadInput

DEPTH_MAX = 512


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be sent. ``target`` is its absolute path on the hive."""

    target: str
    local: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class LocalDirectory:
    """A directory to be made. ``target`` is its absolute path on the hive."""

    target: str
    local: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is left out: in passing (a link, a socket), or as a failure (``failed``)."""

    local: str
    reason: str
    failed: bool = False


Found: TypeAlias = LocalFile | LocalDirectory | Skipped


def scan(source: str, target: str, *, follow: bool = False) -> Iterator[Found]:
    """Walk ``source``; directories come before what is in them, entries in order of their names.

    ``target`` is where ``source`` itself goes on the hive. ``follow``: read links as what they point at
    (a link back to a directory that is being walked is left out). A named source that is a link is
    always followed. Raises BadInput when ``source`` is not there.
    """
    try:
        facts = os.stat(source)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}", path=source) from None
    yield from _entry(source, target, facts, follow, ())


def _entry(
    local: str, target: str, facts: os.stat_result, follow: bool, above: tuple[tuple[int, int], ...]
) -> Iterator[Found]:
    if stat.S_ISREG(facts.st_mode):
        yield LocalFile(target, local, facts.st_size, facts.st_mtime_ns)
    elif stat.S_ISDIR(facts.st_mode):
        here = (facts.st_dev, facts.st_ino)
        if here in above:
            yield Skipped(local, "a link back to a directory above it")
        elif len(above) >= DEPTH_MAX:
            yield Skipped(local, f"nested deeper than {DEPTH_MAX} directories", failed=True)
        else:
            yield LocalDirectory(target, local)
            yield from _children(local, target, follow, (*above, here))
    else:
        yield Skipped(local, f"{_special(facts.st_mode)}, which has no content to keep")


def _children(local: str, target: str, follow: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    try:
        with os.scandir(local) as listing:
            names = sorted(entry.name for entry in listing)
    except OSError as error:
        yield Skipped(local, f"cannot be read: {error.strerror}", failed=True)
        return
    for name in names:
        path = os.path.join(local, name)
        if not _is_utf8(name):
            yield Skipped(path, "its name is not UTF-8: rename it to keep it", failed=True)
            continue
        try:
            facts = os.stat(path, follow_symlinks=follow)
        except OSError as error:
            yield Skipped(path, f"cannot be read: {error.strerror}", failed=True)
            continue
        if stat.S_ISLNK(facts.st_mode):
            yield Skipped(path, "a symbolic link (--follow keeps what it points at)")
        else:
            yield from _entry(path, f"{target.rstrip('/')}/{name}", facts, follow, above)


def _is_utf8(name: str) -> bool:
    """Whether the bytes of a file name are UTF-8 (Python holds others as lone surrogates)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
