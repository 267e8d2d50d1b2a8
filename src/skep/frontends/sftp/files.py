"""The operations of SFTP on a hive's files (draft-ietf-secsh-filexfer-02 section 6, and OpenSSH's extensions).

A file that is being written is, for its own session, there at once under its name; for everybody else when it is
closed. A file whose connection breaks before that is as it was.
"""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from asyncssh import SFTPAttrs, SFTPError, SFTPFailure, SFTPName, SFTPNoSuchFile, SFTPServer, SFTPVFSAttrs

from skep.base.clock import Clock
from skep.base.errors import NameClash, NodeNotFound, SkepError
from skep.base.ids import Id
from skep.filesystem.content import FileContent
from skep.filesystem.records import ALWAYS, Conditions, NodeInfo, SpaceInfo, WriteResult
from skep.frontends.common.dropbox import UPLOAD, is_dropbox_root, node_at
from skep.frontends.sftp import attributes
from skep.frontends.sftp.errors import answered, sftp_error, unsupported
from skep.frontends.sftp.places import (
    Place,
    inside,
    names_other_space,
    normal_path,
    place_of,
    shown_names,
)
from skep.frontends.sftp.reading import Reader
from skep.frontends.sftp.records import SftpGround, SftpLimits, WhoIs
from skep.frontends.sftp.writing import Writer

PAGE = 1000
_WRITES = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND
_IF_NEW = Conditions(if_none_match=("*",))


@dataclass(slots=True, eq=False)
class OpenFile:
    """What a handle stands for."""

    path: str
    space_id: Id | None
    in_space: str
    node: NodeInfo | None
    reader: Reader | None = None
    writer: Writer | None = None
    appends: bool = False
    is_blind: bool = False
    """Whether it is in a share that one may add to and not look into."""
    modified_us: int | None = None
    """A time that was set while it was written: given to it when it is closed."""
    places: AsyncExitStack = field(default_factory=AsyncExitStack)


