"""What a client's directory must look like: values, and what each operation makes of them.

A state says everything that the API tells of one client's directory: directories, files with all
their versions and contents, and the trash. Operations are functions from state to state, so that the
state before and the one after an operation in doubt can both be compared with what is there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

Versions = tuple[tuple[int, "Content"], ...]
"""Number and content, oldest first; the last is current."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that can be made again from two numbers."""

    seed: int
    size_bytes: int

    def bytes(self) -> bytes:
        return _made(self.seed, self.size_bytes)


@lru_cache(200)
def _made(seed: int, size_bytes: int) -> bytes:
    """Every third content can be compressed."""
    chance = random.Random(seed)
    if seed % 3:
        return chance.randbytes(size_bytes)
    line = chance.randbytes(64).hex().encode()
    return b"".join(line + str(number).encode() for number in range(size_bytes // 128 + 1))[:size_bytes]


@dataclass(frozen=True, slots=True)
class File:
    """A file; the id is None until somebody has looked."""

    id: str | None
    versions: Versions

    @property
    def current(self) -> Content:
        return self.versions[-1][1]

    def written(self, content: Content, node_id: str | None = None) -> File:
        return File(self.id or node_id, (*self.versions, (self.versions[-1][0] + 1, content)))


@dataclass(frozen=True, slots=True)
class Tree:
    """Directories and files by path below some root; the root itself is the path ""."""

    dirs: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(content.size_bytes for file in self.files.values() for _, content in file.versions)

    def at(self, path: str) -> Tree:
        """What is at and below a path."""
        return Tree(_cut(self.dirs, path), _cut(self.files, path))

    def without(self, path: str) -> Tree:
        dirs = {each: node_id for each, node_id in self.dirs.items() if not _within(each, path)}
        return Tree(dirs, {each: file for each, file in self.files.items() if not _within(each, path)})

    def grafted(self, path: str, tree: Tree) -> Tree:
        return Tree(
            {**self.dirs, **{path + each: node_id for each, node_id in tree.dirs.items()}},
            {**self.files, **{path + each: file for each, file in tree.files.items()}},
        )

    def copied(self) -> Tree:
        """As a copy is: new nodes, the current contents alone."""
        return Tree(
            dict.fromkeys(self.dirs), {path: File(None, ((1, file.current),)) for path, file in self.files.items()}
        )


def _cut(items: Mapping[str, object], path: str) -> dict:
    return {each[len(path) :]: item for each, item in items.items() if _within(each, path)}


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


@dataclass(frozen=True, slots=True)
class State:
    """One client's world. Keys of the trash are node ids."""

    tree: Tree = field(default_factory=Tree)
    trash: Mapping[str, Tree] = field(default_factory=dict)

    def made(self, path: str) -> State:
        return replace(self, tree=self.tree.grafted(path, Tree({"": None})))

    def put(self, path: str, content: Content, node_id: str | None = None) -> State:
        old = self.tree.files.get(path)
        file = File(node_id, ((1, content),)) if old is None else old.written(content, node_id)
        return replace(self, tree=Tree(self.tree.dirs, {**self.tree.files, path: file}))

    def moved(self, path: str, to: str) -> State:
        """What was at the target goes to the trash; its id must be known."""
        state = self.trashed(to) if to in self.tree.files else self
        return replace(state, tree=state.tree.without(path).grafted(to, self.tree.at(path)))

    def copied(self, path: str, to: str) -> State:
        """A file copied onto a file becomes a version of it."""
        if to in self.tree.files:
            return self.put(to, self.tree.files[path].current)
        return replace(self, tree=self.tree.grafted(to, self.tree.at(path).copied()))

    def node_id(self, path: str) -> str | None:
        return self.tree.dirs[path] if path in self.tree.dirs else self.tree.files[path].id

    def trashed(self, path: str) -> State:
        node_id = self.node_id(path)
        assert node_id is not None
        return State(self.tree.without(path), {**self.trash, node_id: self.tree.at(path)})

    def deleted(self, path: str) -> State:
        return replace(self, tree=self.tree.without(path))

    def purged(self, node_id: str) -> State:
        return replace(self, trash={each: tree for each, tree in self.trash.items() if each != node_id})

    def restored(self, node_id: str, path: str) -> State:
        return replace(self.purged(node_id), tree=self.tree.grafted(path, self.trash[node_id]))

    def version_restored(self, path: str, number: int) -> State:
        file = self.tree.files[path]
        return self.put(path, dict(file.versions)[number])

    def version_deleted(self, path: str, number: int) -> State:
        file = self.tree.files[path]
        kept = tuple(version for version in file.versions if version[0] != number)
        return replace(self, tree=Tree(self.tree.dirs, {**self.tree.files, path: File(file.id, kept)}))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the hive tells of one client's directory: ids, and of files the version numbers and sizes."""

    dirs: Mapping[str, str]
    files: Mapping[str, tuple[str, tuple[tuple[int, int], ...]]]
    trash: Mapping[str, int]
    """Sizes of what is there, by node id."""


def difference(state: State, seen: Seen) -> str:
    """What differs between what must be and what is; empty when nothing does."""
    wrong = []
    for path in sorted({*state.tree.dirs, *seen.dirs}):
        wanted, there = path in state.tree.dirs, seen.dirs.get(path)
        if not wanted or there is None or state.tree.dirs[path] not in (None, there):
            wrong.append(f"directory {path}: expected {wanted}, found {there}")
    for path in sorted({*state.tree.files, *seen.files}):
        file, found = state.tree.files.get(path), seen.files.get(path)
        sizes = None if file is None else tuple((number, content.size_bytes) for number, content in file.versions)
        if file is None or found is None or file.id not in (None, found[0]) or sizes != found[1]:
            wrong.append(f"file {path}: expected {file and file.id} {sizes}, found {found}")
    # Of what is in the trash the hive tells the current sizes.
    sizes_of_trash = {
        node_id: sum(file.current.size_bytes for file in tree.files.values()) for node_id, tree in state.trash.items()
    }
    if sizes_of_trash != dict(seen.trash):
        wrong.append(f"trash: expected {sizes_of_trash}, found {dict(seen.trash)}")
    return "\n".join(wrong)


def adopted(state: State, seen: Seen) -> State:
    """The state with the ids that the hive gave."""
    files = {path: replace(file, id=seen.files[path][0]) for path, file in state.tree.files.items()}
    return replace(state, tree=Tree(dict(seen.dirs), files))
