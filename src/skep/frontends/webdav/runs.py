"""Nodes that are written together, as columns: what the filesystem's rows say of them, and where they are.

A batch is nodes in their order; a run is those of it that are all files, or all directories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from skep.base.ids import Id
from skep.filesystem import Entries, EntryRow, NodeInfo, rows_of
from skep.frontends.webdav.roots import Root, encoded, encoded_all

Dead: TypeAlias = Mapping[Id, Mapping[str, str]]
"""Dead properties by node and name."""
NO_DEAD: Dead = MappingProxyType({})


class Run(NamedTuple):
    """Nodes of one kind."""

    is_directory: bool
    is_root: bool
    """Whether it is the root of a space, alone."""
    rows: Sequence[EntryRow]
    base: str
    """What all their paths begin with."""
    tails: Sequence[str]
    """How each path goes on."""
    dead: Dead

    def paths(self) -> list[str]:
        """The paths in the space."""
        return [self.base + tail or "/" for tail in self.tails]

    def url_base(self, root: Root) -> str:
        """What all their URLs begin with."""
        return root.prefix + encoded(self.base)

    def url_tails(self) -> Sequence[str]:
        """How each URL goes on, but for the slash at the end of a directory's."""
        return encoded_all(self.tails)

    def names(self) -> list[str]:
        """Their names."""
        return self._column(0)

    def ids(self) -> list[Id]:
        """Their ids."""
        return self._column(1)

    def sizes_bytes(self) -> list[int]:
        """Their sizes."""
        return self._column(2)

    def etags(self) -> list[str]:
        """Their ETags, bare."""
        return self._column(3)

    def mimes(self) -> list[str]:
        """Their media types."""
        return self._column(4)

    def created_us(self) -> list[int]:
        """When they were made."""
        return self._column(5)

    def modified_us(self) -> list[int]:
        """When they were last changed."""
        return self._column(6)

    def md5s(self) -> list[bytes | None]:
        """Their MD5 digests; the rows must have them."""
        return self._column(10)

    def sha1s(self) -> list[bytes | None]:
        """Their SHA-1 digests; the rows must have them."""
        return self._column(11)

    def _column(self, position: int) -> list[Any]:
        return list(map(itemgetter(position), self.rows))


class Batch(NamedTuple):
    """Nodes of any kind, in the order in which they are to be told."""

    rows: Sequence[EntryRow]
    base: str
    tails: Sequence[str]
    dead: Dead = NO_DEAD
    is_root: bool = False

    def runs(self) -> tuple[list[bool], Run, Run]:
        """Of each node whether it is a directory; the files; the directories."""
        marks = [row[7] is None for row in self.rows]
        if not any(marks):
            return marks, self._run(self.rows, self.tails, is_directory=False), self._run((), (), is_directory=True)
        others = [not mark for mark in marks]
        files = self._run(list(compress(self.rows, others)), list(compress(self.tails, others)), is_directory=False)
        below = self._run(list(compress(self.rows, marks)), list(compress(self.tails, marks)), is_directory=True)
        return marks, files, below

    def _run(self, rows: Sequence[EntryRow], tails: Sequence[str], *, is_directory: bool) -> Run:
        return Run(is_directory, self.is_root, rows, self.base, tails, self.dead)


def of_entries(entries: Entries) -> Batch:
    """A page of a directory."""
    names = [row[0] for row in entries.rows]
    return Batch(entries.rows, entries.directory_path.rstrip("/") + "/", names, entries.properties)


def of_nodes(nodes: Sequence[NodeInfo], dead: Dead = NO_DEAD) -> Batch:
    """Nodes from anywhere in a space, none of them its root."""
    return Batch(rows_of(nodes), "", [node.path.rstrip("/") for node in nodes], dead)


def of_node(node: NodeInfo, dead: Dead = NO_DEAD) -> Batch:
    """One node, which may be the root of a space."""
    return of_nodes([node], dead)._replace(is_root=node.parent_id is None)
