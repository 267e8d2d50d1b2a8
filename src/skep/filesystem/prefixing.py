"""The face for the door of raw files: prefixes, and what is under them.

Whoever knows a prefix and a path may read; the owner of the prefix's space pays. Who may write is for the caller to
have decided: ``principal`` is whoever is noted as having done it, and must be one that may use the space.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from skep.base.errors import BucketNotFound, NodeNotFound
from skep.crypto.hashing import Buffer
from skep.db import RowExists, Transaction
from skep.filesystem import access, info, opening, prefixes, tree, versions, views
from skep.filesystem.content import FileContent
from skep.filesystem.core import READ, WRITE
from skep.filesystem.flat import Key
from skep.filesystem.keying import Keying
from skep.filesystem.looking import Looking
from skep.filesystem.names import Segments, join_path
from skep.filesystem.prefixes import DIRECTORY, Prefix
from skep.filesystem.records import Conditions, NodeInfo, WriteResult
from skep.filesystem.uploading import Uploading

if TYPE_CHECKING:
    from skep.auth.records import Principal

MIME = "application/octet-stream"
KNOWN_S = 5.0
"""How old what is known of a prefix may be: so long a suspended owner's files may still be read."""
KNOWN_MAX = 10_000


class Prefixing(Looking, Uploading, Keying):
    """Files under prefixes."""

    async def make_prefix(self, principal: Principal, name: str | None = None) -> str:
        """Make a prefix in the principal's own space; its name, which is made up unless given. Raises RowExists."""
        principal.require(WRITE)
        made = name or prefixes.new_name()

        def work(tx: Transaction) -> None:
            prefixes.insert(tx, made, access.space(tx, principal, None, "create").id)

        await self._db.write(work)
        self._known_prefixes.pop(made, None)
        return made

    async def ensure_prefix(self, principal: Principal, name: str) -> Prefix:
        """The prefix of that name, whosever it is; made in the principal's own space if there is none."""
        known = await self.prefix(name)
        if known is None:
            try:
                await self.make_prefix(principal, name)
            except RowExists:
                self._known_prefixes.pop(name, None)
            known = await self.prefix(name)
            assert known is not None, "it was just made, and prefixes stay"
        return known

    async def prefixes(self, principal: Principal, after: str = "", count: int | None = None) -> list[str]:
        """The names of the prefixes in the principal's own space, in order."""
        principal.require(READ)
        most = self._count(count)
        return await self._db.read(
            lambda tx: prefixes.of_space(tx, access.space(tx, principal, None, "read").id, after, most)
        )

    async def prefix(self, name: str) -> Prefix | None:
        """The prefix of that name, as it was a moment ago."""
        now_s = self._clock.monotonic_s()
        known = self._known_prefixes.get(name)
        if known is not None and known[0] > now_s:
            return known[1]
        found = await self._db.glance(lambda tx: prefixes.by_name(tx, name))
        if found is not None:
            if len(self._known_prefixes) >= KNOWN_MAX:
                self._known_prefixes.clear()
            self._known_prefixes[name] = (now_s + KNOWN_S, found)
        return found

    async def open_prefixed(self, prefix: Prefix, path: str) -> FileContent:
        """The file at a path under a prefix, for whoever asks. Raises NodeNotFound, InvalidPath, InvalidName."""
        segments = self._prefixed(prefix, path)
        found = await opening.file_at(self._db, prefix.space.root_id, segments)
        if found is None:
            found = await self._db.glance(lambda tx: _look_deep(tx, prefix, segments))
        return await self._opened(*found, prefix.space)

    async def write_prefixed(
        self,
        principal: Principal,
        prefix: Prefix,
        path: str,
        stream: AsyncIterator[Buffer],
        *,
        length: int | None,
        conditions: Conditions,
    ) -> WriteResult:
        """Make a stream the file at a path under a prefix. Raises what ``write_file`` raises."""
        return await self.write_file(
            principal,
            prefix.space.id,
            join_path(self._prefixed(prefix, path)),
            stream,
            length=length,
            conditions=conditions,
            mime=MIME,
            parents=True,
        )

    async def remove_prefixed(self, principal: Principal, prefix: Prefix, path: str) -> None:
        """Delete the file at a path for good; that nothing is there is fine. Raises Locked."""
        key = Key(self._prefixed(prefix, path), is_directory=False)
        try:
            await self.remove_key(principal, prefix.space.id, key, for_good=True)
        except BucketNotFound:
            return

    def _prefixed(self, prefix: Prefix, path: str) -> Segments:
        return self._file_segments(f"/{DIRECTORY}/{prefix.name}/{path}")


def _look_deep(tx: Transaction, prefix: Prefix, segments: Segments) -> tuple[NodeInfo, versions.Version]:
    """What ``file_at`` does not find: paths of many names. Raises NodeNotFound."""
    place = views.resolve(tx, prefix.space, segments)
    node = tree.found(place)
    if node.is_directory:
        raise NodeNotFound(f'file "{place.path}" does not exist: it is a directory', path=place.path)
    return info.node_info(node, place.path), versions.of_file(tx, node, None)
