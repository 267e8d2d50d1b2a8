"""Where a key lies: pure functions between keys and paths, in key order.

    shards/9f3c.2  ->  objects/shards/9f+/9f3c.2

Each segment but the last is a directory of its own name. The last segment (the leaf) lies in a fan-out directory named
by its first two characters and ``+``, which no key can contain. So a key and a longer key that continues it with ``/``
never clash, and visiting in the order below gives the keys sorted by their bytes:

- the leaves of one directory sort as their fan-outs do, since those are prefixes of one length (or whole leaves);
- a sub-directory ``s`` stands where ``s/`` sorts among the leaves.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator

from skep.stores.drivers.fs.calls import Calls

FAN_CHARACTERS = 2
FAN_MARK = "+"


def place_of(key: str) -> tuple[tuple[str, ...], str]:
    """The directories below ``objects`` and the file's name for a key."""
    *segments, leaf = key.split("/")
    return (*segments, leaf[:FAN_CHARACTERS] + FAN_MARK), leaf


def walk(calls: Calls, directory: int, base: str = "", prefix: str = "", after: str = "") -> Iterator[tuple[str, int]]:
    """Key and size of the objects under an open key directory, in key order, holding one directory's names at a time.

    ``base`` is the key part that the directory stands for ("" or ending in a slash). What goes away while walking is
    left out. Descriptors opened on the way are closed, also when the iterator is dropped early.
    """
    fans, segments = _entries(directory)
    leaves = _leaves(calls, directory, base, fans, prefix, after)
    trees = ((f"{segment}/", -1) for segment in segments if _may_hold(f"{base}{segment}/", prefix, after))
    for name, size_bytes in heapq.merge(leaves, trees, key=lambda entry: entry[0]):
        if size_bytes < 0:
            yield from _walk_segment(calls, directory, base + name, prefix, after)
        elif (key := base + name) > after and key.startswith(prefix):
            yield key, size_bytes


def _entries(directory: int) -> tuple[list[str], list[str]]:
    """The prefixes of the fan-outs and the names of the key directories, sorted."""
    names = sorted(os.listdir(directory))
    return [name[:-1] for name in names if name.endswith(FAN_MARK)], [n for n in names if not n.endswith(FAN_MARK)]


def _walk_segment(calls: Calls, directory: int, base: str, prefix: str, after: str) -> Iterator[tuple[str, int]]:
    try:
        fd = calls.open_directory(base[:-1].rpartition("/")[2], directory)
    except FileNotFoundError:
        return
    try:
        yield from walk(calls, fd, base, prefix, after)
    finally:
        calls.close(fd)


def _leaves(
    calls: Calls, directory: int, base: str, fans: Iterable[str], prefix: str, after: str
) -> Iterator[tuple[str, int]]:
    for fan in fans:
        if not _may_hold(base + fan, prefix, after):
            continue
        try:
            fd = calls.open_directory(fan + FAN_MARK, directory)
        except FileNotFoundError:
            continue
        try:
            for name in sorted(os.listdir(fd)):
                if (base + name) > after and (base + name).startswith(prefix):
                    try:
                        yield name, os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
        finally:
            calls.close(fd)


def _may_hold(start: str, prefix: str, after: str) -> bool:
    """Whether a key that begins with ``start`` can be wanted."""
    if not (start.startswith(prefix) or prefix.startswith(start)):
        return False
    return after < start or after.startswith(start)
