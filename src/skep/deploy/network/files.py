"""Files that are the same on every server: written once, there within a second; `/etc/hosts` is one of them.

Of `/etc/hosts` only a block between two marks is ours; what people wrote around it stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from skep.base.errors import BadInput, SkepError
from skep.deploy.network.fence import Fence
from skep.deploy.shell.protocol import Runner

HOSTS_PATH = "/etc/hosts"
BEGIN, END = "# skep: begin (what is between these lines is written by skep)", "# skep: end"
FILE_MAX_BYTES = 1 << 20
HOSTS_AT_ONCE = 32


class Failed(msgspec.Struct, frozen=True):
    """A host that does not have the files, and why."""

    host: str
    error: str


async def spread(files: Mapping[str, bytes], runners: Iterable[Runner], *, mode: int = 0o644) -> tuple[Failed, ...]:
    """Write the files on every host at once; each is whole or as it was. Returns the hosts that lack one.

    Raises BadInput for a path that is not absolute or climbs, or a file over 1 MiB.
    """
    for path, content in files.items():
        _check(path, content)
    places = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def one(runner: Runner) -> Failed | None:
        async with places:
            try:
                await asyncio.gather(*(runner.put(content, path, mode=mode) for path, content in files.items()))
            except SkepError as error:
                return Failed(runner.host, error.message)
            return None

    return tuple(failed for failed in await asyncio.gather(*map(one, runners)) if failed)


async def spread_names(
    fence: Fence, runners: Iterable[Runner], *, aliases: Mapping[str, str] | None = None, path: str = HOSTS_PATH
) -> tuple[Failed, ...]:
    """Let every host know every member by name, and ``aliases`` (name -> address), in its `/etc/hosts`.

    Returns the hosts that do not. A host whose block is the same already is not written.
    """
    entries = [(one.address, one.name) for one in fence.members if one.name != one.address]
    entries += [(address, name) for name, address in sorted((aliases or {}).items())]
    places = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def one(runner: Runner) -> Failed | None:
        async with places:
            try:
                old = (await runner.get(path)).decode(errors="surrogateescape")
                new = with_block(old, entries)
                if new != old:
                    await runner.put(new.encode(errors="surrogateescape"), path)
            except SkepError as error:
                return Failed(runner.host, error.message)
            return None

    return tuple(failed for failed in await asyncio.gather(*map(one, runners)) if failed)


def with_block(text: str, entries: Sequence[tuple[str, str]]) -> str:
    """A hosts file with our block replaced, or added at its end; a second or a torn block is removed."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == BEGIN:
            inside = True
        elif line == END:
            inside = False
        elif not inside:
            kept.append(line)
        elif not _is_ours(line):  # the end mark was lost: what follows is somebody's
            inside = False
            kept.append(line)
    block = [BEGIN, *(f"{address}\t{name}" for address, name in entries), END] if entries else []
    return "\n".join([*kept, *block]) + "\n"


def _is_ours(line: str) -> bool:
    return line.count("\t") == 1 and " " not in line and not line.startswith("#")


def _check(path: str, content: bytes) -> None:
    parts = PurePosixPath(path)
    if not parts.is_absolute() or ".." in parts.parts or str(parts) != path or "\0" in path:
        raise BadInput(f"{path!r} is not an absolute path of one file")
    if len(content) > FILE_MAX_BYTES:
        raise BadInput(f"{path} has {len(content)} bytes; what is spread to all servers has at most {FILE_MAX_BYTES}")
