"""Attributes of nodes in SFTP's terms (draft-ietf-secsh-filexfer-02 section 5)."""

from __future__ import annotations

import stat
import time

from asyncssh import SFTPAttrs, SFTPName, SFTPVFSAttrs

from skep.filesystem.records import NodeInfo, SpaceInfo

DIRECTORY_MODE = stat.S_IFDIR | 0o700
FILE_MODE = stat.S_IFREG | 0o600
_BLOCK_BYTES = 4096
_ENDLESS_BYTES = 1 << 50
_HALF_YEAR_S = 182 * 86_400


def of_node(node: NodeInfo) -> SFTPAttrs:
    """A file's or directory's. A hive knows who may do what by space, not by mode: modes and owners are made up."""
    modified_s = node.modified_us // 1_000_000
    mode = DIRECTORY_MODE if node.is_directory else FILE_MODE
    return attributes(mode, node.size_bytes, modified_s)


def attributes(mode: int, size_bytes: int, modified_s: int) -> SFTPAttrs:
    """Of anything. Times before 1970 and after 2106 do not fit and are cut."""
    seconds = min(max(modified_s, 0), 0xFFFF_FFFF)
    return SFTPAttrs(size=size_bytes, uid=0, gid=0, permissions=mode, atime=seconds, mtime=seconds, nlink=1)


def name_of(name: str, attrs: SFTPAttrs, owner: str, now_s: int) -> SFTPName:
    """An entry of a listing, with the line that ``ls -l`` shows."""
    modified_s = attrs.mtime or 0
    recent = now_s - _HALF_YEAR_S < modified_s <= now_s
    when = time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", time.gmtime(modified_s))
    mode = stat.filemode(attrs.permissions or 0)
    line = f"{mode} {1:>3} {owner:<8} {owner:<8} {attrs.size or 0:>12} {when} {name}"
    return SFTPName(name.encode(), line.encode(), attrs)


def of_space(space: SpaceInfo) -> SFTPVFSAttrs:
    """Room, for ``df``: the quota's; without a quota as much as can be said."""
    total = space.quota_bytes if space.quota_bytes is not None else _ENDLESS_BYTES
    free = space.free_bytes if space.free_bytes is not None else max(0, _ENDLESS_BYTES - space.used_bytes)
    return SFTPVFSAttrs(
        bsize=_BLOCK_BYTES, frsize=_BLOCK_BYTES, blocks=total // _BLOCK_BYTES, bfree=free // _BLOCK_BYTES,
        bavail=free // _BLOCK_BYTES, files=1 << 32, ffree=1 << 32, favail=1 << 32, fsid=0, flag=0, namemax=255,
    )  # fmt: skip