class HiveFiles(SFTPServer):
    """One session of one user. The handler calls one operation at a time."""

    def __init__(self, channel: Any, ground: SftpGround, limits: SftpLimits, clock: Clock, who: WhoIs) -> None:
        super().__init__(channel)
        self._filesystem = ground.filesystem
        self._uploads = ground.uploads
        self._limits = limits
        self._clock = clock
        self._who = who
        self._open: set[OpenFile] = set()
        self._written: dict[str, OpenFile] = {}
        self._warm: OrderedDict[OpenFile, None] = OrderedDict()

    # --- files --------------------------------------------------------------------------------

    @answered
    async def open(self, path: bytes, pflags: int, attrs: SFTPAttrs) -> object:
        """SSH_FXP_OPEN (section 6.3)."""
        if len(self._open) >= self._limits.handles:
            raise SFTPFailure(f"{self._limits.handles} files are open: close some first")
        shown = normal_path(path)
        place = await self._place(shown)
        node = await self._node_or_none(place)
        if node is not None and node.is_directory:
            raise SFTPFailure(f"{shown} is a directory")
        space_id, in_space = inside(place)
        file = OpenFile(shown, space_id, in_space, node, appends=bool(pflags & asyncssh.FXF_APPEND))
        if pflags & _WRITES:
            await self._open_writer(file, pflags)
        elif node is None:
            raise SFTPNoSuchFile(f"there is no {shown}")
        else:
            file.reader = Reader(await self._content(node.id))
        self._open.add(file)
        return file

    async def _open_writer(self, file: OpenFile, pflags: int) -> None:
        principal = await self._who()
        principal.require("files:write")
        node, creates = file.node, bool(pflags & asyncssh.FXF_CREAT)
        file.is_blind = await self._is_dropbox(file.space_id)
        if node is None:
            if not creates:
                raise SFTPNoSuchFile(f"there is no {file.path}")
            if not file.is_blind:  # there the hive makes what is above, as it may not be looked at
                await self._filesystem.by_path(principal, file.space_id, posixpath.dirname(file.in_space))
        elif creates and pflags & asyncssh.FXF_EXCL:
            raise SFTPFailure(f"{file.path} is there already")
        emptied = node is None or bool(pflags & asyncssh.FXF_TRUNC)
        base = None if emptied or node is None else await self._content(node.id)
        conditions = _IF_NEW if node is None and pflags & asyncssh.FXF_EXCL else ALWAYS

        async def store(parts: AsyncIterator[bytes]) -> WriteResult:
            first = conditions if writer.last is None else ALWAYS
            made = await self._filesystem.write_file(
                await self._who(), file.space_id, file.in_space, parts, conditions=first, modified_us=file.modified_us
            )
            file.node = made.node
            return made

        async def reopen(made: WriteResult) -> FileContent:
            return await self._content(made.node.id, made.version.number)

        writer = file.writer = Writer(store, reopen, base, must_store=emptied)
        await file.places.enter_async_context(self._uploads.enter_as(principal.user_id))
        self._written[file.path] = file

    @answered
    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """SSH_FXP_READ (section 6.4); nothing at the end, which the handler makes SSH_FX_EOF."""
        file = _file(file_obj)
        await self._who()
        if file.writer is not None and (file.writer.is_dirty or file.reader is None):
            await self._settle(file)
        if file.reader is None:
            assert file.node is not None
            file.reader = Reader(await self._content(file.node.id))
        await self._warm_up(file)
        return await file.reader.read(offset, size)

    async def _warm_up(self, file: OpenFile) -> None:
        """Keep what is read ahead for the files that were read last, and for no others."""
        self._warm[file] = None
        self._warm.move_to_end(file)
        if len(self._warm) > self._limits.warm:
            oldest, _ = self._warm.popitem(last=False)
            if oldest.reader is not None:
                await oldest.reader.close()

    @answered
    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """SSH_FXP_WRITE (section 6.4)."""
        file = _file(file_obj)
        if file.writer is None:
            raise SFTPFailure(f"{file.path} was opened for reading")
        await self._who()
        await file.writer.write(file.writer.size_bytes if file.appends else offset, data)
        return len(data)

    @answered
    async def close(self, file_obj: object) -> None:
        """SSH_FXP_CLOSE (section 6.3): what was written becomes a version, durable when this is answered."""
        file = _file(file_obj)
        try:
            if file.writer is not None:
                await self._settle(file, is_last=True)
                if (
                    not file.is_blind
                    and file.modified_us is not None
                    and file.node is not None
                    and file.modified_us != file.node.modified_us
                ):
                    await self._filesystem.update(await self._who(), file.node.id, modified_us=file.modified_us)
        finally:
            await self._forget(file)

    async def abandon(self) -> None:
        """The connection broke: what is no version yet is dropped."""
        for file in tuple(self._open):
            await self._forget(file)

    async def _forget(self, file: OpenFile) -> None:
        self._open.discard(file)
        self._warm.pop(file, None)
        if self._written.get(file.path) is file:
            del self._written[file.path]
        async with file.places:
            if file.writer is not None:
                await file.writer.abandon()
            if file.reader is not None:
                await file.reader.close()

    async def _settle(self, file: OpenFile, *, is_last: bool = False) -> None:
        """Make what was written so far a version; ``is_last``: nothing more is written."""
        assert file.writer is not None
        if file.writer.is_dirty:
            await file.writer.settle(is_last=is_last)
            if file.reader is not None:
                await file.reader.close()
                file.reader = None

    @answered
    async def fsync(self, file_obj: object) -> None:
        """fsync@openssh.com: what was written so far becomes a version now."""
        file = _file(file_obj)
        if file.writer is not None:
            await self._settle(file)

    # --- attributes ---------------------------------------------------------------------------

    @answered
    async def stat(self, path: bytes) -> SFTPAttrs:
        """SSH_FXP_STAT (section 6.8)."""
        shown = normal_path(path)
        written = self._written.get(shown)
        if written is not None:
            return self._of_open(written)
        place = await self._place(shown)
        if place.is_list:
            return attributes.attributes(attributes.DIRECTORY_MODE, 0, 0)
        return attributes.of_node(await self._node(place))

    lstat = stat
    """SSH_FXP_LSTAT (section 6.8): a hive has no links."""

    @answered
    async def fstat(self, file_obj: object) -> SFTPAttrs:
        """SSH_FXP_FSTAT (section 6.8)."""
        return self._of_open(_file(file_obj))

    @answered
    async def setstat(self, path: bytes, attrs: SFTPAttrs) -> None:
        """SSH_FXP_SETSTAT (section 6.9): sizes and times; owners and modes are taken and mean nothing."""
        shown = normal_path(path)
        written = self._written.get(shown)
        if written is not None:
            await self._set_open(written, attrs)
            return
        place = await self._place(shown)
        node = await self._node(place)
        if attrs.size is not None and attrs.size != node.size_bytes:
            await self._resize(path, attrs.size)
        modified_us = _modified_us(attrs)
        if modified_us is not None:
            await self._filesystem.update(await self._who(), node.id, modified_us=modified_us)

    lsetstat = setstat
    """lsetstat@openssh.com: a hive has no links."""

    @answered
    async def fsetstat(self, file_obj: object, attrs: SFTPAttrs) -> None:
        """SSH_FXP_FSETSTAT (section 6.9)."""
        await self._set_open(_file(file_obj), attrs)

    async def _set_open(self, file: OpenFile, attrs: SFTPAttrs) -> None:
        if file.writer is not None and attrs.size is not None:
            await file.writer.truncate(attrs.size)
        modified_us = _modified_us(attrs)
        if modified_us is None:
            return
        if file.writer is not None:
            file.modified_us = modified_us
        elif file.node is not None:
            await self._filesystem.update(await self._who(), file.node.id, modified_us=modified_us)

    async def _resize(self, path: bytes, size: int) -> None:
        file = await self.open(path, asyncssh.FXF_WRITE, SFTPAttrs())
        try:
            writer = _file(file).writer
            assert writer is not None
            await writer.truncate(size)
        except SkepError:
            await self._forget(_file(file))
            raise
        await self.close(file)

    def _of_open(self, file: OpenFile) -> SFTPAttrs:
        if file.writer is None:
            assert file.node is not None
            return attributes.of_node(file.node)
        modified_us = file.modified_us or (file.node.modified_us if file.node else self._clock.now_us())
        return attributes.attributes(attributes.FILE_MODE, file.writer.size_bytes, modified_us // 1_000_000)

    @answered
    async def statvfs(self, path: bytes) -> SFTPVFSAttrs:
        """statvfs@openssh.com: the space's quota."""
        place = await self._place(normal_path(path))
        return attributes.of_space(await self._filesystem.space(await self._who(), place.space_id))

    @answered
    async def fstatvfs(self, file_obj: object) -> SFTPVFSAttrs:
        """fstatvfs@openssh.com."""
        return attributes.of_space(await self._filesystem.space(await self._who(), _file(file_obj).space_id))

    # --- directories and names ------------------------------------------------------------------

    async def scandir(self, path: bytes) -> AsyncIterator[SFTPName]:
        """SSH_FXP_OPENDIR and READDIR (section 6.7), page by page."""
        try:
            async for name in self._entries(normal_path(path)):
                yield name
        except SkepError as error:
            raise sftp_error(error) from None

    async def _entries(self, shown: str) -> AsyncIterator[SFTPName]:
        place = await self._place(shown)
        principal, now_s = await self._who(), self._clock.now_us() // 1_000_000
        itself = attributes.attributes(attributes.DIRECTORY_MODE, 0, 0)
        for dots in (".", ".."):
            yield attributes.name_of(dots, itself, principal.name, now_s)
        if place.is_list:
            for name in shown_names(await self._others()):
                yield attributes.name_of(name, itself, principal.name, now_s)
            return
        directory = await self._node(place)
        if not directory.is_directory:
            raise NameClash(f"{shown} is a file")
        if is_dropbox_root(directory):
            return
        after: str | None = None
        while True:
            page = await self._filesystem.listing(await self._who(), directory.id, 1, PAGE, after, digests=False)
            for node in page:
                yield attributes.name_of(node.name, attributes.of_node(node), principal.name, now_s)
            if len(page) < PAGE:
                return
            after = page[-1].name

    @answered
    async def mkdir(self, path: bytes, attrs: SFTPAttrs) -> None:
        """SSH_FXP_MKDIR (section 6.6)."""
        space_id, in_space = inside(await self._place(normal_path(path)))
        await self._filesystem.make_directory(await self._who(), space_id, in_space, parents=False, exist_ok=False)

    @answered
    async def rmdir(self, path: bytes) -> None:
        """SSH_FXP_RMDIR (section 6.6): an empty directory, into the trash."""
        shown = normal_path(path)
        node, principal = await self._node(await self._place(shown)), await self._who()
        if not node.is_directory:
            raise SFTPFailure(f"{shown} is a file")
        if await self._filesystem.listing(principal, node.id, 1, 1, digests=False):
            raise SFTPFailure(f"{shown} is not empty")
        await self._filesystem.delete(principal, node.id)

    @answered
    async def remove(self, path: bytes) -> None:
        """SSH_FXP_REMOVE (section 6.5): a file, into the trash."""
        shown = normal_path(path)
        node = await self._node(await self._place(shown))
        if node.is_directory:
            raise SFTPFailure(f"{shown} is a directory")
        await self._filesystem.delete(await self._who(), node.id)

    @answered
    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """SSH_FXP_RENAME (section 6.5): never over what is there."""
        await self._move(oldpath, newpath, overwrite=False)

    @answered
    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """posix-rename@openssh.com: a file that is there goes to the trash."""
        await self._move(oldpath, newpath, overwrite=True)

    async def _move(self, oldpath: bytes, newpath: bytes, *, overwrite: bool) -> None:
        node = await self._node(await self._place(normal_path(oldpath)))
        space_id, in_space = inside(await self._place(normal_path(newpath)))
        await self._filesystem.move(await self._who(), node.id, space_id, in_space, overwrite=overwrite)

    @answered
    async def realpath(self, path: bytes) -> bytes:
        """SSH_FXP_REALPATH (section 6.11)."""
        return normal_path(path).encode()

    @answered
    async def readlink(self, path: bytes) -> bytes:
        """SSH_FXP_READLINK (section 6.10)."""
        raise unsupported("symbolic links")

    @answered
    async def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """SSH_FXP_SYMLINK (section 6.10)."""
        raise unsupported("symbolic links")

    @answered
    async def link(self, oldpath: bytes, newpath: bytes) -> None:
        """hardlink@openssh.com."""
        raise unsupported("hard links")

    # --- places -----------------------------------------------------------------------------------

    async def _place(self, shown: str) -> Place:
        return place_of(shown, await self._others() if names_other_space(shown) else ())

    async def _others(self) -> list[SpaceInfo]:
        principal = await self._who()
        found = await self._filesystem.spaces(principal)
        return [space for space in found if (space.kind, space.owner_id) != ("personal", principal.user_id)]

    async def _node(self, place: Place) -> NodeInfo:
        space_id, in_space = inside(place)
        return await node_at(self._filesystem, await self._who(), space_id, in_space)

    async def _is_dropbox(self, space_id: Id | None) -> bool:
        return space_id is not None and (await self._filesystem.space(await self._who(), space_id)).rights == UPLOAD

    async def _node_or_none(self, place: Place) -> NodeInfo | None:
        try:
            return await self._node(place)
        except NodeNotFound:
            return None

    async def _content(self, node_id: Id, version: int | None = None) -> FileContent:
        return await self._filesystem.open_file(await self._who(), node_id, version)


def _file(file_obj: object) -> OpenFile:
    if not isinstance(file_obj, OpenFile):
        raise SFTPError(asyncssh.FX_FAILURE, "not an open file")
    return file_obj


def _modified_us(attrs: SFTPAttrs) -> int | None:
    return None if attrs.mtime is None else int(attrs.mtime) * 1_000_000
